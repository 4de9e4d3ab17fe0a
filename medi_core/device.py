"""Which device and number format to run on: what is here, and what a measurement of a moment says is fastest."""

import os
import time
from collections.abc import Callable, Mapping
from functools import cache, partial

import torch
from torch import nn

from medi_core.errors import InvalidRequestError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MARGIN = 0.9
"""Another format than float32, which is the most exact, must take at most this share of its time."""
MEASURED_ROUNDS = (3, 12)
"""At least and at most; the fastest counts, so that what else runs on the machine does not."""
MEASURED_SECONDS = 0.25
"""No round is begun later."""
MEASURED_ROWS = {"cpu": 4}
"""As many as a micro-batch has."""
ACCELERATOR_ROWS = 256
"""More than a micro-batch: of few rows the time is that of launching kernels, which is the same in every format."""


def is_zero_gpu() -> bool:
    """Whether this is a Space on ZeroGPU. (Other Spaces have the package `spaces` as well.)"""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as `spaces` reads it


def choose_device(name: str) -> torch.device:
    """`auto` takes a CUDA GPU, then Apple's MPS, then the CPU.

    Raises:
        InvalidRequestError: the device does not exist here.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available = [*(f"cuda:{i}" for i in range(torch.cuda.device_count())), *available]
    if name == "auto":
        return torch.device(available[0])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in available:
        raise InvalidRequestError(f"device {name!r} is not available; available: auto, {', '.join(available)}")
    return torch.device(wanted)


def choose_dtype(
    name: str, device: torch.device, measure: Callable[[torch.device], Mapping[torch.dtype, float]] | None = None
) -> torch.dtype:
    """`auto` takes the format that runs layers like the denoiser's fastest here; float32, if none is clearly faster.

    The measurement takes a fraction of a second, once a process. float16 is tried only where there is no bfloat16 in
    hardware: it is finer, but ends at 65,504 where bfloat16 reaches as far as float32 does. The shipped checkpoint
    stays well below (docs/benchmarks.md, number format); a pipeline that leaves the range says so.

    Args:
        measure: device → seconds of each candidate; by default `measured_seconds`.

    Raises:
        InvalidRequestError: an unknown dtype.
    """
    if name != "auto":
        if name not in DTYPES:
            raise InvalidRequestError(f"dtype {name!r} is unknown; known: auto, {', '.join(DTYPES)}")
        return DTYPES[name]
    if device.type == "cuda" and is_zero_gpu():
        return torch.bfloat16  # there is no GPU to measure until a visitor asks for tiles; all that are lent have it
    seconds = (measure or measured_seconds)(device)
    fastest = min(seconds, key=seconds.__getitem__)
    return fastest if seconds[fastest] <= MARGIN * seconds[torch.float32] else torch.float32


def choose_compile(name: str, device: torch.device) -> bool:
    """Whether to compile the denoiser: `auto` does on CUDA, but not on ZeroGPU, nor on a CPU (docs/benchmarks.md).

    Raises:
        InvalidRequestError: neither auto, on nor off; `on` where each request would have to wait for it.
    """
    if name not in ("auto", "on", "off"):
        raise InvalidRequestError(f"compile {name!r} is unknown; known: auto, on, off")
    if name == "on" and is_zero_gpu():
        raise InvalidRequestError("compile 'on': on ZeroGPU each request would compile anew; choose auto or off")
    return name == "on" or (name == "auto" and device.type == "cuda" and not is_zero_gpu())


def candidates(device: torch.device) -> tuple[torch.dtype, ...]:
    """The formats that `auto` chooses from."""
    if device.type == "cpu":
        return torch.float32, torch.bfloat16
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float32, torch.bfloat16
    return torch.float32, torch.float16


@cache
def measured_seconds(device: torch.device) -> dict[torch.dtype, float]:
    """Seconds that layers like the denoiser's take in each candidate: the fastest of a few rounds."""
    runs = {dtype: _layers(device, dtype) for dtype in candidates(device)}
    least, most = MEASURED_ROUNDS
    for run in runs.values():
        run()  # chooses kernels
    seconds, end = dict.fromkeys(runs, float("inf")), time.perf_counter() + MEASURED_SECONDS
    for i in range(most):
        if i >= least and time.perf_counter() > end:
            break
        for dtype, run in runs.items():  # in turn: a machine that slows down does so for all of them
            seconds[dtype] = min(seconds[dtype], _seconds_of(run, device))
    return seconds


@torch.inference_mode()
def _layers(device: torch.device, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    """Two levels of the denoiser, and a batch to run them on."""
    with torch.random.fork_rng(devices=()):  # nobody's random numbers are used up
        layers = [nn.GroupNorm(32, 96), nn.SiLU(), nn.Conv2d(96, 96, 3, padding=1)]
        layers += [nn.Conv2d(96, 192, 3, 2, padding=1), nn.GroupNorm(32, 192), nn.SiLU()]
        network = nn.Sequential(*layers, nn.Conv2d(192, 192, 3, padding=1))
    network.to(device, dtype, memory_format=torch.channels_last)
    x = torch.linspace(-1, 1, 96 * 32 * 32).view(1, 96, 32, 32).to(device, dtype)
    x = x.repeat(MEASURED_ROWS.get(device.type, ACCELERATOR_ROWS), 1, 1, 1).to(memory_format=torch.channels_last)
    return partial(torch.inference_mode()(network), x)


def _seconds_of(run: Callable[[], torch.Tensor], device: torch.device) -> float:
    """Of the processor, where that is what computes: it may be shared. Otherwise of the clock."""
    if device.type == "cpu":
        is_fine = time.get_clock_info("process_time").resolution < 1e-4  # on Windows it is not
        clock, synchronize = time.process_time if is_fine else time.perf_counter, lambda: None
    else:
        clock = time.perf_counter
        synchronize = partial(torch.cuda.synchronize, device) if device.type == "cuda" else torch.mps.synchronize
    synchronize()
    start = clock()
    run()
    synchronize()
    return clock() - start
