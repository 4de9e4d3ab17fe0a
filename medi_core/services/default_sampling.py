"""Steps and guidance of a request that leaves them open: what its checkpoint is made for."""

from dataclasses import replace
from typing import TypeVar

from medi_core.checkpoints import Checkpoint

DEFAULT_STEPS, DEFAULT_GUIDANCE = 12, 2.0  # as measured: docs/benchmarks.md, samplers
DISTILLED_GUIDANCE = 1.0
"""A few-step checkpoint has learned guided tiles: guidance is in its weights."""
Request = TypeVar("Request")


def default_sampling(checkpoint: Checkpoint) -> tuple[int, float]:
    """Steps and guidance that a checkpoint is made for.

    Raises:
        CheckpointError: its record of how it was distilled cannot be used.
    """
    few = checkpoint.distilled_steps
    return (DEFAULT_STEPS, DEFAULT_GUIDANCE) if few is None else (few, DISTILLED_GUIDANCE)


def settled(request: Request, sampling: tuple[int, float]) -> Request:
    """A `GenerationRequest` with these steps and this guidance where it leaves them open (`None`)."""
    steps, guidance = sampling
    return replace(
        request,
        num_inference_steps=steps if request.num_inference_steps is None else request.num_inference_steps,
        guidance_scale=guidance if request.guidance_scale is None else request.guidance_scale,
    )
