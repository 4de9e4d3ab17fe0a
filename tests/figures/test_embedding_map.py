import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.figures.embedding_map import MAX_VALUES, SYMBOLS, embedding_map_figure
from medi_core.figures.palette import NOT_RECORDED_COLOUR, POOLED_COLOUR

CENTERS = ("Roswell_Park", "Mayo <Clinic>", "Memorial", "Charité")


def map_points(num: int = 200, seed: int = 0, values=CENTERS) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    points = pd.DataFrame(rng.normal(size=(num, 2)).astype(np.float32), columns=["x", "y"])
    points["id"] = [f"tile {i}" for i in range(num)]
    points["origin"] = rng.choice(["real", "synthetic", "own", "new"], num, p=[0.7, 0.15, 0.1, 0.05])
    points["center"] = rng.choice(np.array([*values, None, np.nan, ""], dtype=object), num)
    points["eosin"] = np.where(rng.random(num) < 0.2, np.nan, rng.gamma(2, 0.2, num))
    return points.set_index(pd.Index(rng.permutation(num)))  # as after a filter or a sort


def traces_with_points(figure) -> list:
    return [trace for trace in figure.data if trace.customdata is not None]


def legend_counts(figure, legend: str = "legend") -> dict[str, int]:
    shown = [trace for trace in figure.data if trace.showlegend is not False and (trace.legend or "legend") == legend]
    entries = [re.fullmatch(r"(.+) \(([\d,]+)\)", trace.name).groups() for trace in shown]
    assert len({name for name, _ in entries}) == len(entries)
    return {name: int(count.replace(",", "")) for name, count in entries}


def colours_by_id(figure) -> dict[str, str]:
    return {i: trace.marker.color for trace in traces_with_points(figure) for i in trace.customdata}


@pytest.mark.parametrize("colour_by", ["center", "eosin"])
def test_every_tile_is_one_point_of_one_trace_at_its_place_with_its_shape(colour_by):
    points = map_points()
    found = {}
    for trace in traces_with_points(embedding_map_figure(points, colour_by, dark=True)):
        for i, x, y in zip(trace.customdata, trace.x, trace.y, strict=True):
            assert i not in found
            found[i] = (x, y, trace.marker.symbol)
    expected = {row.id: (row.x, row.y, SYMBOLS[row.origin][0]) for row in points.itertuples()}
    assert found == expected


@pytest.mark.parametrize("colour_by", ["center", "eosin"])
def test_the_counts_in_both_legends_are_those_of_the_table(colour_by):
    points = map_points()
    figure = embedding_map_figure(points, colour_by, dark=False)
    assert legend_counts(figure, "legend2") == points["origin"].value_counts().to_dict()
    counts = legend_counts(figure)
    if colour_by == "center":
        assert sum(counts.values()) == len(points)
        assert counts["Roswell Park"] == (points["center"] == "Roswell_Park").sum()
        assert counts["Mayo &lt;Clinic&gt;"] == (points["center"] == "Mayo <Clinic>").sum()
        assert counts["not recorded"] == (~points["center"].isin(CENTERS)).sum()
    else:
        assert counts == {"not recorded": points["eosin"].isna().sum()}


def test_a_value_has_one_colour_in_every_subset_if_all_values_are_given():
    points = map_points()
    whole = colours_by_id(embedding_map_figure(points, "center", dark=True))
    part = points[points["center"].isin(["Memorial", "Charité"]) & (points["origin"] != "real")]
    figure = embedding_map_figure(part, "center", dark=False, all_values=CENTERS)
    assert colours_by_id(figure) == {i: whole[i] for i in part["id"]}
    assert len(set(whole.values())) == len(CENTERS) + 1


def test_what_is_missing_is_grey_and_says_so():
    points = map_points()
    for colour_by, is_missing in (("center", ~points["center"].isin(CENTERS)), ("eosin", points["eosin"].isna())):
        traces = traces_with_points(embedding_map_figure(points, colour_by, dark=True))
        grey = [trace for trace in traces if isinstance(trace.marker.color, str) and trace.name.startswith("not rec")]
        assert {i for trace in grey for i in trace.customdata} == set(points["id"][is_missing])
        assert {trace.marker.color for trace in grey} == {NOT_RECORDED_COLOUR}


