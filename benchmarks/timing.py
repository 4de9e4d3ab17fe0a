"""Wall-clock time of repeated calls, and the machine's own convolution peak."""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

PEAK_CONVOLUTIONS = ((1, 256, 64), (8, 256, 64), (8, 512, 32), (32, 512, 32), (16, 1024, 32))
"""(batch, channels, side in px) of 3×3 convolutions; no one size is fastest on every machine."""


class Budget:
    """Stops a benchmark from starting anything new once its minutes are over."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    @property
    def is_spent(self) -> bool:
        return time.monotonic() > self._end


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_calls(run: Callable[[], object], device: torch.device, seconds: float, min_calls: int = 2) -> list[float]:
    """Seconds of each call, repeated for about `seconds`. The caller warms up."""
    times: list[float] = []
    while len(times) < min_calls or sum(times) < seconds:
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return times


def median_seconds(run: Callable[[], object], device: torch.device, seconds: float) -> float:
    return median(time_calls(run, device, seconds))


@torch.inference_mode()
def convolution_peak(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """FLOP/s of the fastest call of the fastest of `PEAK_CONVOLUTIONS`; a multiply-add counts as 2."""
    rates = []
    for batch, channels, side in PEAK_CONVOLUTIONS:
        convolution = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        convolution = convolution.to(device, dtype, memory_format=torch.channels_last)
        x = torch.randn(batch, channels, side, side, device=device, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        convolution(x)
        fastest = min(time_calls(lambda run=convolution, x=x: run(x), device, seconds / len(PEAK_CONVOLUTIONS)))
        rates.append(2 * 9 * channels**2 * batch * side**2 / fastest)
    return max(rates)


def describe_device(device: torch.device) -> str:
    """`Intel(R) Xeon(R) …, 2 threads`, or the GPU's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"
