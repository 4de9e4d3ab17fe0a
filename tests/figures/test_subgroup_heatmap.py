"""Heat map: every cell is a row of the table, and only what is large enough is coloured."""

import numpy as np
import pandas as pd
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.figures.subgroup_heatmap import TOO_SMALL_COLOUR, subgroup_heatmap

NAN = float("nan")
TABLE = pd.DataFrame(
    [
        ("colon", "Rome <b>", 50, 6, 0.4, 0.3, 0.5, True),
        ("lung", "Lyon", 90, 9, 0.8, 0.7, 0.9, True),
        ("lung", "Rome <b>", 3, 1, 1.0, NAN, NAN, False),
        ("colon", "Oslo", 0, 0, NAN, NAN, NAN, False),
    ],
    columns=["cancer_type", "center", "n", "n_patients", "value", "ci_low", "ci_high", "is_ranked"],
).assign(measure="recall", interval="patients resampled")
TABLE["subgroup"] = TABLE["cancer_type"] + " × " + TABLE["center"]
MINIMUM = "fewer than 20 tiles or 3 patients"


def heat_map(table: pd.DataFrame = TABLE, dark: bool = False):
    return subgroup_heatmap(table, "cancer_type", "center", "Balanced accuracy", MINIMUM, dark)


def cells(trace) -> dict[tuple, tuple]:
    """(row, column) → (number, text, hover) of the cells that are drawn."""
    keys, z = trace.customdata, np.array(trace.z, dtype=float)
    return {
        tuple(keys[i][j]): (z[i, j], trace.text[i][j], trace.hovertext[i][j]) for i, j in np.argwhere(np.isfinite(z))
    }


def test_a_coloured_cell_is_a_large_enough_subgroup_with_its_value_n_and_interval_on_hover():
    scaled = cells(heat_map().data[0])
    assert {key: (z, text) for key, (z, text, _) in scaled.items()} == {
        ("colon", "Rome <b>"): (0.4, "0.40"),
        ("lung", "Lyon"): (0.8, "0.80"),
    }
    hover = scaled["colon", "Rome <b>"][2]
    for text in ("recall: 0.400 [0.300, 0.500]", "50 tiles, 6 patients", "interval: patients resampled"):
        assert text in hover
    assert "Rome &lt;b&gt;" in hover


def test_a_cell_below_the_minimum_is_grey_with_its_n_and_one_without_a_tile_is_empty():
    figure = heat_map()
    scaled, grey, key = figure.data
    assert {place: text for place, (_, text, _) in cells(grey).items()} == {("lung", "Rome <b>"): "3"}
    assert {colour for _, colour in grey.colorscale} == {TOO_SMALL_COLOUR[False]} == {key.marker.color}
    assert grey.coloraxis is None
    assert scaled.coloraxis == "coloraxis"
    assert MINIMUM in key.name
    assert ("colon", "Oslo") not in {**cells(scaled), **cells(grey)}
    assert not set(cells(scaled)) & set(cells(grey))


def test_the_scale_is_the_same_whatever_is_shown_and_axes_name_every_value():
    figure = heat_map()
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    assert list(figure.layout.xaxis.ticktext) == ["Lyon", "Oslo", "Rome &lt;b&gt;"]
    assert figure.layout.yaxis.title.text == "Cancer type"
    long = TABLE.assign(center=[f"{'x' * 40}{i}" for i in range(4)])
    assert len(heat_map(long).layout.xaxis.tickvals) == 4, "names that are alike when cut stay apart"


def test_it_is_transparent_with_text_for_its_page():
    dark, light = (heat_map(dark=is_dark).layout for is_dark in (True, False))
    assert dark.font.color != light.font.color
    assert dark.paper_bgcolor == dark.plot_bgcolor == "rgba(0,0,0,0)"


def test_a_missing_column_is_named():
    with pytest.raises(InvalidRequestError, match="the table lacks n_patients; given: cancer_type"):
        heat_map(TABLE.drop(columns="n_patients"))