def test_one_entry_of_the_legend_switches_a_value_of_every_origin():
    figure = embedding_map_figure(map_points(), "center", dark=True)
    groups = Counter(trace.legendgroup for trace in traces_with_points(figure))
    assert groups["Memorial"] == len(SYMBOLS)
    assert Counter(t.legendgroup for t in traces_with_points(figure) if t.showlegend) == dict.fromkeys(groups, 1)


def test_rare_values_are_pooled_and_the_legend_says_how_many():
    values = [f"center_{i:02}" for i in range(MAX_VALUES + 7)]
    points = map_points(2000, values=values)
    figure = embedding_map_figure(points, "center", dark=True)
    counts = legend_counts(figure)
    assert len(counts) == MAX_VALUES + 2
    assert sum(counts.values()) == 2000
    frequencies = points["center"][points["center"].isin(values)].value_counts()
    assert counts["other (7 values)"] == frequencies.iloc[MAX_VALUES:].sum()
    pooled = [trace for trace in traces_with_points(figure) if trace.name.startswith("other")]
    assert {trace.marker.color for trace in pooled} == {POOLED_COLOUR}
    label_of = dict(zip(points["id"], points["center"], strict=True))
    for trace in pooled:  # the hover text still tells which
        assert list(trace.text) == [label_of[i].replace("_", " ") for i in trace.customdata]


def test_numbers_share_one_scale_with_a_bar_that_names_the_unit():
    points = map_points()
    figure = embedding_map_figure(points, "eosin", dark=True)
    scaled = [trace for trace in traces_with_points(figure) if trace.marker.coloraxis == "coloraxis"]
    assert len(scaled) == len(SYMBOLS)
    number_of = dict(zip(points["id"], points["eosin"], strict=True))
    for trace in scaled:
        np.testing.assert_allclose(trace.marker.color, [number_of[i] for i in trace.customdata])
    assert figure.layout.coloraxis.colorbar.title.text == "Eosin<br>(optical density)"


def test_the_map_keeps_its_zoom_when_recoloured_but_not_the_hidden_values():
    first, second = (embedding_map_figure(map_points(), column, dark=True).layout for column in ("center", "eosin"))
    assert first.uirevision == second.uirevision
    assert first.legend.uirevision != second.legend.uirevision
    assert first.selectionrevision != second.selectionrevision


def test_it_is_transparent_with_text_for_its_page_and_without_axes():
    dark, light = (embedding_map_figure(map_points(), "center", dark).layout for dark in (True, False))
    assert dark.font.color != light.font.color
    for layout in (dark, light):
        assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
        assert not layout.xaxis.visible
        assert not layout.yaxis.visible


def test_columns_of_other_kinds_are_values_too():
    points = map_points().assign(is_tumour=lambda p: p["x"] > 0, kind=lambda p: p["center"].astype("category"))
    assert set(legend_counts(embedding_map_figure(points, "is_tumour", dark=True))) == {"True", "False"}
    assert "Memorial" in legend_counts(embedding_map_figure(points, "kind", dark=True))
    assert set(legend_counts(embedding_map_figure(points, "origin", dark=True))) == set(SYMBOLS)


def test_no_tile_gives_an_empty_map():
    for colour_by in ("center", "eosin"):
        assert embedding_map_figure(map_points().iloc[:0], colour_by, dark=True).data == ()


def test_what_cannot_be_drawn_is_named():
    points = map_points()
    with pytest.raises(InvalidRequestError, match="the points lack gender; given: x, y, id, origin, center"):
        embedding_map_figure(points, "gender", dark=True)
    with pytest.raises(InvalidRequestError, match="origin must be real, synthetic, own, new; given also fake"):
        embedding_map_figure(points.assign(origin="fake"), "center", dark=True)
    with pytest.raises(InvalidRequestError, match=r"center has values that .* all_values: Memorial, Roswell_Park"):
        embedding_map_figure(points, "center", dark=True, all_values=["Charité", "Mayo <Clinic>"])
