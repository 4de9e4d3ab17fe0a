"""Reading, checking and writing manifests. Run: pytest tests/data"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medi_core.data.manifest import COLUMNS, read_manifest, validate_manifest, write_manifest
from medi_core.errors import ManifestError, StorageError


@pytest.fixture
def write_csv(tmp_path):
    """Writes the given rows to a CSV beside two images, a.png and b.png, and returns its path."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()

    def write(*rows: dict, **options) -> Path:
        path = tmp_path / "manifest.csv"
        pd.DataFrame(rows).to_csv(path, index=False, **options)
        return path

    return write


def fault_of(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    return str(caught.value)


def test_a_sound_manifest_has_all_columns_absolute_paths_and_typed_cells(toy_manifest):
    frame = read_manifest(toy_manifest)
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 24
    assert all(Path(p).is_absolute() and Path(p).is_file() for p in frame["path"])
    assert frame["age"].dtype == float
    assert frame["mpp"].tolist() == [0.5] * 24
    assert frame["tissue"].isna().all()
    assert frame["x"].isna().all()


def test_empty_cells_are_none_in_text_and_nan_in_numbers(write_csv):
    frame = read_manifest(write_csv({"path": "a.png", "center": "", "age": ""}, {"path": "b.png", "center": "Lyon"}))
    assert frame["center"].tolist() == [None, "Lyon"]
    assert frame["race"].tolist() == [None, None]
    assert frame["age"].isna().all()


def test_text_that_looks_like_a_missing_value_stays_text(write_csv):
    frame = read_manifest(write_csv({"path": "a.png", "center": "NA"}, {"path": "b.png", "center": "None"}))
    assert frame["center"].tolist() == ["NA", "None"]


def test_numbers_stay_the_text_they_are_in_text_columns(write_csv):
    frame = read_manifest(write_csv({"path": "a.png", "patient_id": "007"}))
    assert frame["patient_id"].tolist() == ["007"]


def test_blanks_around_a_cell_do_not_make_another_value(write_csv):
    frame = read_manifest(
        write_csv({"path": " a.png ", "center": "Lyon", "age": " 60 "}, {"path": "b.png", "center": " Lyon"})
    )
    assert frame["center"].tolist() == ["Lyon", "Lyon"]
    assert frame["age"].iloc[0] == 60


def test_a_byte_order_mark_does_not_hide_the_first_column(write_csv):
    path = write_csv({"path": "a.png", "center": "Besançon"}, encoding="utf-8-sig")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert read_manifest(path)["center"].tolist() == ["Besançon"]


def test_a_missing_manifest_is_named(tmp_path):
    assert "nowhere.csv does not exist" in fault_of(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("content", [b"", b'path\n"a', b"path\n\xff\xfe\xe4\n", b"path,x\na.png,1,2,3\n,\n"])
def test_a_file_that_is_no_table_is_refused_with_advice(tmp_path, content):
    path = tmp_path / "broken.csv"
    path.write_bytes(content)
    message = fault_of(path)
    assert message.startswith("broken.csv ")
    assert "UTF-8" in message or "surplus commas" in message


def test_rows_longer_than_the_header_are_refused_instead_of_shifting_columns(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "long.csv").write_text("path,center\na.png,Lyon,surplus\n")
    assert "more cells in a row than in its header" in fault_of(tmp_path / "long.csv")


def test_an_unknown_column_is_named_with_the_allowed_ones_and_the_importer(write_csv):
    message = fault_of(write_csv({"path": "a.png", "hospital": "Lyon", "Age": 3}))
    hints = "'hospital' (did you mean 'center'?), 'Age' (did you mean 'age'?)"
    assert f"unknown columns: {hints}; allowed: path, x, y, cancer_type" in message
    assert "data import" in message


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ("canser_type", "'canser_type' (did you mean 'cancer_type'?);"),
        ("smell", "'smell';"),
        ("true", "'true';"),
        ("centre", "'centre';"),  # the table has the column that it could be
    ],
)
def test_only_a_column_that_is_like_ours_and_free_is_asked_for(write_csv, column, shown):
    assert f"unknown columns: {shown}" in fault_of(write_csv({"path": "a.png", "center": "Lyon", column: "x"}))


def test_a_manifest_without_paths_or_rows_is_refused(write_csv, tmp_path):
    assert "has no column 'path'" in fault_of(write_csv({"center": "Lyon"}))
    (tmp_path / "empty.csv").write_text("path,center\n")
    assert "has no rows" in fault_of(tmp_path / "empty.csv")


