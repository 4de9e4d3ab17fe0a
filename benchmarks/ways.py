"""Ways of making the same tiles, and what each costs and gives: what benchmarks/side_by_side.py compares."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks import fidelity, networks, speed
from benchmarks.timing import median_seconds
from medi_core.metrics.kernel import SubsetDistances
from medi_core.models.tile_encoder import TileEncoder
from medi_core.pipelines.guidance import GuidanceTerm

ALONE, TOGETHER, WARM_UP_STEPS = 1, 8, 2


@dataclass(frozen=True)
class Way:
    """One way to make tiles."""

    name: str
    dtype: str
    build: Callable[[], object]
    """The pipeline, when its turn has come."""
    steps: int
    guidance: float
    is_reference: bool = False


@dataclass(frozen=True)
class Result:
    """What a way costs and gives."""

    name: str
    dtype: str
    evaluations: float
    gflop: float
    """A tile."""
    seconds: dict[int, float]
    """A tile, by how many are asked for."""
    share_of_peak: float
    kid: SubsetDistances | None = None
    num_tiles: int = 0
    is_reference: bool = False


def measure_paper(dtype: str, device: torch.device, seconds: float, peak: float) -> Result:
    """The paper's network by its time for one step."""
    setting = speed.Setting(dtype, "eager", device, seconds, peak)
    measured = {s.batch: s for s in speed.measure_paper(setting, [ALONE, TOGETHER])}
    gflop = networks.forward_flops_of_paper() * networks.PAPER_STEPS / 1e9
    times = {batch: 1 / s.tiles_per_second for batch, s in measured.items()}
    share = gflop * 1e9 / times[TOGETHER] / peak
    name = f"paper's network, {networks.PAPER_STEPS} × the time of one step"
    return Result(name, dtype, networks.PAPER_STEPS, gflop, times, share)


def measure(
    way: Way,
    sampling: fidelity.Sampling,
    subset_size: int,
    real: fidelity.RealSet,
    encoder: TileEncoder,
    seconds: float,
    peak: float,
) -> Result:
    """Time one way for one tile and for eight, then make its tiles and compare them.

    Args:
        seconds: how long each time is repeated.
        peak: FLOP/s of the way's dtype.
    """
    pipeline = way.build()
    ids = fidelity.draw_conditions(real, pipeline.metadata_embedder.vocabulary, sampling)
    guidance = [GuidanceTerm(tuple(range(ids.shape[1])), way.guidance)]
    device, times = next(pipeline.denoiser.parameters()).device, {}
    for batch in (ALONE, TOGETHER):
        rows = ids[torch.arange(batch) % len(ids)]
        pipeline(rows, range(batch), WARM_UP_STEPS, guidance)
        call = partial(pipeline, rows, range(batch), way.steps, guidance)
        times[batch] = median_seconds(call, device, seconds) / batch
    features, evaluations = fidelity.generated_features(pipeline, real, sampling, encoder)
    flops = networks.forward_flops_of_ours(pipeline.denoiser) * evaluations
    kid = fidelity.distance_to(real, features, subset_size)
    share = flops / times[TOGETHER] / peak
    num_tiles, is_reference = sampling.num_tiles, way.is_reference
    return Result(way.name, way.dtype, evaluations, flops / 1e9, times, share, kid, num_tiles, is_reference)
