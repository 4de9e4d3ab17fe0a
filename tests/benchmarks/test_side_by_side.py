"""Rows, ratios, the plot, and how many steps a fast checkpoint is for."""

import json

import numpy as np
import pytest

from benchmarks.side_by_side import HEADER, NO_WEIGHTS, fast_steps, plot_of, rows_of
from benchmarks.ways import ALONE, TOGETHER, Result
from medi_core.errors import CheckpointError
from medi_core.metrics.kernel import SubsetDistances


def result(name: str, kid: float | None, **more) -> Result:
    distance = None if kid is None else SubsetDistances(np.array([kid - 1, kid + 1]))
    return Result(name, "float32", 40, 333.0, {ALONE: 2.0, TOGETHER: 0.5}, 0.25, distance, 128, **more)


RESULTS = [
    Result("paper's", "bfloat16", 100, 29180.0, {ALONE: 30.0, TOGETHER: 27.0}, 0.3),
    result("12 steps", 150.0),
    result("20 steps", 100.0, is_reference=True),
]


def test_a_distance_is_divided_by_that_of_the_reference():
    rows = [dict(zip(HEADER, row, strict=True)) for row in rows_of(RESULTS)]
    assert [row["KID ÷ that of the reference"] for row in rows] == ["–", "1.50", "1.00"]
    assert rows[1]["s a tile, of 8"] == "0.5"
    assert rows[1]["of peak"] == "25%"


def test_the_paper_has_a_cost_and_no_distance():
    row = dict(zip(HEADER, rows_of(RESULTS)[0], strict=True))
    assert row["KID"] == NO_WEIGHTS
    assert row["GFLOP a tile"] == "29,180"
    svg = plot_of(RESULTS, 15.0)
    assert "network: 29,180" in svg
    assert "<text" in svg


def test_the_fast_checkpoint_says_how_many_steps_it_is_for(tmp_path):
    (tmp_path / "training_config.json").write_text(json.dumps({"distillation": {"num_inference_steps": 2}}))
    assert fast_steps(tmp_path) == 2


@pytest.mark.parametrize("text", ["{}", '{"distillation": null}', "no json", None])
def test_a_checkpoint_that_is_not_distilled_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "training_config.json").write_text(text)
    with pytest.raises(CheckpointError, match="give the folder of a distilled checkpoint"):
        fast_steps(tmp_path)
