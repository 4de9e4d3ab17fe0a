"""Predictions of any model: joined with what is known of their tiles, or refused with every fault and its rows."""

import numpy as np
import pandas as pd
import pytest

from medi_core.data import predictions
from medi_core.data.predictions import COLUMNS, read_predictions
from medi_core.errors import PredictionsError

KNOWN = pd.DataFrame(
    {
        "id": list("abcd"),
        "cancer_type": ["lung", "lung", "colon", "colon"],
        "center": ["Lyon", "Rome", "Lyon", None],
        "hematoxylin": [0.5, 1.0, np.nan, 2.0],
        "patient_id": ["P1", "P2", "P1", None],
        "dataset": ["d"] * 4,
        "split": ["train", "test", "test", "test"],
        "image": ["a.png"] * 4,
        "x": [0.0, 128.0, 256.0, np.nan],
        "y": [0.0, 0.0, 0.0, np.nan],
    }
)
GOOD = {"tile": list("dba"), "true": ["colon", "lung", "lung"], "predicted": ["lung", "lung", "lung"]}


@pytest.fixture
def read(tmp_path):
    def run(table: dict, known: pd.DataFrame = KNOWN, manifest=None, name: str = "mine.csv"):
        pd.DataFrame(table).to_csv(tmp_path / name, index=False)
        return read_predictions(tmp_path / name, known, manifest)

    return run


@pytest.fixture
def refusal(read):
    def run(table: dict, **given) -> str:
        with pytest.raises(PredictionsError) as raised:
            read(table, **given)
        return str(raised.value)

    return run


def test_what_is_known_of_a_tile_is_joined_in_the_order_of_the_predictions(read):
    found = read(GOOD)
    assert list(found.tiles.columns) == list(COLUMNS)
    assert found.tiles["id"].tolist() == ["d", "b", "a"]
    assert found.tiles["center"].tolist() == [None, "Rome", "Lyon"]
    assert found.tiles["patient_id"].tolist() == [None, "P2", "P1"]
    np.testing.assert_array_equal(found.tiles["hematoxylin"], [2.0, 1.0, 0.5])
    np.testing.assert_array_equal(found.tiles["x"], [np.nan, 128, 0])
    assert (found.model, found.classes, found.probabilities) == ("mine", ("colon", "lung"), None)


def test_without_a_predicted_class_the_likeliest_is_predicted_and_columns_follow_the_classes(read):
    table = {"id": list("ab"), "true": ["lung", "lung"], "p:lung": [0.7, 0.2], "p:colon": [0.3, 0.801]}
    found = read(table)
    assert found.tiles["predicted"].tolist() == ["lung", "colon"]
    assert found.classes == ("colon", "lung")
    np.testing.assert_allclose(found.probabilities, [[0.3, 0.7], [0.801 / 1.001, 0.2 / 1.001]])
    one = found.part([False, True])
    assert (one.tiles["id"].tolist(), one.probabilities.shape, one.classes) == (["b"], (1, 2), found.classes)


def test_what_the_table_says_itself_goes_before_what_is_known(read):
    found = read(GOOD | {"center": ["Paris", "", ""], "eosin": ["0.25", "", ""]})
    assert found.tiles["center"].tolist() == ["Paris", "Rome", "Lyon"]
    np.testing.assert_array_equal(found.tiles["eosin"], [0.25, np.nan, np.nan])


def test_own_tiles_may_come_with_their_own_patients(read, refusal):
    own = {"tile": ["a", "x1", "x2"], "true": ["lung"] * 3, "predicted": ["lung"] * 3}
    found = read(own | {"patient_id": ["", "Q", "Q"], "center": ["", "Oslo", "Oslo"]})
    assert found.tiles["patient_id"].tolist() == ["P1", "Q", "Q"]
    assert found.tiles["center"].tolist() == ["Lyon", "Oslo", "Oslo"]
    assert "tiles that are not known, rows 2, 3, e.g. 'x1'" in refusal(own)
    assert "not known, row 3" in refusal(own | {"patient_id": ["", "Q", ""]})


def test_tiles_of_a_manifest_are_named_by_path_and_place(read, toy_manifest, refusal):
    rows = {"path": ["regions/region-03.png", "regions/../regions/region-00.png"], "true": ["lung"] * 2}
    found = read(rows | {"predicted": ["lung", "colon"]}, manifest=toy_manifest)
    assert found.tiles["patient_id"].tolist() == ["P01", "P00"]
    assert found.tiles["center"].tolist() == ["Paris", "Lyon"]
    assert found.tiles["image"].tolist() == ["region-03.png", "region-00.png"]
    missing = rows | {"path": ["regions/region-03.png", "regions/other.png"], "predicted": ["lung"] * 2}
    assert "tiles that are not known, row 2" in refusal(missing, manifest=toy_manifest)
    assert "has no column path" in refusal(GOOD, manifest=toy_manifest)
    grid = pd.read_csv(toy_manifest).iloc[[0, 0]].assign(x=[0, 16], y=[0, 16])
    grid.to_csv(toy_manifest, index=False)
    two = {"path": ["regions/region-00.png"] * 2, "true": ["lung"] * 2, "predicted": ["lung"] * 2}
    placed = read(two | {"x": [16, 0], "y": [16, 0]}, manifest=toy_manifest)
    assert [id.rsplit("@")[-1] for id in placed.tiles["id"]] == ["16,16", "0,0"]
    assert "the same tile is listed twice, row 2" in refusal(two, manifest=toy_manifest)
    alone = {name: values[:1] for name, values in two.items()}
    assert "several tiles an image: the predictions need columns x and y" in refusal(alone, manifest=toy_manifest)


