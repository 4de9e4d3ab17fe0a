"""What the figures of a review show. Run: pytest tests/figures/test_review_figures.py"""

from medi_core.figures.review_figures import heat_figure, realism_figure, roc_figure, subgroup_figure


def test_realism_shows_shares_and_their_n():
    figure = realism_figure({"real": [0, 0, 0, 1, 3], "synthetic": [0, 0, 0, 0, 0]})
    (bars,) = figure.data
    assert bars.name == "real (4 answers)"
    assert list(bars.y) == [0, 0, 0, 0.25, 0.75]


def test_roc_curves_are_thin_of_readers_and_thick_of_all_and_name_their_area_interval_and_n():
    points = [
        {"reader": reader, "false_positive_rate": x, "true_positive_rate": y}
        for reader in ("R01", "R02", "pooled")
        for x, y in ((0, 0), (0.25, 0.75), (1, 1))
    ]
    known = {"value": 0.75, "ci_low": 0.5, "ci_high": 0.875, "n": 1600}
    unknown = {"value": 0.75, "ci_low": None, "ci_high": None, "n": 8}
    figure = roc_figure(points, {"R01": known, "R02": unknown, "pooled": known, "mean": known})
    chance, *readers, pooled = figure.data
    assert list(chance.x) == list(chance.y) == [0, 1]
    assert all(reader.line.width < pooled.line.width for reader in readers)
    assert list(pooled.x) == [0, 0.25, 1]
    assert list(pooled.y) == [0, 0.75, 1]
    assert pooled.name == "all answers pooled: AUC 0.75 (0.50 to 0.88; n = 1,600)"
    assert readers[1].name == "R02: AUC 0.75 (n/a; n = 8)"
    assert "mean over readers: AUC 0.75 (0.50 to 0.88; n = 1,600)" in figure.layout.title.text


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
