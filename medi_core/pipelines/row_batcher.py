"""Rows of the denoiser in micro-batches of one fixed size: of one caller, or of several at once, in turn.

Kernels are chosen by batch size and round differently, so that a tile would depend on how many others are made with
it. Every forward therefore has the same number of rows, the last one filled up. A row's result then does not depend
on its company, so that rows of several requests, at other noise levels and under other conditions, can share a forward
and no place is filled with copies while somebody waits. Knows no requests, tiles or schedulers.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from medi_core.errors import StoppingError
from medi_core.models.denoiser import Denoiser

MICRO_BATCH = {"cpu": 4}
"""Small enough that one tile does not pay for many."""
ACCELERATOR_MICRO_BATCH = 16
TRAINED_SIDE_PX = 128
PATIENCE = 0.1
"""Share of a forward for which its last places are kept for callers who are between two steps: without it two callers
alternate for ever, each alone in a forward while the other prepares its next step …"""
MOST_PATIENCE_SECONDS = 0.05
"""… but no longer than this. A caller who is alone never waits."""

PredictRows = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""x_t `(R, 3, H, W)`, timesteps `(R,)`, conditioning `(R, E)` → float32 `(R, 3, H, W)`."""


def micro_batch_size(x_t: torch.Tensor) -> int:
    """Rows of a forward: fewer of large images, so that none pays for copies of itself."""
    most = MICRO_BATCH.get(x_t.device.type, ACCELERATOR_MICRO_BATCH)
    return max(1, min(most, most * TRAINED_SIDE_PX**2 // (x_t.shape[-2] * x_t.shape[-1])))


def predict_micro_batch(
    denoiser: Denoiser, x_t: torch.Tensor, timesteps: torch.Tensor, conditioning: torch.Tensor
) -> torch.Tensor:
    """One forward of at most `micro_batch_size` rows, filled up with copies of the last: float32 `(R, 3, H, W)`.

    The result is a copy: a CUDA graph writes its next one over the last.
    """
    rows = torch.arange(micro_batch_size(x_t), device=x_t.device).clamp(max=len(x_t) - 1)
    batch = x_t[rows].to(denoiser.dtype, memory_format=torch.channels_last)
    return denoiser(batch, timesteps[rows], conditioning[rows])[: len(x_t)].to(torch.float32, copy=True)


def predict_alone(
    denoiser: Denoiser, x_t: torch.Tensor, timesteps: torch.Tensor, conditioning: torch.Tensor
) -> torch.Tensor:
    """As many forwards as the rows need, with nobody else's: float32 `(R, 3, H, W)`."""
    parts = zip(*(tensor.split(micro_batch_size(x_t)) for tensor in (x_t, timesteps, conditioning)), strict=True)
    return torch.cat([predict_micro_batch(denoiser, *part) for part in parts])


@dataclass(eq=False)
class _Job:
    """Rows of one caller, who waits for them."""

    x_t: torch.Tensor
    timesteps: torch.Tensor
    conditioning: torch.Tensor
    since: float
    """When they were handed in: monotonic seconds."""
    num_taken: int = 0
    parts: list[torch.Tensor] = field(default_factory=list)
    error: BaseException | None = None
    is_done: threading.Event = field(default_factory=threading.Event)

    @property
    def num_left(self) -> int:
        return len(self.x_t) - self.num_taken

    def take(self, num: int) -> list[torch.Tensor]:
        rows = slice(self.num_taken, self.num_taken + num)
        self.num_taken += num
        return [self.x_t[rows], self.timesteps[rows], self.conditioning[rows]]

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.is_done.set()


class RowBatcher:
    """One thread that runs the denoiser for all callers, their rows in turn: none waits longer than its share.

    Args:
        denoiser: called from that thread alone.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._num_callers, self._is_stopping = 0, False
        self._worker: threading.Thread | None = None
        self._forward_seconds, self._free_since = 0.0, 0.0

    @contextmanager
    def caller(self) -> Iterator[PredictRows]:
        """Take part: rows in, predictions out, as often as wanted. To be called from one thread at a time.

        Raises:
            StoppingError: from the function given, once `stop` was called.
        """
        with self._changed:
            self._num_callers += 1
        try:
            yield self._predict
        finally:
            with self._changed:
                self._num_callers -= 1
                self._changed.notify_all()  # nobody need wait for it any more

    def stop(self, timeout_seconds: float) -> None:
        """Finish the running forward, refuse all others, and wait until the callers have left.

        Args:
            timeout_seconds: for how long they are waited for.
        """
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._num_callers == 0, timeout_seconds)

    def _predict(self, x_t: torch.Tensor, timesteps: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        job = _Job(x_t, timesteps, conditioning, time.monotonic())
        with self._changed:
            if self._is_stopping:
                raise StoppingError
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, daemon=True, name="denoiser")
                self._worker.start()
            self._waiting.append(job)
            self._changed.notify_all()
        job.is_done.wait()
        if job.error is not None:
            raise job.error
        return torch.cat(job.parts)

    @torch.inference_mode()
    def _work(self) -> None:
        while shares := self._next_shares():
            start = time.monotonic()
            try:
                rows = [torch.cat(tensors) for tensors in zip(*(job.take(num) for job, num in shares), strict=True)]
                predicted = predict_micro_batch(self._denoiser, *rows).split([num for _, num in shares])
            except BaseException as error:  # it belongs to the callers in this forward, each in its own thread
                with self._changed:
                    for job, _ in shares:
                        if job in self._waiting:
                            self._waiting.remove(job)
                        job.fail(error)
                continue
            for (job, _), part in zip(shares, predicted, strict=True):
                job.parts.append(part)
                if job.num_left == 0:
                    job.is_done.set()
            self._free_since = time.monotonic()
            self._forward_seconds = self._free_since - start

    def _next_shares(self) -> list[tuple[_Job, int]]:
        """Whose rows are in the next forward, and how many; empty = stop. Waits for somebody to ask."""
        with self._changed:
            while not self._is_stopping:
                shares = self._shares()
                patience = self._patience(shares)
                if shares and patience <= 0:
                    for job, num in shares:  # who has had a turn goes to the end
                        self._waiting.remove(job)
                        if num < job.num_left:
                            self._waiting.append(job)
                    return shares
                self._changed.wait(patience if shares else None)
            for job in self._waiting:
                job.fail(StoppingError())
            self._waiting.clear()
            return []

    def _shares(self) -> list[tuple[_Job, int]]:
        """Rows of the shape that has waited longest, one of each caller in turn until the micro-batch is full."""
        if not self._waiting:
            return []
        shape = self._waiting[0].x_t.shape[1:]
        jobs = [job for job in self._waiting if job.x_t.shape[1:] == shape]
        places, taken = micro_batch_size(jobs[0].x_t), dict.fromkeys(jobs, 0)
        while places and (hungry := [job for job in jobs if taken[job] < job.num_left][:places]):
            for job in hungry:
                taken[job] += 1
            places -= len(hungry)
        return [(job, num) for job, num in taken.items() if num]

    def _patience(self, shares: list[tuple[_Job, int]]) -> float:
        """Seconds for which callers who are between two steps are waited for."""
        if not shares or len(self._waiting) == self._num_callers:
            return 0.0
        if sum(num for _, num in shares) == micro_batch_size(shares[0][0].x_t):
            return 0.0
        since = max(self._free_since, *(job.since for job, _ in shares))
        return since + min(PATIENCE * self._forward_seconds, MOST_PATIENCE_SECONDS) - time.monotonic()
