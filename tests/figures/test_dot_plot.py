"""A dot stands at its value, its bar is its interval, and what was not measured is not drawn."""

import pandas as pd

from medi_core.figures.dot_plot import dot_plot

TABLE = pd.DataFrame(
    [
        ("Lung_benign", "real", 0.8, 0.7, 0.95, "a<b\nsecond line"),
        ("Lung_benign", "synthetic", 0.4, 0.3, 0.6, "40 tiles"),
        ("Colon", "real", 0.5, float("nan"), float("nan"), "one patient"),
        ("Colon", "synthetic", float("nan"), float("nan"), float("nan"), "none"),
        ("Skin", "synthetic", float("nan"), float("nan"), float("nan"), "none"),
    ],
    columns=["label", "series", "value", "low", "high", "text"],
)


def test_a_bar_reaches_from_low_to_high_and_is_missing_without_an_interval():
    real, synthetic = dot_plot(TABLE, ("real", "synthetic"), "share", dark=False).data
    assert list(real.x) == [0.8, 0.5]
    ends = [(x - m, x + p) for x, m, p in zip(real.x, real.error_x.arrayminus, real.error_x.array, strict=True)]
    assert [tuple(round(end, 6) for end in pair) for pair in ends] == [(0.7, 0.95), (0.5, 0.5)]
    assert list(synthetic.x) == [0.4]


def test_labels_stand_in_order_from_the_top_and_those_without_a_value_are_left_out():
    figure = dot_plot(TABLE, ("real", "synthetic"), "share", dark=False)
    assert list(figure.layout.yaxis.ticktext) == ["Lung benign", "Colon"]
    low, high = figure.layout.yaxis.range
    assert low > high, "the first label is on top"
    real, synthetic = figure.data
    assert [round(y) for y in real.y] == [0, 1]
    assert real.y[0] != synthetic.y[0], "dots of one label do not hide each other"


def test_a_series_keeps_its_colour_and_shape_whatever_else_is_drawn():
    series = ("other", "real", "synthetic")
    both = {trace.name: trace.marker for trace in dot_plot(TABLE, series, "share", dark=True).data}
    alone = dot_plot(TABLE[TABLE["series"] == "synthetic"], series, "share", dark=True).data[0].marker
    assert (both["synthetic"].color, both["synthetic"].symbol) == (alone.color, alone.symbol)
    assert both["real"].color != both["synthetic"].color
    assert both["real"].symbol != both["synthetic"].symbol


def test_texts_are_not_read_as_html():
    assert dot_plot(TABLE, ("real", "synthetic"), "share", dark=False).data[0].text[0] == "a&lt;b<br>second line"
