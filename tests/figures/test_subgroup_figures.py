"""Heat map and ranking: every cell and dot is a row of the table, and only what is large enough is coloured."""

import numpy as np
import pandas as pd
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.figures.subgroup_heatmap import TOO_SMALL_COLOUR, subgroup_heatmap
from medi_core.figures.subgroup_ranking import MAX_ROWS, subgroup_ranking

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


def test_both_are_transparent_with_text_for_their_page():
    overall = TABLE.iloc[1]
    for draw in (heat_map, lambda dark: subgroup_ranking(TABLE, ["center"], overall, "Recall", MINIMUM, dark)):
        dark, light = (draw(dark=is_dark).layout for is_dark in (True, False))
        assert dark.font.color != light.font.color
        assert dark.paper_bgcolor == dark.plot_bgcolor == "rgba(0,0,0,0)"


def test_dots_are_in_the_order_of_the_table_with_their_intervals():
    figure = subgroup_ranking(TABLE, ["cancer_type", "center"], TABLE.iloc[1], "Recall", MINIMUM, False)
    ranked, small = figure.data
    assert list(ranked.x) == [0.4, 0.8]
    assert list(ranked.y) == [0, 1]
    np.testing.assert_allclose(ranked.error_x.array, [0.1, 0.1])
    np.testing.assert_allclose(ranked.error_x.arrayminus, [0.1, 0.1])
    assert [list(key) for key in ranked.customdata] == [["colon", "Rome <b>"], ["lung", "Lyon"]]
    assert (list(small.x), small.name, list(small.error_x.array)) == ([1.0], MINIMUM, [0])
    assert ranked.marker.color != small.marker.color
    assert "(50 / 6)" in figure.layout.yaxis.ticktext[0]
    assert figure.layout.shapes[0].x0 == 0.8, "the line is the overall value"


def test_only_the_worst_are_drawn_where_there_are_many():
    many = pd.concat([TABLE.iloc[[0]]] * 50, ignore_index=True)
    figure = subgroup_ranking(many, ["center"], TABLE.iloc[1], "Recall", MINIMUM, False)
    assert sum(len(trace.x) for trace in figure.data) == MAX_ROWS


def test_a_missing_column_is_named():
    for draw in (heat_map, lambda table: subgroup_ranking(table, ["center"], TABLE.iloc[1], "Recall", MINIMUM, False)):
        with pytest.raises(InvalidRequestError, match="the table lacks n_patients; given: cancer_type"):
            draw(TABLE.drop(columns="n_patients"))
