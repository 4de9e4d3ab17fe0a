"""train-classifier and classify on the command line: a checkpoint, a table that the audit reads, and refusals."""

import json
from pathlib import Path

import pandas as pd
import pytest

from medi_core.cli import main
from medi_core.data.predictions import read_predictions
from tests.toy_classifier import CLASSES


@pytest.fixture
def cli(tmp_path: Path, monkeypatch, capfd, fresh_accelerator):
    """Runs a command in a folder of its own; returns code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDI_CHECKPOINTS_DIR", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("MEDI_DEVICE", "cpu")

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return run


def test_a_classifier_is_trained_measured_and_judges_the_tiles_of_a_manifest(cli, toy_manifest, tmp_path):
    out = "checkpoints/tile-classifier"
    code, told, _ = cli("train-classifier", "--manifest", toy_manifest, "--out", out, "--num-steps", 0, "--json")
    assert code == 0
    answer = json.loads(told)
    assert answer["classifier"].startswith("tile-classifier@")
    assert answer["test"]["accuracy"]["n_patients"] == 2
    assert (tmp_path / out / "README.md").is_file()
    code, told, _ = cli("classify", "--manifest", toy_manifest, "--out", "predictions.csv", "--json")
    assert code == 0
    answer = json.loads(told)
    assert (answer["tiles"], answer["left_out"]) == (24, 0)
    predictions = read_predictions(tmp_path / "predictions.csv", pd.DataFrame({"id": []}, dtype=object))
    assert predictions.classes == CLASSES[:2]
    assert (predictions.tiles["true"] == predictions.tiles["predicted"]).sum() == answer["right"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train-classifier", "--manifest", "none.csv", "--out", "x"), "none.csv does not exist"),
        (
            ("train-classifier", "--manifest", "none.csv", "--out", "x", "--global-batch", 0),
            "global_batch must be above",
        ),
        (
            ("train-classifier", "--manifest", "none.csv", "--out", "x", "--stain-jitter", 2),
            "stain_jitter must be from 0",
        ),
        (("classify", "--manifest", "none.csv", "--out", "x.txt"), "it must end in .csv or .parquet"),
        (("classify", "--manifest", "none.csv", "--out", "x.csv"), "none.csv does not exist"),
    ],
)
def test_what_cannot_be_done_is_one_line(cli, arguments, message):
    code, _, err = cli(*arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_without_a_classifier_the_way_to_one_is_named(cli, toy_manifest):
    code, _, err = cli("classify", "--manifest", toy_manifest, "--out", "x.csv")
    assert code == 2
    assert "there is no tile classifier in checkpoints/tile-classifier/; train one" in err
