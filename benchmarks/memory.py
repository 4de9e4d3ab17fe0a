"""Resident memory of a process and its children, now and at its highest; from /proc, so on Linux.

Pages that processes share count once for each of them.
"""

import threading
from pathlib import Path

WATCH_SECONDS = 0.1
PROC = Path("/proc")


def resident_mb(pid: int, proc: Path = PROC) -> float:
    """Of the process and all its descendants together, now; MB."""
    return _sum_mb(pid, proc, "VmRSS")


def highest_mb(pid: int, proc: Path = PROC) -> float:
    """The most that each of those running had at any time since its start, together; MB."""
    return _sum_mb(pid, proc, "VmHWM")


class MemoryWatch:
    """Looks at a process's memory again and again while a `with` block runs."""

    def __init__(self, pid: int) -> None:
        self.highest_mb = 0.0
        """Of what was seen."""
        self._pid, self._is_over = pid, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._is_over.wait(WATCH_SECONDS)
            self.highest_mb = max(self.highest_mb, resident_mb(self._pid))


def _sum_mb(pid: int, proc: Path, field: str) -> float:
    statuses = {status["Pid"]: status for folder in proc.glob("[0-9]*") if (status := _read_status(folder))}
    family: set[int] = set()
    todo = {pid} & statuses.keys()
    while todo:
        family |= todo
        todo = {child for child, status in statuses.items() if status["PPid"] in family} - family
    return sum(statuses[member].get(field, 0) for member in family) / 1000


def _read_status(folder: Path) -> dict[str, int] | None:
    """Numbers of a process, memory in kB; `None` if it has ended meanwhile."""
    try:
        lines = (folder / "status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return {name: int(fields[name].split()[0]) for name in ("Pid", "PPid", "VmRSS", "VmHWM") if name in fields}
