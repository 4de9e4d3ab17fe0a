"""Tiles as files: PNGs with provenance, folders, zips, uploads. Run: pytest tests/data"""

import errno
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from medi_core.data.manifest import read_manifest
from medi_core.data.tile_files import (
    MANIFEST_NAME,
    MAX_UPLOAD_BYTES,
    PNG_KEY,
    TileFile,
    crop_to_multiple,
    encode_png,
    encode_zip,
    read_provenance,
    read_upload,
    write_tile_folder,
)
from medi_core.errors import InvalidImageError, StorageError
from tests.toys import synthetic_tissue

CENTER = "Besançon – 北京 “Ü”, \n@"


def tile(seed: int, **changes) -> TileFile:
    facts = {"origin": "synthetic", "checkpoint": "tiny@01", "seed": seed, "metadata": {"center": CENTER, "eosin": "2"}}
    given = {"image": synthetic_tissue(32, seed), "hematoxylin": 0.7, "eosin": float("nan")} | changes
    return TileFile(f"tile-{seed}.png", provenance=facts, **given)


def png_with(text: dict[str, str]) -> bytes:
    chunks = PngImagePlugin.PngInfo()
    for key, value in text.items():
        chunks.add_text(key, value)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


# --------------------------------------------------------------------------- PNG


def test_a_png_gives_back_pixels_and_provenance_also_of_names_that_are_not_ascii():
    one = tile(1)
    png = encode_png(one.image, one.provenance)
    with Image.open(io.BytesIO(png)) as image:
        assert np.array_equal(np.asarray(image), one.image)
        assert "Synthetic" in image.text["Description"]
    assert read_provenance(png) == one.provenance
    assert read_provenance(png)["metadata"]["center"] == CENTER


@pytest.mark.parametrize(
    "text", [{}, {"Software": "x"}, {PNG_KEY: "{"}, {PNG_KEY: ""}, {PNG_KEY: "[1]"}, {PNG_KEY: "[" * 100_000}]
)
def test_a_png_with_no_or_damaged_provenance_has_none(text):
    assert read_provenance(png_with(text)) is None


def test_other_files_have_no_provenance():
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    for content in (b"", b"text", jpeg.getvalue(), png_with({})[:20]):
        assert read_provenance(content) is None


def test_a_png_cut_off_anywhere_has_no_provenance_and_does_not_crash():
    png = encode_png(tile(1).image, tile(1).provenance)
    assert {str(read_provenance(png[:length])) for length in range(0, len(png) - 12, 97)} == {"None"}


# ------------------------------------------------------------------ folder and zip


def test_a_folder_has_a_valid_manifest_that_points_to_its_tiles(tmp_path):
    path = write_tile_folder([tile(1), tile(2)], tmp_path / "new" / "out")
    frame = read_manifest(path)
    assert [Path(p).name for p in frame["path"]] == ["tile-1.png", "tile-2.png"]
    for p, seed in zip(frame["path"], (1, 2), strict=True):
        assert np.array_equal(np.asarray(Image.open(p)), tile(seed).image)
        assert read_provenance(Path(p).read_bytes()) == tile(seed).provenance
    assert frame["origin"].tolist() == ["synthetic"] * 2
    assert frame["seed"].tolist() == ["1", "2"]
    assert frame["center"].tolist() == [CENTER] * 2
    assert [json.loads(asked) for asked in frame["requested"]] == [tile(1).provenance, tile(2).provenance]


def test_stain_columns_hold_what_was_measured_not_the_bin_that_was_asked_for(tmp_path):
    frame = read_manifest(write_tile_folder([tile(1)], tmp_path))
    assert frame["hematoxylin"].tolist() == [0.7]
    assert frame["eosin"].isna().all()


def test_a_folder_given_relative_to_the_working_directory_has_a_valid_manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = read_manifest(write_tile_folder([tile(1)], Path("out")))
    assert frame["path"].tolist() == [str(tmp_path / "out" / "tile-1.png")]


def test_tiles_are_added_to_those_already_in_the_folder(tmp_path):
    write_tile_folder([tile(1), tile(2)], tmp_path)
    frame = read_manifest(write_tile_folder([tile(2, hematoxylin=0.9), tile(3)], tmp_path))
    assert [Path(p).name for p in frame["path"]] == ["tile-1.png", "tile-2.png", "tile-3.png"]
    assert frame["hematoxylin"].tolist() == [0.7, 0.9, 0.7]


