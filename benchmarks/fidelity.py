"""Kernel distance (KID) of generated tiles to a real set: what benchmarks/samplers.py and kid.py share.

Generated tiles take their conditions from the real set: tile i has the metadata of the i-th tile of a
seeded draw (values that the checkpoint does not know are left out) and seed i. Every setting compared
thus starts from the same conditions and the same noise.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medi_core.data.manifest import read_manifest
from medi_core.data.tile_dataset import measure_stains, read_grid_tile, read_image, record_of
from medi_core.errors import ManifestError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.metrics.kernel import SubsetDistances, kernel_distance_of_subsets
from medi_core.models.tile_encoder import TileEncoder
from medi_core.pipelines.guidance import GuidanceTerm
from medi_core.pipelines.medi_pipeline import MediPipeline

NUM_SUBSETS = 50
ALL_LEVELS = (0.0, 1.0)


@dataclass(frozen=True)
class RealSet:
    """The tiles that generated ones are compared with; held in memory only."""

    rows: pd.DataFrame
    """Manifest rows with measured stains, one a tile."""
    features: np.ndarray
    """float32 `(N, D)`, in the order of `rows`."""
    splits: tuple[str, ...]

    def describe(self) -> str:
        """`val+test, 2,211 tiles, 80 patients`."""
        return f"{'+'.join(self.splits)}, {len(self.rows):,} tiles, {self.rows['patient_id'].nunique():,} patients"


@dataclass(frozen=True)
class Sampling:
    """How tiles are generated."""

    num_steps: int
    guidance_scale: float
    """Of all attributes together; 1 = none."""
    num_tiles: int
    batch: int
    seed: int = 0
    """Of the draw of conditions."""
    first_seed: int = 0
    """Of the tiles: tile i has this + i."""
    guidance_interval: tuple[float, float] = ALL_LEVELS
    """Guide only between these noise levels: low, high."""


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the arguments of every benchmark of fidelity, and those the parser has already."""
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=["val", "test"])
    parser.add_argument("--checkpoints-dir", type=Path, default=Path("checkpoints"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--tiles", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--subset-size", type=int, default=128)
    args = parser.parse_args()
    if args.tiles < args.subset_size:
        parser.error(f"--tiles {args.tiles} is below --subset-size {args.subset_size}")
    return args


def read_real_set(manifest_path: Path, splits: tuple[str, ...], encoder: TileEncoder) -> RealSet:
    """Read, measure and encode the grid tiles of some splits."""
    manifest = read_manifest(manifest_path)
    rows = manifest[manifest["split"].isin(splits)].reset_index(drop=True)
    if rows.empty:
        raise ManifestError(f"{manifest_path.name} has no row with split {' or '.join(splits)}")
    parts, features = [], np.empty((len(rows), encoder.dim), dtype=np.float32)
    for path, of_image in rows.groupby("path", sort=False):
        regions = {path: read_image(path)}  # one region at a time: thousands of them would not fit into memory
        parts.append(measure_stains(of_image, regions))
        tiles = np.stack([read_grid_tile(row, regions[path]) for _, row in of_image.iterrows()])
        features[of_image.index] = encoder.encode(tiles)
    return RealSet(pd.concat(parts).sort_index(), features, splits)


def draw_conditions(real: RealSet, vocabulary: Vocabulary, sampling: Sampling) -> torch.Tensor:
    """Condition ids int64 `(num_tiles, A)`; without replacement as far as the real set goes."""
    rng = np.random.default_rng(sampling.seed)
    chosen = [rng.permutation(len(real.rows)) for _ in range(-(-sampling.num_tiles // len(real.rows)))]
    rows = real.rows.iloc[np.concatenate(chosen)[: sampling.num_tiles]]
    return torch.tensor([vocabulary.encode(record_of(row, vocabulary)) for _, row in rows.iterrows()])


def generate(pipeline: MediPipeline, condition_ids: torch.Tensor, sampling: Sampling) -> Iterator[np.ndarray]:
    """Batches of tiles, uint8 `(B, H, W, 3)`."""
    columns = tuple(range(condition_ids.shape[1]))
    seeds = range(sampling.first_seed, sampling.first_seed + len(condition_ids))
    # a stock pipeline knows no interval, and needs none to guide at all levels
    within = {} if sampling.guidance_interval == ALL_LEVELS else {"guidance_interval": sampling.guidance_interval}
    for start in range(0, len(condition_ids), sampling.batch):
        chosen = slice(start, start + sampling.batch)
        yield pipeline(
            condition_ids[chosen],
            seeds[chosen],
            num_inference_steps=sampling.num_steps,
            guidance=[GuidanceTerm(columns, sampling.guidance_scale)],
            **within,
        )


def generated_features(
    pipeline: MediPipeline, real: RealSet, sampling: Sampling, encoder: TileEncoder
) -> tuple[np.ndarray, float]:
    """Features `(num_tiles, D)`, and the network evaluations that a tile took, counted."""
    evaluations = 0

    def count(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal evaluations
        evaluations += len(inputs[0])

    hook = pipeline.denoiser.register_forward_pre_hook(count)
    try:
        conditions = draw_conditions(real, pipeline.metadata_embedder.vocabulary, sampling)
        features = [encoder.encode(tiles) for tiles in generate(pipeline, conditions, sampling)]
    finally:
        hook.remove()
    return np.concatenate(features), evaluations / sampling.num_tiles


def distance_to(real: RealSet, features: np.ndarray, subset_size: int) -> SubsetDistances:
    """Kernel distance of generated tiles to the real ones."""
    return kernel_distance_of_subsets(real.features, features, subset_size, NUM_SUBSETS)


def real_floors(real: RealSet, subset_size: int) -> dict[str, SubsetDistances]:
    """Kernel distance of real tiles to real tiles, by the halves that the two subsets are drawn from.

    Halves by tile: what a perfect model of this set would score. Halves by patient: what other patients
    of the same kind score; there the two sides share no patient (a tile without one counts by its image).
    """
    tiles = np.arange(len(real.rows)).astype(str)
    patients = real.rows["patient_id"].fillna(real.rows["path"]).to_numpy(dtype=str)
    return {
        "real, halves by tile": _distance_of_halves(real.features, tiles, subset_size),
        "real, halves by patient": _distance_of_halves(real.features, patients, subset_size),
    }


def _distance_of_halves(features: np.ndarray, groups: np.ndarray, subset_size: int) -> SubsetDistances:
    """Each subset from its own random halving of the groups."""
    rng = np.random.default_rng(0)
    names = np.unique(groups)
    values = []
    for seed in range(NUM_SUBSETS):
        is_first = np.isin(groups, rng.permutation(names)[: len(names) // 2])
        once = kernel_distance_of_subsets(features[is_first], features[~is_first], subset_size, 1, seed)
        values.append(once.mean)
    return SubsetDistances(np.array(values))
