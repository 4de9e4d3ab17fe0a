"""Train for so many minutes of processor time, with snapshots on the way; stopped and resumed at will.

The clock is the process's own processor time: on a busy machine a training waits, but its clock waits with it. Reading
the data, writing states and writing snapshots are not on the clock; making the training tiles is.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.networks import forward_flops_of_ours, num_parameters
from benchmarks.tables import log
from medi_core.errors import CheckpointError
from medi_core.training.run import ema_weights
from medi_core.training.run_loop import stop_on_sigterm
from medi_core.training.train_diffusion import DiffusionTraining
from medi_core.training.training_state import has_state, load_state, save_state

SAVE_EVERY_MINUTES = 5.0
LOG_EVERY_STEPS = 20


class CpuClock:
    """Minutes of processor time of this process, all threads together."""

    def __init__(self, minutes: float = 0.0) -> None:
        """Args: minutes: already spent."""
        self._before, self._started = minutes, time.process_time()

    @property
    def minutes(self) -> float:
        return self._before + (time.process_time() - self._started) / 60

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is not counted."""
        start = time.process_time()
        try:
            yield
        finally:
            self._started += time.process_time() - start


def snapshot_folder(folder: Path, minutes: float) -> Path:
    """Where the snapshot of so many minutes is."""
    return folder / f"minutes-{minutes:07.2f}"


def snapshots(folder: Path) -> list[Path]:
    """All snapshots of a training, the earliest first."""
    return sorted(path for path in folder.glob("minutes-*[0-9]") if path.is_dir())


def pending(folder: Path, at: Sequence[float]) -> list[float]:
    """The minutes whose snapshot is still to be made, in order."""
    return sorted(minutes for minutes in set(at) if not snapshot_folder(folder, minutes).exists())


def train(
    training: DiffusionTraining,
    folder: Path,
    at: Sequence[float],
    minutes: float | None,
    write: Callable[[Path, dict[str, Any]], None],
) -> None:
    """Train until the last snapshot is made, `minutes` are over or SIGTERM comes; resumes what `folder` holds.

    Args:
        at: minutes of processor time at whose end a snapshot is made.
        minutes: of processor time, in this call.
        write: (folder, record) → a snapshot of the model's present, averaged weights.

    Raises:
        CheckpointError: the folder holds a training with other settings.
    """
    require_same_settings(training, folder)
    clock = CpuClock(load_state(training, folder / "state") if has_state(folder / "state") else 0.0)
    end = float("inf") if minutes is None else clock.minutes + minutes
    last_save = clock.minutes
    with stop_on_sigterm() as is_stopped:
        for step in training.steps() if pending(folder, at) else ():
            if step.step % LOG_EVERY_STEPS == 0:
                log(f"step {step.step}: loss {step.loss:.4f}, {clock.minutes:.2f} CPU minutes")
            now = clock.minutes
            due = [wanted for wanted in pending(folder, at) if wanted <= now]
            is_over = now >= end or is_stopped()
            if due or is_over or now - last_save >= SAVE_EVERY_MINUTES:
                with clock.paused():
                    save_state(training, folder / "state", now)
                    for wanted in due:
                        _write_snapshot(training, snapshot_folder(folder, wanted), now, write)
                last_save = now
            if is_over or not pending(folder, at):
                break
    log(f"{folder.name}: {clock.minutes:.2f} CPU minutes, still to come: {pending(folder, at) or 'nothing'}")


def require_same_settings(training: DiffusionTraining, folder: Path) -> None:
    """Note a training's settings in its folder, or see that they are those noted there.

    Raises:
        CheckpointError: they are others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "settings.json"
    now = json.loads(json.dumps(training.config.to_dict() | {"precision": training.accelerator.mixed_precision}))
    if not file.exists():
        file.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    if changed := [f"{name}: {before.get(name)}, now {now[name]}" for name in now if before.get(name) != now[name]]:
        raise CheckpointError(
            f"the training in {folder} was started with other settings ({'; '.join(changed)}); use those or another "
            "--work folder"
        )


def _write_snapshot(
    training: DiffusionTraining, folder: Path, minutes: float, write: Callable[[Path, dict[str, Any]], None]
) -> None:
    facts = {
        "step": training.step,
        "tiles_seen": training.tiles_seen,
        "minutes": minutes,
        "parameters": num_parameters(training.model),
        "forward_flops": forward_flops_of_ours(training.model.denoiser, training.config.side_px),
    }
    with ema_weights(training):
        write(folder, training.config.to_dict() | facts)
    log(f"{folder}: {training.tiles_seen:,} tiles")
