"""Hugging Face ZeroGPU: borrow a GPU for one call, for as long as its request needs. Elsewhere nothing changes."""

from collections.abc import Callable, Iterator
from functools import wraps
from math import ceil
from typing import TypeVar

from medi_core.device import is_zero_gpu

Request = TypeVar("Request")
Report = TypeVar("Report")

START_SECONDS = 10.0
"""To start the process that holds the GPU, and to bring the weights there."""
SECONDS_A_STEP = 0.1
SECONDS_AN_EVALUATION = 0.004
"""Of the network, on one tile of 128 × 128 px. These three are guesses on the safe side: no card of ZeroGPU was
measured. A visitor pays for the seconds used, not for those asked for; asking for too many costs a worse place in the
queue, asking for too few ends the call."""
MAX_SECONDS = 3600
"""More than any account has a day."""


def gpu_seconds(num_steps: float, num_evaluations: float) -> int:
    """For how long to ask for the GPU.

    Args:
        num_steps: denoising steps, one after the other.
        num_evaluations: of the network, in tiles of 128 × 128 px.
    """
    seconds = START_SECONDS + SECONDS_A_STEP * num_steps + SECONDS_AN_EVALUATION * num_evaluations
    return min(ceil(seconds), MAX_SECONDS)


def on_zero_gpu(
    function: Callable[[Request], Iterator[Report]], seconds: Callable[[Request], int]
) -> Callable[[Request], Iterator[Report]]:
    """The function itself, or wrapped by `spaces.GPU`, which runs it in a process that holds a GPU.

    Args:
        seconds: for how long a request needs the GPU.
    """

    @wraps(function)
    def run(request: Request) -> Iterator[Report]:  # spaces looks whether it is given a generator function
        yield from function(request)

    if not is_zero_gpu():
        return run
    import spaces

    return spaces.GPU(run, duration=seconds)