def test_a_missing_file_is_listed_with_its_row(write_csv):
    message = fault_of(write_csv({"path": "a.png"}, {"path": "absent.png"}))
    assert "file not found, row 2, e.g. " in message
    assert "absent.png" in message


def test_a_folder_is_no_image_file(write_csv, tmp_path):
    (tmp_path / "folder.png").mkdir()
    assert "file not found, row 1" in fault_of(write_csv({"path": "folder.png"}))


def test_an_empty_path_is_listed(write_csv):
    message = fault_of(write_csv({"path": "a.png", "center": "Lyon"}, {"path": "", "center": "Lyon"}))
    assert "path is empty, row 2" in message
    assert "not found" not in message


def test_the_same_tile_twice_is_refused_but_two_tiles_of_one_region_are_not(write_csv):
    read_manifest(write_csv({"path": "a.png", "x": 0, "y": 0}, {"path": "a.png", "x": 128, "y": 0}))
    message = fault_of(write_csv({"path": "a.png", "x": 0, "y": 0}, {"path": "a.png", "x": "0.0", "y": 0}))
    assert "the same tile is listed twice, row 2" in message
    assert "the same tile is listed twice, row 2" in fault_of(write_csv({"path": "a.png"}, {"path": "a.png"}))


def test_the_same_file_by_two_spellings_is_the_same_tile(write_csv, tmp_path):
    (tmp_path / "sub").mkdir()
    rows = [{"path": "a.png"}, {"path": "sub/../a.png"}, {"path": str(tmp_path / "a.png")}]
    assert "the same tile is listed twice, rows 2, 3" in fault_of(write_csv(*rows))


def test_x_without_y_is_refused(write_csv):
    assert "x and y must be given together, row 1" in fault_of(write_csv({"path": "a.png", "x": 3}))


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("age", "old", "age must be a number from 0 to 120, row 2, e.g. 'old'"),
        ("age", -1, "age must be a number from 0 to 120, row 2"),
        ("age", "nan", "age must be a number"),
        ("mpp", 0, "mpp must be a number from 0.01 to 20, row 2"),
        ("mpp", "inf", "mpp must be a number"),
        ("hematoxylin", 21, "hematoxylin must be a number from 0 to 20"),
        ("x", -1, "x must be a number from 0 to 1e+06"),
        ("split", "training", "split must be one of train, val, test, row 2, e.g. 'training' (did you mean 'train'?)"),
        ("tissue", "tumour", "tissue must be one of tumor, benign, row 2, e.g. 'tumour' (did you mean 'tumor'?)"),
        ("preparation", "ffpe", "preparation must be one of FFPE, frozen, row 2, e.g. 'ffpe' (did you mean 'FFPE'?)"),
        ("origin", "fake", "origin must be one of real, synthetic"),
    ],
)
def test_a_bad_value_is_quoted_with_what_is_allowed(write_csv, column, value, expected):
    assert expected in fault_of(write_csv({"path": "a.png"}, {"path": "b.png", column: value}))


def test_a_patient_in_two_splits_is_refused(write_csv):
    message = fault_of(
        write_csv(
            {"path": "a.png", "patient_id": "P1", "split": "train"},
            {"path": "b.png", "patient_id": "P1", "split": "test"},
        )
    )
    assert "a patient must be in one split only, but P1 is in several, rows 1, 2" in message


def test_a_row_without_a_split_is_a_training_row_and_its_patient_must_not_be_tested(write_csv):
    rows = [{"path": "a.png", "patient_id": "P1"}, {"path": "b.png", "patient_id": "P1", "split": "test"}]
    message = fault_of(write_csv(*rows))
    assert "P1 is in several (a row without a split is a training row), rows 1, 2" in message
    fine = read_manifest(write_csv(rows[0], rows[1] | {"split": "train"}))
    assert fine["split"].tolist() == [None, "train"]


def test_a_slide_in_two_splits_is_refused_where_patients_are_not_recorded(write_csv):
    rows = [{"path": "a.png", "slide": "S1", "split": "val"}, {"path": "b.png", "slide": "S1", "split": "test"}]
    assert "a slide must be in one split only, but S1 is in several, rows 1, 2" in fault_of(write_csv(*rows))


def test_an_image_in_two_splits_is_refused_even_without_patients(write_csv):
    message = fault_of(
        write_csv(
            {"path": "a.png", "x": 0, "y": 0, "split": "train"}, {"path": "a.png", "x": 128, "y": 0, "split": "val"}
        )
    )
    assert "an image must be in one split only" in message
    assert "rows 1, 2" in message