def test_rows_of_another_origin_in_the_folder_are_kept(toy_manifest):
    before = read_manifest(toy_manifest)
    frame = read_manifest(write_tile_folder([tile(1)], toy_manifest.parent))
    pd.testing.assert_frame_equal(frame.iloc[:24], before, check_dtype=False)
    assert frame["origin"].tolist() == [None] * 24 + ["synthetic"]


def test_a_manifest_that_cannot_be_added_to_is_left_as_it_is(tmp_path):
    (tmp_path / MANIFEST_NAME).write_text("my,own\ntable,1\n")
    with pytest.raises(StorageError, match=r"cannot be added to: manifest\.csv has unknown columns: 'my', 'own'"):
        write_tile_folder([tile(1)], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST_NAME]
    assert (tmp_path / MANIFEST_NAME).read_text() == "my,own\ntable,1\n"


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def half_written(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
    no_space()


@pytest.mark.parametrize("write_bytes", [no_space, half_written])
def test_on_a_full_disk_no_half_tile_is_left(tmp_path, monkeypatch, write_bytes):
    write_tile_folder([tile(1)], tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(StorageError, match="No space left on device; free some space or choose another folder"):
        write_tile_folder([tile(1, hematoxylin=0.1), tile(2)], tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_on_a_full_disk_the_manifest_of_before_is_left(tmp_path, monkeypatch):
    write_tile_folder([tile(1)], tmp_path)
    before = (tmp_path / MANIFEST_NAME).read_bytes()
    monkeypatch.setattr(pd.DataFrame, "to_csv", no_space)
    with pytest.raises(StorageError, match="No space left on device"):
        write_tile_folder([tile(2)], tmp_path)
    assert (tmp_path / MANIFEST_NAME).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST_NAME, "tile-1.png", "tile-2.png"}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"could not write .*file"):
        write_tile_folder([tile(1)], tmp_path / "file")
    with pytest.raises(StorageError, match=r"could not write .*file/below"):
        write_tile_folder([tile(1)], tmp_path / "file" / "below")


def test_a_zip_holds_the_same_bytes_as_the_folder_and_the_extra_files(tmp_path):
    tiles = [tile(1), tile(2)]
    write_tile_folder(tiles, tmp_path)
    with zipfile.ZipFile(io.BytesIO(encode_zip(tiles, {"grid.png": b"grid"}))) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    assert content.pop("grid.png") == b"grid"
    assert content == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


# ------------------------------------------------------------------------ uploads

TISSUE = synthetic_tissue(96, 0)


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("size", "kept"),
    [((32, 32), (32, 32)), ((33, 95), (32, 64)), ((700, 512), (512, 512)), ((1000, 40), (512, 32))],
)
def test_an_upload_is_cut_to_centred_multiples_of_32_of_at_most_512(tmp_path, size, kept):
    (width, height), (kept_width, kept_height) = size, kept
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    read = read_upload(saved(tmp_path / "a.png", Image.fromarray(image)))
    assert read.shape == (kept_height, kept_width, 3)
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    assert np.array_equal(read, image[top : top + kept_height, left : left + kept_width])
    assert np.array_equal(read, crop_to_multiple(image))


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("a.tiff", {}), ("a.tif", {"compression": "tiff_lzw"}), ("a", {"format": "PNG"})],
)
def test_a_lossless_upload_keeps_its_pixels_whatever_its_name(tmp_path, name, options):
    assert np.array_equal(read_upload(saved(tmp_path / name, Image.fromarray(TISSUE), **options)), TISSUE)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        *((mode, "a.png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *((mode, "a.tif") for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK")),
        *((mode, "a.jpg") for mode in ("L", "RGB", "CMYK")),
    ],
)
def test_an_upload_of_any_mode_becomes_8_bit_rgb(tmp_path, mode, name):
    read = read_upload(saved(tmp_path / name, Image.fromarray(TISSUE).convert(mode)))
    assert (read.shape, read.dtype) == ((96, 96, 3), np.uint8)
    brightness = TISSUE.mean()
    assert abs(read.mean() - brightness) < 40, "neither black, nor white, nor inverted"


