"""Any folder and CSV. Run: pytest tests/data"""

from pathlib import Path

import pandas as pd
import pytest

from medi_core.data.import_table import import_table
from medi_core.data.manifest import COLUMNS, read_manifest, write_manifest
from medi_core.errors import ManifestError


def survives_writing(frame: pd.DataFrame, path: Path) -> bool:
    """Written and read again, the rows are the same."""
    write_manifest(frame, path)
    pd.testing.assert_frame_equal(read_manifest(path), frame)
    return list(frame.columns) == list(COLUMNS)


@pytest.fixture
def table(tmp_path):
    """Writes a CSV into its own folder; images a.png … d.png lie in `images/`."""
    (tmp_path / "images").mkdir()
    for name in "abcd":
        (tmp_path / "images" / f"{name}.png").touch()

    def write(name: str, *rows: dict) -> Path:
        path = tmp_path / "tables" / name
        path.parent.mkdir(exist_ok=True)
        pd.DataFrame(rows).to_csv(path, index=False)
        return path

    return write


def test_columns_are_renamed_kept_or_dropped_and_the_dropped_ones_listed(table, tmp_path):
    csv = table(
        "t.csv",
        {"file": "a.png", "hospital": "Lyon", "age": 61, "note": "x", "patient_id": "P1"},
        {"file": "b.png", "hospital": "", "age": "", "note": "y", "patient_id": "P2"},
    )
    result = import_table(csv, tmp_path / "images", {"file": "path", "hospital": "center"})
    assert survives_writing(result.frame, tmp_path / "manifest.csv")
    assert result.dropped == ("note",)
    assert result.frame["path"].tolist() == [str(tmp_path / "images" / n) for n in ("a.png", "b.png")]
    assert result.frame["center"].tolist() == ["Lyon", None]
    assert result.frame["age"].iloc[0] == 61


def test_a_table_without_splits_is_split_by_patient_and_given_splits_are_kept(table, tmp_path):
    rows = [{"path": f"{n}.png", "patient_id": f"P{i % 2}"} for i, n in enumerate("abcd")]
    frame = import_table(table("t.csv", *rows), tmp_path / "images").frame
    assert frame["split"].notna().all()
    assert frame.groupby("patient_id")["split"].nunique().eq(1).all()
    given = [row | {"split": "test" if row["patient_id"] == "P1" else ""} for row in rows]
    frame = import_table(table("t.csv", *given), tmp_path / "images").frame
    assert frame["split"].tolist() == [None, "test", None, "test"]


def test_a_mapped_column_wins_over_one_that_has_our_name(table, tmp_path):
    csv = table("t.csv", {"path": "a.png", "slide": "old", "barcode": "new"})
    result = import_table(csv, tmp_path / "images", {"barcode": "slide"})
    assert result.frame["slide"].tolist() == ["new"]
    assert result.dropped == ("slide",)


def test_tiles_are_joined_to_the_metadata_of_their_regions_in_the_order_of_the_tiles(table, tmp_path):
    tiles = table(
        "tiles.csv",
        {"tile": "t1", "region": "r2", "x": 0, "y": 0},
        {"tile": "t2", "region": "r1", "x": 128, "y": 64},
        {"tile": "t3", "region": "r2", "x": 128, "y": 0},
    )
    regions = table(
        "regions.csv",
        {"region": "r1", "file": "a.png", "center": "Lyon", "license": "CC0", "organ": "lung"},
        {"region": "r2", "file": "b.png", "center": "Rome", "license": "CC0", "organ": "skin"},
        {"region": "r3", "file": "c.png", "center": "Oslo", "license": "CC0", "organ": "skin"},
    )
    result = import_table(tiles, tmp_path / "images", {"file": "path", "license": "licence"}, join=(regions, "region"))
    assert result.frame["center"].tolist() == ["Rome", "Lyon", "Rome"]
    assert result.frame["x"].tolist() == [0, 128, 128]
    assert [Path(p).name for p in result.frame["path"]] == ["b.png", "a.png", "b.png"]
    assert result.frame["licence"].tolist() == ["CC0"] * 3
    assert result.dropped == ("tile", "region", "organ")


@pytest.mark.parametrize(
    ("tile", "region", "expected"),
    [
        (
            {"region": "r9"},
            {"region": "r1", "path": "a.png"},
            "regions.csv has no row with region 'r9', which tiles.csv",
        ),
        ({"id": "r1"}, {"region": "r1", "path": "a.png"}, "tiles.csv has no column 'region' to join by; it has: id"),
        ({"region": "r1"}, {"id": "r1", "path": "a.png"}, "regions.csv has no column 'region' to join by"),
        ({"region": "r1", "path": "b.png"}, {"region": "r1", "path": "a.png"}, "both have the columns path"),
    ],
)
def test_a_join_that_cannot_be_made_says_why(table, tmp_path, tile, region, expected):
    tiles, regions = table("tiles.csv", tile), table("regions.csv", region)
    with pytest.raises(ManifestError) as caught:
        import_table(tiles, tmp_path / "images", join=(regions, "region"))
    assert expected in str(caught.value)


def test_a_join_to_a_key_that_is_listed_twice_is_refused(table, tmp_path):
    regions = table("regions.csv", *[{"region": "r1", "path": "a.png"}] * 2)
    with pytest.raises(ManifestError, match="lists region 'r1' more than once"):
        import_table(table("tiles.csv", {"region": "r1"}), tmp_path / "images", join=(regions, "region"))


@pytest.mark.parametrize(
    ("column_map", "expected"),
    [
        ({"files": "path"}, "t.csv has no column 'files'; it has: file, site, place"),
        ({"file": "image"}, "'image' is no column of a manifest; allowed: path, x, y"),
        ({"file": "path", "site": "center", "place": "center"}, "'site' and 'place' are both mapped to 'center'"),
        ({"site": "center"}, "t.csv has no column 'path'; map one of: file, site, place"),
    ],
)
def test_a_map_that_cannot_be_used_says_why(table, tmp_path, column_map, expected):
    csv = table("t.csv", {"file": "a.png", "site": "Lyon", "place": "Rome"})
    with pytest.raises(ManifestError) as caught:
        import_table(csv, tmp_path / "images", column_map)
    assert expected in str(caught.value)


def test_faults_of_imported_rows_are_listed_with_the_rows_of_the_users_table(table, tmp_path):
    csv = table("t.csv", {"path": "a.png", "age": 30}, {"path": "z.png", "age": 300})
    with pytest.raises(ManifestError, match=r"t\.csv cannot be used: age must be .*, row 2.*file not found, row 2"):
        import_table(csv, tmp_path / "images")


def test_a_table_with_a_byte_order_mark_is_read(table, tmp_path):
    csv = table("t.csv", {"path": "a.png"})
    csv.write_bytes(b"\xef\xbb\xbf" + csv.read_bytes())
    assert len(import_table(csv, tmp_path / "images").frame) == 1
