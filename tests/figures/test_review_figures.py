"""What the figures of a review show. Run: pytest tests/figures/test_review_figures.py"""

from medi_core.figures.review_figures import heat_figure, realism_figure, subgroup_figure


def test_realism_shows_shares_and_their_n():
    figure = realism_figure({"real": [0, 0, 0, 1, 3], "synthetic": [0, 0, 0, 0, 0]})
    (bars,) = figure.data
    assert bars.name == "real (4 answers)"
    assert list(bars.y) == [0, 0, 0, 0.25, 0.75]


def test_a_subgroup_has_its_interval_and_one_without_a_value_is_left_out():
    rows = [
        {"subgroup": "A_b <i>", "value": 0.5, "ci_low": 0.25, "ci_high": 0.875, "n": 8},
        {"subgroup": "empty", "value": None, "ci_low": None, "ci_high": None, "n": 0},
        {"subgroup": "one", "value": 1.0, "ci_low": None, "ci_high": None, "n": 1},
    ]
    (points,) = subgroup_figure(rows).data
    assert list(points.y) == ["one (n = 1)", "A b &lt;i&gt; (n = 8)"]
    assert list(points.error_x.array) == [0, 0.375]
    assert list(points.error_x.arrayminus) == [0, 0.25]


def test_heat_maps_share_one_scale_and_have_their_rows_from_the_top():
    figure = heat_figure({"real": [[0.0, 0.5], [0, 0]], "synthetic": [[0, 0], [0, 0.25]]})
    assert [trace.zmax for trace in figure.data] == [0.5, 0.5]
    assert figure.layout.yaxis.autorange == figure.layout.yaxis2.autorange == "reversed"
    assert figure.layout.xaxis2.title.text == "synthetic"