def png_of_16_bit(samples: np.ndarray, colour_type: int) -> bytes:
    """Written by hand: Pillow writes no 16-bit colour."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def test_16_bits_are_scaled_to_8_in_grey_and_colour_png_and_tiff(tmp_path):
    colour = TISSUE.astype(np.uint16) * 257
    (tmp_path / "colour.png").write_bytes(png_of_16_bit(colour, 2))
    assert np.array_equal(read_upload(tmp_path / "colour.png"), TISSUE)
    grey = np.repeat(TISSUE[..., :1], 3, axis=2)
    (tmp_path / "grey.png").write_bytes(png_of_16_bit(colour[..., :1], 0))
    assert np.array_equal(read_upload(tmp_path / "grey.png"), grey)
    for mode, dtype in (("I;16", "<u2"), ("I;16B", ">u2")):
        Image.frombytes(mode, (96, 96), colour[..., 0].astype(dtype).tobytes()).save(tmp_path / "grey.tif")
        assert np.array_equal(read_upload(tmp_path / "grey.tif"), grey)


def test_what_is_transparent_is_empty_glass_not_what_lies_hidden_below(tmp_path):
    cut_out = np.dstack([np.zeros_like(TISSUE), np.zeros((96, 96), np.uint8)])
    cut_out[:48] = np.dstack([TISSUE, np.full((96, 96), 255, np.uint8)])[:48]
    read = read_upload(saved(tmp_path / "a.png", Image.fromarray(cut_out)))
    assert np.array_equal(read[:48], TISSUE[:48])
    assert (read[48:] == 255).all()


def test_a_tiff_of_several_pages_gives_the_first(tmp_path):
    pages = [Image.fromarray(synthetic_tissue(64, seed)) for seed in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert np.array_equal(read_upload(tmp_path / "a.tif"), np.asarray(pages[0]))


def png_that_announces(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = bytearray(png_of_16_bit(TISSUE.astype(np.uint16), 2))
    png[16:29], png[29:33] = header, struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return bytes(png)


def jpeg_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(TISSUE).save(buffer, "JPEG")
    return buffer.getvalue()


NOT_READABLE = "not a readable image of type PNG, JPEG, TIFF; save the tile as 8-bit PNG"
TOO_MANY_PIXELS = "more pixels than 4096×4096; cut out a tile first"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.png", b"", NOT_READABLE),
        ("text.png", b"this is a text", NOT_READABLE),
        ("cut.png", encode_png(TISSUE, {})[:3000], NOT_READABLE),
        ("cut.jpg", jpeg_bytes()[:1000], NOT_READABLE),
        ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", NOT_READABLE),
        ("large.png", png_with({}) + b"\0" * MAX_UPLOAD_BYTES, "the file has 10.0 MB; at most 10 MB are read"),
        ("larger.jpg", b"\0" * 11_000_000, "the file has 11.0 MB; at most 10 MB are read"),
        ("small.png", encode_png(TISSUE[:10, :10], {}), "the image is 10×10 px; at least 32 px a side are needed"),
        ("narrow.png", encode_png(TISSUE[:, :31], {}), "the image is 31×96 px; at least 32 px a side are needed"),
        ("large-header.png", png_that_announces(4096, 4097), TOO_MANY_PIXELS),
        ("wide-header.png", png_that_announces(300_000, 60), TOO_MANY_PIXELS),
        ("larger-header.png", png_that_announces(12_000, 12_000), TOO_MANY_PIXELS),
        ("bomb.png", png_that_announces(2**31 - 1, 2**31 - 1), TOO_MANY_PIXELS),
        ("wrong-header.png", png_that_announces(4096, 4096), NOT_READABLE),
    ],
)
def test_what_is_no_usable_image_is_refused_with_one_clear_message(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidImageError) as caught:
        read_upload(tmp_path / name)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("name", ["a.gif", "a.bmp", "a.webp"])
def test_images_of_other_types_are_refused_also_under_a_png_name(tmp_path, name):
    for path in (tmp_path / name, tmp_path / "renamed.png"):
        Image.fromarray(TISSUE).save(path, name[2:])
        with pytest.raises(InvalidImageError, match=NOT_READABLE):
            read_upload(path)


def test_pixels_of_32_bits_are_refused_for_nobody_knows_their_white(tmp_path):
    Image.fromarray(TISSUE[..., 0].astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InvalidImageError, match="8-bit PNG"):
        read_upload(tmp_path / "a.tif")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(InvalidImageError, match=f"there is no file {path}"):
            read_upload(path)
