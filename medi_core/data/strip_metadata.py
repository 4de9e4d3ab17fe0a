"""An uploaded image without what its camera or scanner wrote beside the pixels: place, time, names. In place."""

import io
from pathlib import Path

from PIL import Image, PngImagePlugin

from medi_core.data.tile_files import MAX_UPLOAD_PX, PNG_KEY, UPLOAD_FORMATS
from medi_core.storage import whole_file

_SCAN, _END = 0xDA, 0xD9
_TABLES = {*range(0xC0, 0xD0), 0xDB, 0xDD, _SCAN}
"""JPEG: what pixels are decoded with: frames, tables of both kinds, restarts, scans (ITU-T T.81, table B.1)."""
_COLOURS = {0xE0, 0xEE}
"""JFIF, and Adobe's, without which colours are read wrongly; longer ones hold a thumbnail or something else."""
_COLOURS_BYTES = 18
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
"""Restarts and a second start: there is nothing for them to do between segments."""


def strip_metadata(path: Path) -> None:
    """Rewrite a PNG, JPEG or TIFF with the pixels of its first image alone.

    A JPEG is not encoded a second time, but where its segments cannot be told apart. A file that is none of these,
    damaged or larger than what is read later is left as it is: it is refused then. The provenance in the text of a
    synthetic PNG stays.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with Image.open(path, formats=UPLOAD_FORMATS) as image:
            if image.width * image.height > MAX_UPLOAD_PX:
                return
            kind, provenance = image.format, image.info.get(PNG_KEY)
            image.load()
            pixels = image.copy()
    except Exception:  # whatever a damaged file makes Pillow raise
        return
    pixels.info = {name: pixels.info[name] for name in ("transparency",) if name in pixels.info}
    with whole_file(path) as unfinished:
        if kind in ("JPEG", "MPO"):  # MPO: several images, one after the other
            bare = _bare_jpeg(path.read_bytes())
            if bare is not None and _shows(bare, pixels):
                unfinished.write_bytes(bare)
            else:
                pixels.save(unfinished, "JPEG", quality=95, subsampling=0)
            return
        text = PngImagePlugin.PngInfo()
        if kind == "PNG" and isinstance(provenance, str):
            text.add_text(PNG_KEY, provenance)
        options = {"pnginfo": text} if kind == "PNG" else {}
        pixels.save(unfinished, kind, exif=b"", **options)


def _bare_jpeg(content: bytes) -> bytes | None:
    """The first image of a file without what applications write: EXIF, XMP, IPTC, profiles, comments.

    `None` if its segments do not lead to its end. Bytes between segments are passed over, as decoders do.
    """
    kept, at = bytearray(content[:2]), 2
    while (at := _next_marker(content, at)) >= 0:
        marker = content[at + 1]
        if marker == _END:  # what follows is another image, or anything
            return bytes(kept + content[at : at + 2])
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == _SCAN:  # its pixels follow, up to a marker that is no restart
            end = _next_marker(content, end, passed_over=range(0xD0, 0xD8))
        if end < at + 4 or marker in _WITHOUT_LENGTH:
            return None
        if marker in _TABLES or (marker in _COLOURS and end - at <= _COLOURS_BYTES):
            kept += content[at:end]
        at = end
    return None


def _next_marker(content: bytes, at: int, passed_over: range = range(0)) -> int:
    """Where the next 0xFF stands that a marker follows: not zero, which is an escaped 0xFF, nor a fill byte; or -1."""
    while 0 <= (at := content.find(b"\xff", at)) < len(content) - 1:
        if content[at + 1] not in (0x00, 0xFF, *passed_over):
            return at
        at += 1
    return -1


def _shows(jpeg: bytes, pixels: Image.Image) -> bool:
    """Whether a file decodes to these pixels."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return image.mode == pixels.mode and image.tobytes() == pixels.tobytes()
    except Exception:  # whatever a damaged file makes Pillow raise
        return False
