"""A zip from elsewhere is unpacked into its folder, within bounds, or refused by name."""

import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medi_core.data import safe_zip
from medi_core.data.safe_zip import unpack_zip
from medi_core.errors import ManifestError


def png(side_px: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((side_px, side_px, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def zip_of(path: Path, members: dict[str, bytes], **options) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_images_and_the_manifest_are_unpacked_and_nothing_else(tmp_path):
    members = {"set/manifest.csv": b"path", "set/a.png": png(), "notes.txt": b"x", "__MACOSX/set/._a.png": b"shadow"}
    manifest = unpack_zip(zip_of(tmp_path / "tiles.zip", members), tmp_path / "out")
    assert manifest == tmp_path / "out/set/manifest.csv"
    files = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert files == ["set/a.png", "set/manifest.csv"]
    assert (tmp_path / "out/set/a.png").read_bytes() == png()


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:evil.png", "a\\evil.png"])
def test_a_name_that_leaves_the_folder_is_refused_and_nothing_is_written_outside(tmp_path, name):
    path = zip_of(tmp_path / "tiles.zip", {"manifest.csv": b"path", "ok.png": png()})
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo()
        info.filename = name  # past the cleaning that the constructor does
        archive.writestr(info, png())
    with pytest.raises(ManifestError, match="unsafe name"):
        unpack_zip(path, tmp_path / "out")
    assert not list(tmp_path.rglob("evil.png"))


def test_links_and_encrypted_members_are_refused(tmp_path):
    path = zip_of(tmp_path / "link.zip", {"manifest.csv": b"path"})
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ManifestError, match=r"'a.png' is a link or encrypted"):
        unpack_zip(path, tmp_path / "out")


def test_a_bomb_is_stopped_by_what_is_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_zip, "MAX_UNPACKED_BYTES", 100_000)
    path = zip_of(tmp_path / "bomb.zip", {"manifest.csv": b"0" * 5_000_000}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    with pytest.raises(ManifestError, match="unpacked; upload less"):
        unpack_zip(path, tmp_path / "out")
    monkeypatch.setattr(safe_zip, "MAX_IMAGE_BYTES", 1000)
    with pytest.raises(ManifestError, match="more than 1,000 bytes"):
        unpack_zip(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": png()}, r"must hold exactly one manifest \(.csv\) beside the images; found none"),
        ({"a.csv": b"x", "b.csv": b"y"}, "found a.csv, b.csv"),
        ({"m.csv": b"x", "a.png": b"no image"}, "'a.png' is no JPEG or PNG"),
    ],
)
def test_a_zip_without_one_manifest_or_with_a_false_image_is_refused(tmp_path, members, message):
    with pytest.raises(ManifestError, match=message):
        unpack_zip(zip_of(tmp_path / "tiles.zip", members), tmp_path / "out")


def test_too_many_members_too_large_a_file_and_no_zip_at_all_are_refused(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "tiles.zip", {"m.csv": b"x", "a.png": png()})
    monkeypatch.setattr(safe_zip, "MAX_MEMBERS", 1)
    with pytest.raises(ManifestError, match="holds 2 members; at most 1"):
        unpack_zip(path, tmp_path / "out")
    monkeypatch.setattr(safe_zip, "MAX_ZIP_BYTES", 10)
    with pytest.raises(ManifestError, match="start the app with --tiles"):
        unpack_zip(path, tmp_path / "out")
    (tmp_path / "no.zip").write_bytes(b"no")
    with pytest.raises(ManifestError, match="cannot be read as a zip"):
        unpack_zip(tmp_path / "no.zip", tmp_path / "out")


def test_images_of_too_many_pixels_together_or_too_large_a_side_are_refused_by_their_headers(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "tiles.zip", {"m.csv": b"x", "a.png": png(30), "b.png": png(30)})
    monkeypatch.setattr(safe_zip, "MAX_TOTAL_PX", 1799)
    with pytest.raises(ManifestError, match="megapixels; upload less"):
        unpack_zip(path, tmp_path / "one")
    monkeypatch.setattr(safe_zip, "MAX_TOTAL_PX", 1800)
    assert unpack_zip(path, tmp_path / "two").is_file()
    buffer = io.BytesIO()
    Image.new("1", (9000, 1)).save(buffer, "PNG")
    with pytest.raises(ManifestError, match="9000×1 px; at most 8192 px a side"):
        unpack_zip(zip_of(tmp_path / "wide.zip", {"m.csv": b"x", "a.png": buffer.getvalue()}), tmp_path / "three")