def test_a_parquet_file_names_its_model(tmp_path):
    frame = pd.DataFrame({"id": list("ab"), "true": ["lung"] * 2, "p:lung": [0.7, 0.2], "p:colon": [0.3, 0.8]})
    frame.attrs["model"] = "lite0 fine-tuned"
    frame.to_parquet(tmp_path / "predictions.parquet")
    assert read_predictions(tmp_path / "predictions.parquet", KNOWN).model == "lite0 fine-tuned"


P = {"p:lung": [0.7, 0.5, 0.5], "p:colon": [0.3, 0.5, 0.5]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile": ["a", "a", "b"]}, "the same tile is listed twice, row 2, e.g. 'a'"),
        ({"tile": ["a", "", "b"]}, "id is empty, row 2"),
        ({"true": ["lung", "", "lung"]}, "true is empty, row 2"),
        ({"predicted": ["lung", "lung", ""]}, "predicted is empty, row 3"),
        (P | {"p:lung": [0.7, 0.5, 0.2]}, "probabilities do not sum to one, row 3, e.g. '0.7'"),
        (P | {"p:lung": [0.7, "nan", 0.5]}, "a probability must be a number from 0 to 1, row 2"),
        (P | {"p:lung": [1.7, 0.5, 0.5], "p:colon": [-0.7, 0.5, 0.5]}, "a number from 0 to 1, row 1"),
        (P | {"true": ["kidney", "lung", "lung"]}, "true has a class without a column p:<class>, row 1, e.g. 'kidney'"),
        (P | {"predicted": ["lung", "skin", "lung"]}, "predicted has a class without a column p:<class>, row 2"),
        ({"predicted": ["LUAD"] * 3}, "no predicted class is a true one, are they named alike"),
        ({"split": ["train", "exam", ""]}, "split must be one of train, val, test, row 2, e.g. 'exam'"),
        ({"eosin": ["0.1", "pink", ""]}, "eosin must be a number from 0 to 20, row 2, e.g. 'pink'"),
        ({"logit": [1, 2, 3]}, "has unknown columns: logit"),
        ({"id": list("abc")}, "must name the tile in one column, tile or id"),
    ],
)
def test_what_is_wrong_is_named_with_its_rows(refusal, change, message):
    assert message in refusal(GOOD | change)


@pytest.mark.parametrize("header", ["p:lung", "p: lung", "p:lung.1"])
def test_a_class_with_two_columns_is_refused(tmp_path, header):
    (tmp_path / "mine.csv").write_text(f"tile,true,p:lung,p:colon,{header}\na,lung,0.5,0.3,0.2\n")
    with pytest.raises(PredictionsError, match="several columns of the probability of lung"):
        read_predictions(tmp_path / "mine.csv", KNOWN)


def test_a_space_before_the_name_of_a_class_is_no_part_of_it(read):
    found = read({"tile": ["a", "c"], "true": ["lung", "colon"], "p: lung": [0.7, 0.2], "p:colon ": [0.3, 0.8]})
    assert found.classes == ("colon", "lung")
    np.testing.assert_allclose(found.probabilities, [[0.3, 0.7], [0.8, 0.2]])


def test_several_faults_come_in_one_message(refusal):
    message = refusal(GOOD | P | {"tile": ["a", "a", "b"], "p:lung": [0.7, 0.5, 0.2]})
    assert "listed twice" in message
    assert "do not sum to one" in message


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("tile", "must name the tile in one column, tile or id"),
        ("true", "lacks the column true"),
        ("predicted", "lacks the column predicted, or p:<class> for each class"),
    ],
)
def test_a_missing_column_is_named(refusal, missing, message):
    assert message in refusal({name: values for name, values in GOOD.items() if name != missing})


def test_paths_without_a_manifest_are_explained(refusal):
    table = {"path": ["a.png"], "true": ["lung"], "predicted": ["lung"]}
    assert "tiles by path need their manifest" in refusal(table)


def test_files_that_are_missing_empty_too_large_or_no_table_are_refused(read, refusal, tmp_path, monkeypatch):
    with pytest.raises(PredictionsError, match="do not exist"):
        read_predictions(tmp_path / "none.csv", KNOWN)
    assert "0 rows" in refusal({"tile": [], "true": [], "predicted": []})
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(PredictionsError, match="cannot be read as a table"):
        read_predictions(tmp_path / "binary.csv", KNOWN)
    monkeypatch.setattr(predictions, "MAX_CLASSES", 1)
    assert "there are 2 classes, at most 1 are compared" in refusal(GOOD)
    monkeypatch.setattr(predictions, "MAX_ROWS", 2)
    assert "3 rows: from 1 to 2 are read" in refusal(GOOD)
    monkeypatch.setattr(predictions, "MAX_BYTES", 10)
    assert "at most 0 MB are read" in refusal(GOOD)