def test_rows_without_patient_may_be_in_any_split(write_csv):
    frame = read_manifest(write_csv({"path": "a.png", "split": "train"}, {"path": "b.png", "split": "test"}))
    assert frame["split"].tolist() == ["train", "test"]


def test_one_message_lists_every_fault_with_its_rows(write_csv):
    message = fault_of(
        write_csv(
            {"path": "a.png", "age": "old", "split": "train"},
            {"path": "absent.png", "age": 300, "split": "holdout"},
            {"path": "a.png", "age": 30, "split": "train"},
        )
    )
    assert message.startswith("manifest.csv cannot be used: ")
    for fault in (
        "age must be a number from 0 to 120, rows 1, 2",
        "file not found, row 2",
        "split must be one of train, val, test, row 2",
        "listed twice, row 3",
    ):
        assert fault in message
    assert message.count("; ") >= 3


def test_many_faulty_rows_are_counted_and_the_first_five_listed(write_csv):
    message = fault_of(write_csv(*({"path": f"absent-{i}.png"} for i in range(9))))
    assert "rows 1, 2, 3, 4, 5 … (9 in all)" in message


def test_a_manifest_survives_writing_and_reading(toy_manifest, tmp_path):
    frame = read_manifest(toy_manifest)
    frame.loc[3, "center"] = None
    frame.loc[4, "age"] = np.nan
    write_manifest(frame, tmp_path / "again.csv")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "again.csv"), frame)


def test_written_paths_are_relative_below_the_manifest_and_absolute_elsewhere(toy_manifest, tmp_path):
    frame = read_manifest(toy_manifest)
    write_manifest(frame, tmp_path / "beside.csv")
    assert pd.read_csv(tmp_path / "beside.csv")["path"].iloc[0] == "regions/region-00.png"
    (tmp_path / "elsewhere").mkdir()
    write_manifest(frame, tmp_path / "elsewhere" / "far.csv")
    assert pd.read_csv(tmp_path / "elsewhere" / "far.csv")["path"].iloc[0] == frame["path"].iloc[0]


def test_columns_without_content_are_not_written(toy_manifest, tmp_path):
    write_manifest(read_manifest(toy_manifest), tmp_path / "slim.csv")
    columns = pd.read_csv(tmp_path / "slim.csv").columns
    assert "center" in columns
    assert not {"x", "y", "tissue", "origin"} & set(columns)


def test_a_manifest_that_cannot_be_written_is_a_storage_error(toy_manifest, tmp_path):
    with pytest.raises(StorageError, match="could not write"):
        write_manifest(read_manifest(toy_manifest), tmp_path / "no" / "such" / "folder.csv")


def test_a_manifest_survives_parquet(toy_manifest, tmp_path):
    pytest.importorskip("pyarrow")
    frame = read_manifest(toy_manifest)
    write_manifest(frame, tmp_path / "manifest.parquet")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "manifest.parquet"), frame)


def test_parquet_without_its_library_is_an_error_that_says_what_to_do(toy_manifest, tmp_path, monkeypatch):
    def no_library(*args, **kwargs):
        raise ImportError("Missing optional dependency 'pyarrow'")

    monkeypatch.setattr(pd, "read_parquet", no_library)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", no_library)
    (tmp_path / "manifest.parquet").touch()
    assert "parquet files need the package pyarrow" in fault_of(tmp_path / "manifest.parquet")
    with pytest.raises(ManifestError, match="parquet files need the package pyarrow"):
        write_manifest(read_manifest(toy_manifest), tmp_path / "out.parquet")


def test_a_broken_parquet_file_is_refused(tmp_path):
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    assert fault_of(tmp_path / "broken.parquet").startswith("broken.parquet")


def test_rows_in_memory_are_checked_like_rows_of_a_file(tmp_path):
    (tmp_path / "a.png").touch()
    rows = pd.DataFrame({"path": ["a.png"], "age": [61], "patient_id": [7]}, index=[41])
    frame = validate_manifest(rows, tmp_path, "rows")
    assert frame.index.tolist() == [0]
    assert frame.loc[0, ["path", "age", "patient_id"]].tolist() == [str(tmp_path / "a.png"), 61.0, "7"]
    with pytest.raises(ManifestError, match="rows cannot be used: age must be a number"):
        validate_manifest(rows.assign(age=[161]), tmp_path, "rows")
