"""Uploaded images without what a camera wrote. Run: pytest tests/data/test_strip_metadata.py"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from medi_core.data.strip_metadata import strip_metadata
from medi_core.data.tile_files import PNG_KEY, encode_png, read_provenance, read_upload
from tests.toys import synthetic_tissue

SECRETS = (b"Jane Roe", b"Ward 7")


def with_metadata(path: Path, **options) -> Path:
    """A tile with EXIF (names, a place, an orientation) and whatever else the format has a place for."""
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x0112] = "Ward 7", "Jane Roe", 6  # description, artist, orientation
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 0.0)  # latitude
    Image.fromarray(synthetic_tissue(96, 1)).save(path, exif=exif, **options)
    return path


def text() -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Author", "Jane Roe")
    chunks.add_itxt("Comment", "Ward 7")
    return chunks


CASES = {
    "a.png": {"pnginfo": text()},
    "a.jpg": {"comment": "Ward 7", "icc_profile": b"Jane Roe" * 20},
    "b.jpg": {"progressive": True, "quality": 60},
    "a.tif": {},
    "b.tif": {"compression": "tiff_lzw"},
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_but_pixels_is_left_and_the_pixels_are_the_same(tmp_path, name):
    path = with_metadata(tmp_path / name, **CASES[name])
    pixels = read_upload(path)
    assert any(secret in path.read_bytes() for secret in SECRETS), "the test is worth nothing"
    strip_metadata(path)
    content = path.read_bytes()
    assert not [secret for secret in SECRETS if secret in content]
    assert b"Exif" not in content
    with Image.open(path) as image:
        assert dict(image.getexif().get_ifd(0x8825)) == {}
    np.testing.assert_array_equal(read_upload(path), pixels)
    assert [entry.name for entry in tmp_path.iterdir()] == [name], "nothing is left beside it"


def test_what_follows_the_end_of_a_jpeg_goes(tmp_path):
    path = with_metadata(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + b"Jane Roe")
    strip_metadata(path)
    assert b"Jane Roe" not in path.read_bytes()


def two_images(path: Path) -> None:
    """As phones write HDR: a gain map, with its own EXIF, behind the picture."""
    second = with_metadata(path.with_name("second.jpg")).read_bytes()
    path.with_name("second.jpg").unlink()
    path.write_bytes(path.read_bytes() + second)


def multi_picture(path: Path) -> None:
    frames = [Image.fromarray(synthetic_tissue(96, seed)) for seed in (1, 2)]
    exif = Image.Exif()
    exif[0x013B] = "Jane Roe"
    frames[0].save(path, "MPO", save_all=True, append_images=frames[1:], exif=exif)


def junk_between_segments(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\xff\xdb", b"Jane Roe\xff\x00\xff\xdb", 1))


def fill_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\xff\xdb", b"\xff\xff\xff\xdb"))


def note_behind_the_pixels(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2] + b"\xff\xfe\x00\x0aJane Roe\xff\xd9")


def thumbnail(path: Path) -> None:
    """In a segment that is named as that of the colours is."""
    content = path.read_bytes()
    path.write_bytes(content[:20] + b"\xff\xe0\x00\x18JFXX\x00\x11Jane Roe" + b"\x00" * 8 + content[20:])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(
    "spoil", [two_images, multi_picture, junk_between_segments, fill_bytes, note_behind_the_pixels, thumbnail]
)
def test_a_jpeg_of_unusual_build_keeps_its_first_image_and_nothing_else(tmp_path, spoil, progressive):
    path = with_metadata(tmp_path / "a.jpg", progressive=progressive)
    spoil(path)
    pixels = read_upload(path)
    assert b"Jane Roe" in path.read_bytes(), "the test is worth nothing"
    strip_metadata(path)
    assert not [secret for secret in (*SECRETS, b"Exif", b"MPF") if secret in path.read_bytes()]
    assert path.read_bytes().count(b"\xff\xd8\xff") == 1
    np.testing.assert_array_equal(read_upload(path), pixels)
    with Image.open(path) as image:
        assert image.format == "JPEG"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jpg"]


def test_a_jpeg_whose_segments_lead_nowhere_is_encoded_anew(tmp_path):
    path = with_metadata(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes().replace(b"\xff\xdb", b"\xff\xd0\xff\xdb", 1))  # a restart before any pixel
    pixels = read_upload(path)
    strip_metadata(path)
    assert not [secret for secret in (*SECRETS, b"Exif") if secret in path.read_bytes()]
    assert np.abs(read_upload(path).astype(int) - pixels).mean() < 2, "of 255 levels"


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA", "1", "I;16", "CMYK"])
def test_any_mode_keeps_its_pixels(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    image = Image.fromarray(synthetic_tissue(64, 2))
    image = (
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        if mode == "I;16"
        else image.convert(mode)
    )
    image.save(path := tmp_path / f"a.{suffix}")
    before = read_upload(path)
    strip_metadata(path)
    np.testing.assert_array_equal(read_upload(path), before)


def test_provenance_of_a_synthetic_tile_stays_and_nothing_beside_it(tmp_path):
    provenance = {"origin": "synthetic", "seed": 7}
    (path := tmp_path / "a.png").write_bytes(encode_png(synthetic_tissue(64, 1), provenance))
    strip_metadata(path)
    assert read_provenance(path.read_bytes()) == provenance
    with Image.open(path) as image:
        assert set(image.text) == {PNG_KEY}


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff\xe1\xff\xff", b"PK\3\4zip", b"tile,true\n1,2\n", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_image_is_left_as_it_is(tmp_path, content):
    (path := tmp_path / "a").write_bytes(content)
    strip_metadata(path)
    assert path.read_bytes() == content


def test_an_image_that_announces_gigabytes_is_not_decoded(tmp_path, monkeypatch):
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    (path := tmp_path / "a.png").write_bytes(buffer.getvalue())
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    strip_metadata(path)
    assert path.read_bytes() == buffer.getvalue()
