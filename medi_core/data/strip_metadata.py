"""An uploaded image without what its camera or scanner wrote beside the pixels: place, time, names. In place."""

from pathlib import Path

from PIL import Image, PngImagePlugin

from medi_core.data.tile_files import MAX_UPLOAD_PX, PNG_KEY, UPLOAD_FORMATS
from medi_core.storage import whole_file

_KEPT_SEGMENTS = (0xE0, 0xEE)
"""JPEG: JFIF, and Adobe's, without which colours are read wrongly."""


def strip_metadata(path: Path) -> None:
    """Rewrite a PNG, JPEG or TIFF with its pixels alone; a JPEG's are not encoded a second time.

    A file that is none of these, damaged or larger than what is read later is left as it is: it is refused then. The
    provenance in the text of a synthetic PNG stays.

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
    with whole_file(path) as unfinished:
        if kind in ("JPEG", "MPO"):
            unfinished.write_bytes(_bare_jpeg(path.read_bytes()))
            return
        pixels.info = {name: pixels.info[name] for name in ("transparency",) if name in pixels.info}
        text = PngImagePlugin.PngInfo()
        if kind == "PNG" and isinstance(provenance, str):
            text.add_text(PNG_KEY, provenance)
        options = {"pnginfo": text} if kind == "PNG" else {}
        pixels.save(unfinished, kind, exif=b"", **options)


def _bare_jpeg(content: bytes) -> bytes:
    """Without the segments that applications write: EXIF, XMP, IPTC, profiles, comments."""
    kept, at = bytearray(content[:2]), 2
    while at < len(content):
        marker = content[at + 1]  # Pillow has read the whole: segments follow each other
        if marker == 0xDA:  # the pixels begin
            end = content.rfind(b"\xff\xd9")  # what follows the end of the image is no pixel
            return bytes(kept + content[at : end + 2 if end > at else None])
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        size = 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        is_note = marker == 0xFE or (0xE0 <= marker <= 0xEF and marker not in _KEPT_SEGMENTS)
        if not is_note:
            kept += content[at : at + size]
        at += size
    return bytes(kept)
