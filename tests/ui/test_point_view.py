"""What a click or a lasso on the map shows: facts as they are, nothing a name could inject, images only if attached."""

import numpy as np
import pandas as pd

from medi_core.services.embedding import PointDetails
from medi_core.ui.point_view import counts_html, facts_html, neighbours_html


def details(pixels: np.ndarray | None = None, **facts: object) -> PointDetails:
    neighbours = pd.DataFrame(
        {
            "id": ["4", "7"],
            "distance": [0.5, 1.25],
            "cancer_type": ["Lung_adenocarcinoma", None],
            "center": ["Lyon", "<b>Rome</b>"],
            "patient_id": ["P1", np.nan],
        }
    )
    return PointDetails("3", {"origin": "real", **facts}, pixels, None, neighbours)


def test_facts_are_readable_and_say_where_an_image_that_is_not_here_comes_from():
    html = facts_html(details(cancer_type="Lung_adenocarcinoma", image="a.jpg", x=58.0, y=7.0, patient_id="P1"))
    for text in ("Cancer type", "Lung adenocarcinoma", "a.jpg at x = 58, y = 7 px", "--tiles manifest.csv"):
        assert text in html
    assert "--tiles" not in facts_html(details(np.zeros((8, 8, 3), np.uint8)))


def test_markup_in_a_value_is_shown_not_run():
    assert "<script>" not in facts_html(details(source="<script>alert(1)</script>"))
    assert "<b>Rome</b>" not in neighbours_html(details(), lambda _: None)


def test_neighbours_have_a_picture_only_where_it_is_attached():
    html = neighbours_html(details(), lambda point: np.zeros((8, 8, 3), np.uint8) if point == "7" else None)
    assert html.count("<img") == 1
    assert html.count("<td>not recorded") == 2
    assert html.index("0.50") < html.index("1.25")


def test_the_head_of_the_counts_is_their_sum():
    counts = pd.DataFrame({"value": ["Lyon", "Rome"], "real": [1200, 3], "synthetic": [0, 4], "patients": [9, 1]})
    html = counts_html(counts, "center")
    assert "1,203 real and 4 synthetic tiles" in html
    assert "Center" in html
