"""What benchmarks/throughput.py measures: sampling, training steps and the paper's network."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks import networks
from benchmarks.timing import median_seconds, synchronize
from medi_core.checkpoints import load_checkpoint
from medi_core.device import DTYPES
from medi_core.pipelines.guidance import GuidanceTerm
from medi_core.pipelines.medi_pipeline import MediPipeline
from medi_core.training.run import build_pipeline
from medi_core.training.train_diffusion import DiffusionTrainingConfig

GUIDANCE_SCALE = 1.5
WARM_UP_STEPS = 2
MIXED_PRECISION = {"bfloat16": "bf16", "float16": "fp16", "float32": "no"}


@dataclass(frozen=True)
class Setting:
    """How something is run; one group of rows."""

    dtype: str
    execution: str
    """eager or compiled."""
    device: torch.device
    seconds: float
    """How long each measurement is repeated."""
    peak: float
    """FLOP/s of this dtype."""


@dataclass(frozen=True)
class Speed:
    """One measurement."""

    what: str
    batch: int
    step_seconds: float
    tiles_per_second: float
    flops_per_second: float
    first_preview_seconds: float | None = None


def load_pipeline(checkpoint: str | None, root: Path, setting: Setting) -> MediPipeline:
    """The checkpoint's pipeline, or one of random weights, as the app runs it."""
    dtype = DTYPES[setting.dtype]
    if checkpoint:
        pipeline = load_checkpoint(checkpoint, root, setting.device, dtype).pipeline
    else:
        pipeline = build_pipeline(networks.build_training(DiffusionTrainingConfig()))
        pipeline.to(setting.device, dtype)
        pipeline.denoiser.eval()
    if setting.execution == "compiled":
        torch.compiler.reset()
        pipeline.denoiser.compile(dynamic=False)
    return pipeline


@torch.inference_mode()
def measure_paper(setting: Setting, batches: list[int]) -> Iterator[Speed]:
    """One forward of the paper's network a batch size."""
    network = networks.build_paper_network().eval()
    network.to(setting.device, DTYPES[setting.dtype], memory_format=torch.channels_last)
    if setting.execution == "compiled":
        torch.compiler.reset()
        network.compile(dynamic=False)
    flops = networks.forward_flops_of_paper()
    timestep = torch.tensor(500.0, device=setting.device)
    for batch in batches:
        x_t = torch.randn(batch, 3, networks.SIDE_PX, networks.SIDE_PX).to(setting.device, network.dtype)
        x_t = x_t.contiguous(memory_format=torch.channels_last)
        labels = torch.zeros(batch, 4 * networks.PAPER_WIDTHS[0], device=setting.device, dtype=network.dtype)
        network(x_t, timestep, class_labels=labels)
        seconds = median_seconds(
            lambda x_t=x_t, labels=labels: network(x_t, timestep, class_labels=labels), setting.device, setting.seconds
        )
        rate = batch / seconds
        yield Speed("paper's network", batch, seconds, rate / networks.PAPER_STEPS, rate * flops)


def measure_sampling(pipeline: MediPipeline, setting: Setting, batches: list[int], steps: int) -> Iterator[Speed]:
    """Whole calls of the pipeline, without and with guidance."""
    columns = tuple(range(len(pipeline.metadata_embedder.vocabulary.attributes)))
    flops = networks.forward_flops_of_ours(pipeline.denoiser)
    for guidance in ((), (GuidanceTerm(columns, GUIDANCE_SCALE),)):
        for batch in batches:
            previews: list[float] = []
            _sample(pipeline, batch, WARM_UP_STEPS, guidance)
            seconds = median_seconds(
                lambda batch=batch, guidance=guidance, previews=previews: previews.append(
                    _sample(pipeline, batch, steps, guidance)
                ),
                setting.device,
                setting.seconds,
            )
            forwards = batch * steps * (1 + len(guidance))
            what = f"sampling, {steps} steps" + (", guided" if guidance else "")
            yield Speed(what, batch, seconds / steps, batch / seconds, forwards * flops / seconds, median(previews))


def _sample(pipeline: MediPipeline, batch: int, steps: int, guidance: tuple[GuidanceTerm, ...]) -> float:
    """Sample one batch; returns the seconds to the first preview."""
    ids = torch.zeros(batch, len(pipeline.metadata_embedder.vocabulary.attributes), dtype=torch.int64)
    start, first_preview = time.perf_counter(), 0.0

    def on_step(done: int, _clean: torch.Tensor) -> None:
        nonlocal first_preview
        if done == 1:
            synchronize(pipeline.device)
            first_preview = time.perf_counter() - start

    pipeline(ids, range(batch), steps, guidance, on_step=on_step)
    return first_preview


def measure_training(setting: Setting) -> Speed:
    """Whole training steps (data, noise, forward, backward, optimizer, EMA) at the default batch."""
    config = DiffusionTrainingConfig()
    torch.compiler.reset()
    training = networks.build_training(
        config, setting.execution == "compiled", MIXED_PRECISION[setting.dtype], setting.device
    )
    flops = 3 * networks.forward_flops_of_ours(training.model.denoiser, config.side_px)
    steps = training.steps()
    for _ in range(WARM_UP_STEPS):
        next(steps)
    seconds = median_seconds(lambda: next(steps), setting.device, setting.seconds)
    rate = config.global_batch / seconds
    return Speed("training step", config.global_batch, seconds, rate, rate * flops)
