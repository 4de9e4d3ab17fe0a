"""What is refused in archives from elsewhere, whatever their format: unsafe names, absurd images. Opens no archive."""

from io import BytesIO
from pathlib import PurePosixPath

from PIL import Image, UnidentifiedImageError

from medi_core.errors import ManifestError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_IMAGE_BYTES = 32 * 2**20
"""One image file; a tile of 256 × 256 px has about 0.1 MB as PNG."""
MAX_IMAGE_SIDE_PX = 8192
"""By its header: a small file can announce gigabytes of pixels."""
MAX_NAME_CHARS = 500


def checked_path(name: str, where: str) -> PurePosixPath:
    """A member's name as a path that stays in its folder.

    Raises:
        ManifestError: it is absolute, leaves the folder, or is odd; `where` names the member.
    """
    path = PurePosixPath(name)
    is_odd = len(name) > MAX_NAME_CHARS or "\\" in name or ":" in name or not name.isprintable()
    if path.is_absolute() or ".." in path.parts or is_odd:
        raise ManifestError(f"{where} has an unsafe name; only plain relative paths are unpacked")
    return path


def check_image_header(content: bytes, where: str) -> int:
    """Refuse what is no JPEG or PNG of sane size, by its header; no pixel is decoded. Returns how many there are.

    Raises:
        ManifestError: what it is instead; `where` names the member.
    """
    try:
        with Image.open(BytesIO(content), formats=("JPEG", "PNG")) as image:
            width, height = image.size
    except UnidentifiedImageError as error:  # whose text names an object in memory
        raise ManifestError(
            f"{where} is no JPEG or PNG image; take it out of the archive, or save it as one"
        ) from error
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise ManifestError(f"{where} is no JPEG or PNG image: {error}") from error
    if max(width, height) > MAX_IMAGE_SIDE_PX:
        raise ManifestError(f"{where} is {width}×{height} px; at most {MAX_IMAGE_SIDE_PX} px a side are read")
    return width * height
