"""Steps and guidance of a request that leaves them open: what its checkpoint is made for."""

from dataclasses import replace
from typing import TypeVar

from medi_core.checkpoints import Checkpoint

DEFAULT_STEPS, DEFAULT_GUIDANCE = 12, 2.0  # as measured: docs/benchmarks.md, samplers
Request = TypeVar("Request")


def default_sampling(checkpoint: Checkpoint) -> tuple[int, float]:
    """Steps and guidance that a checkpoint is made for.

    Raises:
        CheckpointError: its record of how it was distilled cannot be used.
    """
    few = checkpoint.distillation
    return (DEFAULT_STEPS, DEFAULT_GUIDANCE) if few is None else (few.num_inference_steps, few.guidance_scale)


def settled(request: Request, sampling: tuple[int, float]) -> Request:
    """A `GenerationRequest` with these steps and this guidance where it leaves them open (`None`)."""
    steps, guidance = sampling
    return replace(
        request,
        num_inference_steps=steps if request.num_inference_steps is None else request.num_inference_steps,
        guidance_scale=guidance if request.guidance_scale is None else request.guidance_scale,
    )
