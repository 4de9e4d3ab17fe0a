"""Folders that are written wholly or not at all, and write errors a user understands. Knows no contents.

It can tell which folders do not outlive a restart.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError

from medi_core.errors import StorageError

TEMPORARY, PREVIOUS, UNFINISHED = ".tmp", ".old", ".part"
VOLATILE = {"overlay", "aufs", "tmpfs", "ramfs"}
"""File systems that do not outlive a restart."""


@contextmanager
def translate_write_errors(what: str) -> Iterator[None]:
    """Turn what the disk refuses into a message.

    Raises:
        StorageError: e.g. because the disk is full.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors wraps the system's error in its own
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"could not write {what}: {reason}; free some space or choose another folder") from error


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into; it takes the place of `folder` when all is written.

    At any instant `present_folder(folder)` is a whole folder, the old or the new one.

    Raises:
        StorageError: something could not be written; the old folder is as it was.
    """
    temporary, previous = _beside(folder, TEMPORARY), _beside(folder, PREVIOUS)
    with translate_write_errors(str(folder)):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if folder.exists():
                shutil.rmtree(previous, ignore_errors=True)
                os.replace(folder, previous)
            os.replace(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)  # on a full disk, give its space back
            if previous.exists() and not folder.exists():
                os.replace(previous, folder)
            raise
        shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write; it takes the name `path` when all is written. Two processes may write the same file at once."""
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}{UNFINISHED}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def present_folder(folder: Path) -> Path:
    """The folder, or what it was before if a process died between the two renames of `replaced_folder`."""
    previous = _beside(folder, PREVIOUS)
    return previous if previous.exists() and not folder.exists() else folder


def volatile_reason(folder: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """Why what is written to a folder would be lost at the next start, or `None` where nothing says so.

    Args:
        folder: need not exist.
        mounts: the system's table of mounted file systems; where there is none (not Linux) only the place counts.
    """
    folder = folder.resolve()
    if folder.is_relative_to(Path(tempfile.gettempdir()).resolve()):
        return "it lies in the folder for temporary files"
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    found = [(len(place), kind) for _, place, kind, *_ in lines if folder.is_relative_to(place)]
    kind = max(found, default=(0, ""))[1]
    return f"it lies on {kind}, which goes with the container or the machine's memory" if kind in VOLATILE else None


def _beside(folder: Path, suffix: str) -> Path:
    return folder.parent / (folder.name + suffix)
