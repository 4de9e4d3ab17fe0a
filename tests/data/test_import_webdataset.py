"""WebDataset tars, sound and hostile. Run: pytest tests/data"""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medi_core.data import archive_checks, safe_tar
from medi_core.data.import_webdataset import import_webdataset
from medi_core.data.manifest import COLUMNS, read_manifest, write_manifest
from medi_core.errors import ManifestError, StorageError

LUNG = "TCGA-18-5592-01Z-00-DX1"
COLON = "TCGA-CM-4743-01Z-00-DX1"


def image_bytes(value: int = 120, side_px: int = 16, suffix: str = "png") -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(np.full((side_px, side_px, 3), value, dtype=np.uint8))
    image.save(buffer, "PNG" if suffix == "png" else "JPEG")
    return buffer.getvalue()


def survives_writing(frame: pd.DataFrame, path: Path) -> bool:
    """Written and read again, the rows are the same."""
    write_manifest(frame, path)
    pd.testing.assert_frame_equal(read_manifest(path), frame)
    return list(frame.columns) == list(COLUMNS)


def write_tar(path: Path, members: dict[str, bytes | dict] | list) -> Path:
    """A tar of name → bytes (or JSON); a list may also hold `TarInfo` without content."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items() if isinstance(members, dict) else members:
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
                continue
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(key: str, label: str = "Thymoma", **fields) -> dict[str, bytes | dict]:
    return {f"{key}.png": image_bytes(), f"{key}.json": {"label": label} | fields}


@pytest.fixture
def tar_path(tmp_path) -> Path:
    return tmp_path / "part000.tar"


def refusal_of(tar_path: Path, members, out: Path) -> str:
    """The message of the error, once nothing was left behind."""
    write_tar(tar_path, members)
    with pytest.raises(ManifestError) as caught:
        import_webdataset([tar_path], out)
    assert {p.name for p in out.parent.iterdir()} == {tar_path.name}
    return str(caught.value)


def test_tars_become_images_and_a_manifest(tmp_path):
    first = write_tar(
        tmp_path / "part000.tar",
        {
            f"{LUNG}/0_8_521.jpg": image_bytes(90, suffix="jpg"),
            f"{LUNG}/0_8_521.json": {"label": "Lung_squamous_cell_carcinoma"},
        },
    )
    second = write_tar(tmp_path / "part001.tar", sample(f"{COLON}/0_0_521", "Colon_Rectum_adenocarcinoma"))
    out = tmp_path / "out"
    frame = import_webdataset([first, second], out, defaults={"mpp": 0.5, "dataset": "TCGA-UT"})
    assert survives_writing(frame, out / "manifest.csv")
    assert frame["path"].tolist() == [str(out / LUNG / "0_8_521.jpg"), str(out / COLON / "0_0_521.png")]
    assert frame["cancer_type"].tolist() == ["Lung_squamous_cell_carcinoma", "Colorectal_adenocarcinoma"]
    assert frame["center"].iloc[0] == "Princess Margaret Hospital (Canada)"
    assert frame["patient_id"].tolist() == ["TCGA-18-5592", "TCGA-CM-4743"]
    assert frame["mpp"].tolist() == [0.5, 0.5]
    assert frame["split"].isin(["train", "val", "test"]).all()
    assert Path(frame["path"].iloc[1]).read_bytes() == image_bytes()


def test_members_of_a_sample_may_come_in_any_order_and_others_are_left_alone(tar_path, tmp_path):
    members = [
        ("b.cls", b"Sarcoma\n"),
        ("folder", tarfile.TarInfo()),
        ("a.png", image_bytes()),
        ("b.png", image_bytes()),
        ("a.txt", b"left alone"),
        ("./a.json", {"label": "Thymoma"}),
    ]
    members[1][1].type = tarfile.DIRTYPE
    frame = import_webdataset([write_tar(tar_path, members)], tmp_path / "out")
    assert dict(zip(frame["path"].map(lambda p: Path(p).name), frame["cancer_type"], strict=True)) == {
        "a.png": "Thymoma",
        "b.png": "Sarcoma",
    }
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.png", "b.png"}


def test_a_json_may_hold_any_column_and_wins_over_barcode_and_defaults(tar_path, tmp_path):
    fields = {"center": "Lyon", "age": 61, "split": "val", "path": "/etc/passwd", "x": 5, "unknown": [1]}
    members = sample(LUNG, **fields)
    frame = import_webdataset([write_tar(tar_path, members)], tmp_path / "out", defaults={"center": "Rome", "age": 5})
    row = frame.iloc[0]
    assert (row["center"], row["age"], row["split"], row["slide"]) == ("Lyon", 61.0, "val", LUNG)
    assert row["path"] == str(tmp_path / "out" / f"{LUNG}.png")
    assert np.isnan(row["x"])


def test_a_label_that_is_a_number_is_a_place_among_the_class_names(tar_path, tmp_path):
    write_tar(tar_path, {"a.png": image_bytes(), "a.cls": b"1"})
    frame = import_webdataset([tar_path], tmp_path / "out", class_names=("Sarcoma", "Thymoma"))
    assert frame["cancer_type"].tolist() == ["Thymoma"]
    with pytest.raises(ManifestError, match="label 1 is a number without a name; 0 class names are given"):
        import_webdataset([tar_path], tmp_path / "other")


@pytest.mark.parametrize(
    "name", ["../evil.png", "/evil.png", "a/../../evil.png", "a\\..\\evil.png", "C:evil.png", "a\nb.png", "é" * 600]
)
def test_a_name_that_leaves_the_folder_or_is_odd_is_refused(tar_path, tmp_path, name):
    members = sample("good") | {name: image_bytes()}
    assert "unsafe name" in refusal_of(tar_path, members, tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("name", ["evil.png", "folder"])
def test_links_and_devices_are_refused_whatever_their_name(tar_path, tmp_path, kind, name):
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, "/etc/passwd"
    members = [(name, info), *sample("folder/good").items()]
    assert "link, device or sparse file" in refusal_of(tar_path, members, tmp_path / "out")


def test_an_image_or_label_file_of_absurd_size_is_refused(tar_path, tmp_path, monkeypatch):
    monkeypatch.setattr(safe_tar, "MAX_IMAGE_BYTES", 50)
    assert "part000.tar: 'a.png' has" in refusal_of(tar_path, sample("a"), tmp_path / "out")
    monkeypatch.setattr(safe_tar, "MAX_IMAGE_BYTES", 10_000)
    members = sample("a", note="x" * safe_tar.MAX_LABEL_BYTES)
    assert "at most 65,536 are read" in refusal_of(tar_path, members, tmp_path / "out")


def test_a_size_that_only_the_header_claims_is_refused(tar_path, tmp_path):
    info = tarfile.TarInfo()
    info.size = 2**40
    assert "1,099,511,627,776 bytes" in refusal_of(tar_path, [("a.png", info)], tmp_path / "out")


def test_an_image_of_absurd_sides_is_refused_by_its_header(tar_path, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_checks, "MAX_IMAGE_SIDE_PX", 15)
    assert "is 16×16 px; at most 15 px a side" in refusal_of(tar_path, sample("a"), tmp_path / "out")


def test_too_many_members_are_refused(tar_path, tmp_path, monkeypatch):
    monkeypatch.setattr(safe_tar, "MAX_MEMBERS", 3)
    assert "more than 3 members" in refusal_of(tar_path, sample("a") | sample("b"), tmp_path / "out")


def test_a_disk_without_room_is_told_before_anything_is_written(tar_path, tmp_path, monkeypatch):
    monkeypatch.setattr(safe_tar, "FREE_BYTES", 2**60)
    write_tar(tar_path, sample("a"))
    with pytest.raises(StorageError, match="make room or choose another disk"):
        import_webdataset([tar_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sample_that_is_there_twice_is_refused(tar_path, tmp_path):
    twice = [*sample("a").items(), ("a.png", image_bytes(7))]
    assert "second image of its sample" in refusal_of(tar_path, twice, tmp_path / "out")
    two_kinds = sample("a") | {"a.jpg": image_bytes(suffix="jpg")}
    assert "second image of its sample" in refusal_of(tar_path, two_kinds, tmp_path / "out")
    hidden = [*sample("a").items(), ("./a.json", {"label": "Sarcoma"})]
    assert "'./a.json' is there twice" in refusal_of(tar_path, hidden, tmp_path / "out")


def test_a_sample_that_is_in_two_tars_is_refused(tmp_path):
    tars = [write_tar(tmp_path / f"part{i}.tar", sample("a")) for i in range(2)]
    with pytest.raises(ManifestError, match=r"part1\.tar: 'a\.png' is a second image"):
        import_webdataset(tars, tmp_path / "out")


@pytest.mark.parametrize("member", ["a.png", "a.json"])
def test_an_image_without_label_or_a_label_without_image_is_refused(tar_path, tmp_path, member):
    members = sample("good") | {member: sample("a")[member]}
    assert "samples without image or label: a;" in refusal_of(tar_path, members, tmp_path / "out")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 60_000, "cannot be read"),
        (b"[1]", "must hold an object"),
        (b'{"label": ["Thymoma"]}', "cancer_type must be text or a number"),
        (b'{"label": true}', "cancer_type must be text or a number"),
        (b'{"label": "Thymoma", "age": {"years": 3}}', "age must be text or a number"),
        (b'{"label": "Thymoma", "preparation": "paraffin"}', "preparation must be one of FFPE, frozen, row 1"),
    ],
)
def test_a_label_that_cannot_be_used_is_named(tar_path, tmp_path, label, expected):
    assert expected in refusal_of(tar_path, {"a.png": image_bytes(), "a.json": label}, tmp_path / "out")


def test_a_file_that_is_no_image_is_refused_and_nothing_is_left(tar_path, tmp_path):
    members = sample("a") | {"b.png": b"no image", "b.json": {"label": "Thymoma"}}
    assert "'b.png' is no JPEG or PNG image" in refusal_of(tar_path, members, tmp_path / "out")


def test_a_wrong_barcode_in_a_key_is_named(tar_path, tmp_path):
    message = refusal_of(tar_path, sample("TCGA-ZZ-0001-01Z-00-DX1/0_0"), tmp_path / "out")
    assert "sample TCGA-ZZ-0001-01Z-00-DX1/0_0: tissue source site 'ZZ'" in message


@pytest.mark.parametrize("damage", ["truncated", "empty", "no tar", "compressed", "missing"])
def test_a_damaged_or_compressed_tar_is_named(tar_path, tmp_path, damage):
    whole = write_tar(tar_path, sample("a")).read_bytes()
    if damage == "truncated":
        tar_path.write_bytes(whole[:600])
    elif damage == "compressed":
        with tarfile.open(tar_path, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("a.png"))
    elif damage == "missing":
        tar_path.unlink()
    else:
        tar_path.write_bytes(b"" if damage == "empty" else b"no tar" * 999)
    with pytest.raises(ManifestError, match=r"part000\.tar cannot be read as an uncompressed tar"):
        import_webdataset([tar_path], tmp_path / "out")


def test_no_tars_or_no_samples_are_an_error(tar_path, tmp_path):
    assert "no samples in part000.tar" in refusal_of(tar_path, {"README.md": b"hello"}, tmp_path / "out")
    with pytest.raises(ManifestError, match="no samples in no tars"):
        import_webdataset([], tmp_path / "out")


def test_images_are_never_unpacked_over_others(tar_path, tmp_path):
    write_tar(tar_path, sample("a"))
    out = tmp_path / "out"
    out.mkdir()
    import_webdataset([tar_path], out)  # empty is fine
    with pytest.raises(StorageError, match="must be a new or empty folder"):
        import_webdataset([tar_path], out)
