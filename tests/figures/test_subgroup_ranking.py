"""Ranking: dots in the order of the table, intervals where there are some."""

import numpy as np
import pandas as pd
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.figures.subgroup_ranking import MAX_ROWS, subgroup_ranking
from tests.figures.test_subgroup_heatmap import MINIMUM, TABLE


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


def test_it_is_transparent_with_text_for_its_page_and_names_a_missing_column():
    dark, light = (
        subgroup_ranking(TABLE, ["center"], TABLE.iloc[1], "Recall", MINIMUM, d).layout for d in (True, False)
    )
    assert dark.font.color != light.font.color
    assert dark.paper_bgcolor == dark.plot_bgcolor == "rgba(0,0,0,0)"
    with pytest.raises(InvalidRequestError, match="the table lacks n_patients; given: cancer_type"):
        subgroup_ranking(TABLE.drop(columns="n_patients"), ["center"], TABLE.iloc[1], "Recall", MINIMUM, True)
