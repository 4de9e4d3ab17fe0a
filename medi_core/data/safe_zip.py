"""A zip with a manifest and its images, unpacked within bounds. Knows no metadata.

Refused: names that leave the folder, links, encrypted members, absurd numbers and sizes (counted while unpacking,
whatever the zip's directory says), and images whose header announces absurd sides.
"""

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from medi_core.data.archive_checks import IMAGE_SUFFIXES, MAX_IMAGE_BYTES, check_image_header, checked_path
from medi_core.errors import ManifestError
from medi_core.storage import translate_write_errors

MAX_ZIP_BYTES = 100_000_000
MAX_MEMBERS = 20_000
MAX_UNPACKED_BYTES = 400_000_000
MAX_TOTAL_PX = 1_500_000_000
"""Of all images together, by their headers: what is unpacked is decoded later, and a few bytes can announce much."""
MANIFEST_SUFFIX = ".csv"
PLAIN_COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Of the others zipfile unpacks a whole member at once, however little of it is asked for."""


def unpack_zip(path: Path, folder: Path) -> Path:
    """Unpack the images and the one CSV of a zip; other files are left out.

    Args:
        path: the zip, at most 100 MB.
        folder: an empty folder of the caller's, who also deletes it, whatever comes of this.

    Returns:
        The CSV.

    Raises:
        ManifestError: a zip or a member that is refused, or not exactly one CSV.
        StorageError: no room on the disk.
    """
    if path.stat().st_size > MAX_ZIP_BYTES:
        raise ManifestError(
            f"{path.name} has {path.stat().st_size / 1e6:.0f} MB; at most {MAX_ZIP_BYTES / 1e6:.0f} MB are read: "
            "upload fewer tiles, or start the app with --tiles manifest.csv"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = _wanted(archive, path.name)
            manifests = [name for name in wanted.values() if name.suffix.lower() == MANIFEST_SUFFIX]
            if len(manifests) != 1:
                found = ", ".join(map(str, manifests[:3])) or "none"
                raise ManifestError(
                    f"{path.name} must hold exactly one manifest (.csv) beside the images; found {found}"
                )
            _unpack(archive, wanted, folder, path.name)
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError, NotImplementedError, EOFError, RuntimeError) as error:
        raise ManifestError(f"{path.name} cannot be read as a zip: {error}; pack the folder again") from error
    return folder / manifests[0]


def _wanted(archive: zipfile.ZipFile, zip_name: str) -> dict[zipfile.ZipInfo, PurePosixPath]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ManifestError(f"{zip_name} holds {len(members):,} members; at most {MAX_MEMBERS:,} are unpacked")
    wanted = {}
    for info in members:
        where = f"{zip_name}: {info.filename[:100]!a}"
        name = checked_path(info.filename, where)
        if info.is_dir():
            continue
        if stat.S_ISLNK(info.external_attr >> 16) or info.flag_bits & 0x1:
            raise ManifestError(f"{where} is a link or encrypted; only plain files are unpacked")
        if info.compress_type not in PLAIN_COMPRESSION:
            raise ManifestError(f"{where} is compressed in an unusual way; pack the folder as an ordinary zip")
        # a Mac adds a folder of its own, with a shadow of every file
        if name.suffix.lower() in (*IMAGE_SUFFIXES, MANIFEST_SUFFIX) and name.parts[0] != "__MACOSX":
            wanted[info] = name
    names = set(wanted.values())
    if clash := next((name for name in names if names & set(name.parents)), None):
        raise ManifestError(f"{zip_name}: a folder of {str(clash)!a} is also a file; pack the folder again")
    return wanted


def _unpack(
    archive: zipfile.ZipFile, wanted: dict[zipfile.ZipInfo, PurePosixPath], folder: Path, zip_name: str
) -> None:
    left, left_px = MAX_UNPACKED_BYTES, MAX_TOTAL_PX
    for info, name in wanted.items():
        where = f"{zip_name}: {str(name)!a}"
        with archive.open(info) as member:
            content = member.read(min(left, MAX_IMAGE_BYTES) + 1)  # what is there, not what is announced
        if len(content) > MAX_IMAGE_BYTES:
            raise ManifestError(f"{where} has more than {MAX_IMAGE_BYTES:,} bytes")
        left -= len(content)
        if left < 0:
            raise ManifestError(f"{zip_name} holds more than {MAX_UNPACKED_BYTES / 1e6:.0f} MB unpacked; upload less")
        if name.suffix.lower() in IMAGE_SUFFIXES:
            left_px -= check_image_header(content, where)
            if left_px < 0:
                raise ManifestError(f"{zip_name} holds more than {MAX_TOTAL_PX / 1e6:,.0f} megapixels; upload less")
        with translate_write_errors("the upload"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
