"""Members of tars from elsewhere, read and unpacked within bounds. Knows no metadata.

Refused: names that leave the folder, links, devices and sparse files, members and sums of absurd size,
and images whose header announces absurd sides. Compressed tars are refused too: only then is a tar no
bigger unpacked than on the disk.
"""

import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medi_core.data.archive_checks import (
    IMAGE_SUFFIXES,
    MAX_IMAGE_BYTES,
    MAX_NAME_CHARS,
    check_image_header,
    checked_path,
)
from medi_core.errors import ManifestError, StorageError

LABEL_SUFFIXES = (".json", ".cls")
MAX_LABEL_BYTES = 64 * 2**10
MAX_MEMBERS = 5_000_000
"""Over all tars; TCGA-UT has 1.6 million tiles."""
FREE_BYTES = 2**30
"""Left on the disk after unpacking."""


@dataclass(frozen=True)
class TarMember:
    """One image or label of a tar; readable until the next one is asked for."""

    name: str
    """Normalised relative POSIX path."""
    num_bytes: int
    offset: int
    """Of its content in the tar, in bytes: what is stored uncompressed can be read again from there."""
    where: str
    """For messages: `part000.tar: TCGA-…/0_8_521.json`."""
    _info: tarfile.TarInfo
    _tar: tarfile.TarFile

    def read(self) -> bytes:
        try:
            return self._tar.extractfile(self._info).read(self.num_bytes)
        except (tarfile.TarError, OSError) as error:
            raise ManifestError(f"{self.where} cannot be read: {error}; fetch the tar again") from error


def read_members(tars: Sequence[Path]) -> Iterator[TarMember]:
    """The images and labels of tars, each checked before it is given out.

    Raises:
        ManifestError: a tar that cannot be read, or a member that is refused.
    """
    num_members = 0
    for path in tars:
        try:
            with tarfile.open(path, "r:") as tar:
                for info in tar:
                    num_members += 1
                    if num_members > MAX_MEMBERS:
                        raise ManifestError(f"the tars hold more than {MAX_MEMBERS:,} members; import fewer at a time")
                    where = f"{path.name}: {info.name[:MAX_NAME_CHARS]!a}"
                    name = _checked_name(info, where)
                    if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES + LABEL_SUFFIXES and not info.isdir():
                        yield TarMember(name, info.size, info.offset_data, where, info, tar)
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise ManifestError(
                f"{path} cannot be read as an uncompressed tar: {error}; fetch it again, or unpack a .tar.gz to .tar"
            ) from error


def write_images(tars: Sequence[Path], folder: Path) -> None:
    """Unpack the images of tars into a folder that does not exist yet.

    Raises:
        ManifestError: as `read_members`; or a file that is no image, or one too large.
        StorageError: the disk has no room for them.
    """
    num_bytes = sum(tar.stat().st_size for tar in tars)  # at least as much as is in them
    folder.mkdir(parents=True)
    free = shutil.disk_usage(folder).free
    if num_bytes + FREE_BYTES > free:
        raise StorageError(
            f"unpacking needs up to {num_bytes / 2**30:.1f} GiB, and {FREE_BYTES / 2**30:.0f} GiB to spare, but "
            f"{folder.parent} has {free / 2**30:.1f} GiB free; make room or choose another disk"
        )
    for member in read_members(tars):
        if PurePosixPath(member.name).suffix.lower() in IMAGE_SUFFIXES:
            content = member.read()
            check_image_header(content, member.where)
            target = folder / member.name
            if not target.resolve().is_relative_to(folder.resolve()):  # cannot be, by `_checked_name`
                raise ManifestError(f"{member.where} leaves the folder; only plain relative paths are unpacked")
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as file:  # x: never over another member
                file.write(content)


def _checked_name(info: tarfile.TarInfo, where: str) -> str:
    """The member's normalised name, once nothing speaks against the member."""
    name = checked_path(info.name, where)
    if not (info.isdir() or (info.isreg() and not info.issparse())):
        raise ManifestError(f"{where} is a link, device or sparse file; only plain files are unpacked")
    suffix = name.suffix.lower()
    limit = MAX_IMAGE_BYTES if suffix in IMAGE_SUFFIXES else MAX_LABEL_BYTES if suffix in LABEL_SUFFIXES else None
    if limit is not None and info.size > limit:
        raise ManifestError(f"{where} has {info.size:,} bytes; at most {limit:,} are read")
    return str(name)
