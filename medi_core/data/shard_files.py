"""Shards of a synthetic data set on disk: written whole or not at all, checked before they are taken for done.

Knows neither models nor plans. A shard is a folder, a zip or a tar (WebDataset) of PNGs; its record, a JSON beside it
that is written last, lists the rows of the manifest and the SHA-256 of what was written.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from medi_core.data.manifest import write_manifest
from medi_core.errors import StorageError
from medi_core.storage import UNFINISHED, translate_write_errors, whole_file

FOLDER, ZIP, WEBDATASET = "folder", "zip", "webdataset"
SUFFIX = {FOLDER: "", ZIP: ".zip", WEBDATASET: ".tar"}
"""Format → what the name of a shard ends in."""
RECORDS, HEAD, MANIFEST, SUMMARY = "records", "dataset.json", "manifest.csv", "summary.json"
LEFT_OVER_SECONDS = 3600.0
"""What was not finished by then is of a run that was killed; a younger one may be at it still."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first date a zip can hold: the same tiles are the same bytes, whenever they are made."""


@dataclass(frozen=True)
class ShardTile:
    """A tile ready to be written."""

    name: str
    """File name without folder, ending in .png."""
    png: bytes
    row: Mapping[str, Any]
    """Of the manifest, but for its path."""


@dataclass(frozen=True)
class ShardRecord:
    """What became of a shard."""

    rows: tuple[Mapping[str, Any], ...]
    """Of the manifest; `path` is relative to the data set, in an archive below the archive's name."""
    dropped: Mapping[str, int]
    """Why tiles were left out → how many."""


def open_dataset(folder: Path, head: Mapping[str, Any]) -> None:
    """Make a folder for a data set, or see that the one in it is the same one.

    Args:
        head: what decides its bytes: plan, format, filters.

    Raises:
        StorageError: it cannot be made, or holds something else.
    """
    with translate_write_errors(str(folder)):
        (folder / RECORDS).mkdir(parents=True, exist_ok=True)
    path = folder / HEAD
    if not path.exists():
        if others := sorted(p.name for p in folder.iterdir() if p.name != RECORDS and p.suffix != UNFINISHED):
            raise StorageError(f"{folder} holds other files ({', '.join(others[:3])}): give a new or empty folder")
        with translate_write_errors(str(path)):
            _write_whole(path, (json.dumps(dict(head), indent=1, sort_keys=True) + "\n").encode())
        return
    try:
        present = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"{path} is damaged, so what {folder} holds is not known: give another folder") from error
    if differing := [name for name in {*head, *present} if head.get(name) != present.get(name)]:
        name = sorted(differing)[0]
        raise StorageError(
            f"{folder} holds a data set with {name} = {present.get(name)!r}, asked for is {head.get(name)!r}: give "
            "another folder, or the plan and options that this one was begun with"
        )
    _remove_left_over(folder)


def read_record(folder: Path, name: str, form: str) -> ShardRecord | None:
    """The record of a shard that is whole; `None` where there is none, or what it lists is not there unharmed."""
    try:
        plain = json.loads((folder / RECORDS / f"{name}.json").read_text(encoding="utf-8"))
        if not (folder / (name + SUFFIX[form])).exists() or not _is_unharmed(folder, plain["sha256"]):
            return None
        return ShardRecord(tuple(plain["rows"]), dict(plain["dropped"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def has_record(folder: Path, name: str) -> bool:
    """Whether a shard was finished once, sound or not."""
    return (folder / RECORDS / f"{name}.json").exists()


def write_shard(
    folder: Path, name: str, form: str, tiles: Sequence[ShardTile], dropped: Mapping[str, int]
) -> ShardRecord:
    """Write a shard, in place of what may be left of it; its record last.

    Raises:
        StorageError: e.g. the disk is full; nothing half stays, other shards are as they were.
    """
    with translate_write_errors(str(folder / (name + SUFFIX[form]))):
        if form == FOLDER:
            files = {f"{name}/{tile.name}": tile.png for tile in tiles}
            _write_folder(folder / name, tiles)
        else:
            files = {name + SUFFIX[form]: _zip(tiles) if form == ZIP else _tar(tiles)}
            _write_whole(folder / (name + SUFFIX[form]), files[name + SUFFIX[form]])
        rows = [{**tile.row, "path": f"{name}{SUFFIX[form]}/{tile.name}"} for tile in tiles]
        # of the bytes in hand: what is on the disk may be another run's by now
        digests = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
        plain = {"rows": rows, "dropped": dict(dropped), "sha256": digests}
        _write_whole(folder / RECORDS / f"{name}.json", (json.dumps(plain, ensure_ascii=False) + "\n").encode())
    return ShardRecord(tuple(rows), dict(dropped))


def write_summary(folder: Path, form: str, rows: Iterable[Mapping[str, Any]], summary: Mapping[str, Any]) -> Path:
    """The manifest of all shards and the counts; returns the manifest's path.

    Of archives the manifest says where in which one each tile is; `data import webdataset` unpacks tars.
    """
    import pandas as pd

    path, frame = folder / MANIFEST, pd.DataFrame(list(rows))
    with translate_write_errors(str(folder)):
        with whole_file(path) as unfinished:
            if form == FOLDER and len(frame):
                frame["path"] = [str((folder / name).resolve()) for name in frame["path"]]
                write_manifest(frame, unfinished)
            else:
                frame.to_csv(unfinished, index=False)
        _write_whole(folder / SUMMARY, (json.dumps(dict(summary), indent=1) + "\n").encode())
    return path


def _remove_left_over(folder: Path) -> None:
    """Unfinished files and folders of runs that were killed; what cannot be removed does no harm."""
    for path in [*folder.glob(f"*{UNFINISHED}"), *(folder / RECORDS).glob(f"*{UNFINISHED}")]:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT_OVER_SECONDS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write_folder(folder: Path, tiles: Sequence[ShardTile]) -> None:
    unfinished = folder.with_name(f"{folder.name}.{uuid4().hex}{UNFINISHED}")
    try:
        unfinished.mkdir()
        for tile in tiles:
            (unfinished / tile.name).write_bytes(tile.png)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)  # on a full disk, give its space back
        raise


def _write_whole(path: Path, content: bytes) -> None:
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)


def _zip(tiles: Sequence[ShardTile]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNGs do not shrink further
        for tile in tiles:
            archive.writestr(zipfile.ZipInfo(tile.name, EPOCH), tile.png)
    return buffer.getvalue()


def _tar(tiles: Sequence[ShardTile]) -> bytes:
    """Samples of WebDataset: `<key>.png` and `<key>.json`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for tile in tiles:
            key = tile.name.removesuffix(".png")
            label = json.dumps({k: v for k, v in tile.row.items() if v is not None}, ensure_ascii=False).encode()
            for name, content in ((tile.name, tile.png), (f"{key}.json", label)):
                info = tarfile.TarInfo(name)  # its defaults hold no time, owner or machine
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _is_unharmed(folder: Path, digests: Mapping[str, str]) -> bool:
    """Whether the files of a record have its digests; other files beside them, e.g. of a file manager, do no harm.

    Raises:
        OSError: one is not there.
    """
    return all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in digests.items())
