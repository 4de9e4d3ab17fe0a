"""Every number of the figure is one of the table; nothing is told by colour alone."""

import json

import numpy as np
import pandas as pd
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.figures.experiment_figure import experiment_figure


def table() -> pd.DataFrame:
    records = [
        (arm, subgroup, measure, value + shift, value + shift - 0.1, value + shift + 0.05, 1200, patients)
        for arm, shift in (("real only", 0.0), ("real + <MeDi>", 0.1))
        for subgroup, measure, value, patients in (
            ("all centers", "balanced accuracy", 0.7, 30),
            ("worst center", "balanced accuracy", 0.5, 30),
            ("gap between centers", "gap", 0.2, 30),
            ("Lyon", "recall of lung", 0.6, 4),
            ("Paris", "balanced accuracy", 0.7, 20),
        )
    ]
    columns = ["arm", "subgroup", "measure", "value", "ci_low", "ci_high", "n", "n_patients"]
    return pd.DataFrame(records, columns=columns)


def test_an_arm_is_a_trace_with_its_values_intervals_and_counts():
    figure = experiment_figure(table(), dark=False)
    assert [trace.name for trace in figure.data] == ["real only", "real + &lt;MeDi&gt;"]
    assert list(figure.data[0].x) == [0.7, 0.5, 0.6, 0.7]
    np.testing.assert_allclose(figure.data[0].error_x.arrayminus, 0.1)
    np.testing.assert_allclose(figure.data[0].error_x.array, 0.05)
    assert "recall of lung 0.600 [0.500, 0.650]<br>n = 1,200 tiles of 4 patients" in figure.data[0].text[2]
    assert len({trace.marker.symbol for trace in figure.data}) == 2
    json.loads(figure.to_json())


def test_rows_are_all_centers_the_worst_then_centers_by_patients_and_no_gap():
    figure = experiment_figure(table(), dark=True)
    names = [text.split("<br>")[0] for text in figure.layout.yaxis.ticktext]
    assert names == ["all centers", "worst center", "Paris", "Lyon"]
    assert "recall of lung, 4 patients" in figure.layout.yaxis.ticktext[3]
    assert figure.layout.font.color != experiment_figure(table(), dark=False).layout.font.color


def test_what_was_not_measured_is_not_drawn_and_a_missing_column_is_named():
    rows = table()
    rows.loc[rows["subgroup"] == "worst center", "value"] = np.nan
    assert len(experiment_figure(rows, dark=False).data[0].x) == 3
    with pytest.raises(InvalidRequestError, match="the table lacks measure, n"):
        experiment_figure(rows.drop(columns=["measure", "n"]), dark=False)
