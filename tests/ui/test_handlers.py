"""Downloads and names: many users at once, full disks, and names that say what is in a file."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medi_core.errors import InvalidRequestError, StorageError
from medi_core.metadata.schema import MetadataRecord
from medi_core.ui.handlers import DOWNLOAD_SECONDS, seeds_from, slug, write_download


def test_downloads_of_many_users_at_once_do_not_disturb_each_other():
    old = [Path(write_download("old.png", b"old")).parent for _ in range(50)]
    expired = time.time() - DOWNLOAD_SECONDS - 60
    for folder in old:
        os.utime(folder, (expired, expired))
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda i: write_download("tile.png", str(i).encode()), range(100)))
    assert [Path(path).read_bytes() for path in paths] == [str(i).encode() for i in range(100)]
    assert not any(folder.exists() for folder in old)


def test_a_full_disk_is_said_in_words(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        write_download("tile.png", b"")


def test_a_file_name_says_which_bin_of_which_stain():
    assert slug(MetadataRecord(center="ABS - IUPUI", eosin="5")) == "ABS---IUPUI_eosin5"
    assert slug(MetadataRecord()) == "unconditioned"


def test_an_empty_seed_is_an_error_and_not_a_zero():
    assert seeds_from(7, 2) == (7, 8)
    with pytest.raises(InvalidRequestError, match="the seed is empty"):
        seeds_from(None, 1)
