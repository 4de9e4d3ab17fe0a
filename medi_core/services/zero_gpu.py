"""Hugging Face ZeroGPU: borrow the GPU for one call where the platform's `spaces` package is present."""

from collections.abc import Callable, Iterator
from functools import wraps
from importlib.util import find_spec
from typing import TypeVar

Request = TypeVar("Request")
Report = TypeVar("Report")


def on_zero_gpu(function: Callable[[Request], Iterator[Report]]) -> Callable[[Request], Iterator[Report]]:
    """The function itself, or wrapped by `spaces.GPU`, which runs it in a process that holds a GPU."""

    @wraps(function)
    def run(request: Request) -> Iterator[Report]:  # spaces looks whether it is given a generator function
        yield from function(request)

    if find_spec("spaces") is None:
        return run
    import spaces

    return spaces.GPU(run)
