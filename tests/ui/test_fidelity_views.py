"""The views of the Fidelity tab say what the tables say: values with n and interval, and what was not measured."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from medi_core.data.plain_rows import plain_rows
from medi_core.errors import ReferenceSetError
from medi_core.metadata.schema import MetadataRecord
from medi_core.services.asked_versus_got import Trust, measured_requests
from medi_core.services.copy_audit import copy_report
from medi_core.services.fidelity import ASKED, FLOOR
from medi_core.ui import copy_view, distance_view, request_view
from medi_core.ui.tables import table_html
from medi_core.ui.trust_badge import trust_badge

RECORD = MetadataRecord(cancer_type="Lung_adenocarcinoma", center="Lyon")
TRUST = Trust(0.5, "center", "rare", (0.4, 0.15, 0.7), 12, (0.8, 0.6, 0.9), 90, 8)


class FakeFidelity:
    """Answers with one trust, or an error."""

    def __init__(self, answer):
        self.answer = answer

    def trust_of(self, record):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def text_of(html: str) -> str:
    return re.sub("<[^>]*>", "", html)


def test_trust_is_shown_with_both_shares_their_intervals_and_numbers():
    text = text_of(trust_badge(FakeFidelity(TRUST), RECORD))
    assert text.startswith(
        "Trust 0.50. Such tiles show the center at least half as often as real ones do: compare a few"
    )
    assert "A probe finds the center asked for on 0.40 [0.15, 0.70] of 12 synthetic tiles" in text
    assert "rare pairs, and on 0.80 [0.60, 0.90] of 90 held-out real tiles of 8 patients" in text


@pytest.mark.parametrize(("found", "how_often"), [(0.0, "never"), (0.1, "seldom")])
def test_little_trust_says_in_words_what_it_means_and_what_to_do(found, how_often):
    little = replace(TRUST, value=found / 0.8, agreement=(found, 0.0, 0.3))
    text = text_of(trust_badge(FakeFidelity(little), RECORD))
    advice = f"Such tiles {how_often} show the center asked for: look at them, but do not use them as examples of it."
    assert text.startswith(f"Trust {found / 0.8:.2f}. {advice}")


def test_trust_that_was_not_measured_is_said_and_without_a_pair_or_a_set_there_is_none():
    assert "not measured" in trust_badge(FakeFidelity(None), RECORD)
    assert trust_badge(FakeFidelity(TRUST), MetadataRecord(center="Lyon")) == ""
    assert trust_badge(FakeFidelity(ReferenceSetError("another checkpoint")), RECORD) == ""


def fidelity_rows() -> pd.DataFrame:
    columns = ["subgroup", "compared", "n", "n_patients", "kid", "kid_sd", "fd", "precision"]
    rows = [
        ("Lung_benign", ASKED, 40, 9, 90.0, 5.0, 1200.0, 0.9),
        ("Lung_benign", FLOOR, 40, 9, 2.0, 3.0, 500.0, 0.8),
        ("Colon", ASKED, 4, 2, *[np.nan] * 4),
    ]
    return pd.DataFrame(rows, columns=columns)


def test_a_kernel_distance_has_its_spread_as_bar_and_other_measures_have_none():
    dots = distance_view.dots(fidelity_rows(), "kid")
    assert (dots["high"] - dots["value"]).tolist()[:2] == [5, 3]
    assert "40 tiles a side, 9 held-out patients" in dots["text"][0]
    assert distance_view.dots(fidelity_rows(), "precision")["low"].isna().all()


def test_subgroups_with_too_few_tiles_are_named_with_their_number():
    assert "Colon (4)" in distance_view.left_out(fidelity_rows())
    assert "Lung" not in distance_view.left_out(fidelity_rows())
    assert distance_view.left_out(fidelity_rows()[:2]) == ""


def asked_rows() -> pd.DataFrame:
    row = {"attribute": "center", "value": "Lyon", "agreement": 0.5, "ci_low": 0.2, "ci_high": 0.8, "n": 8}
    real = {"real_n": 30, "real_patients": 6, "real_agreement": 0.9, "real_ci_low": 0.7, "real_ci_high": 1.0}
    rows = [row | real | {"group": "seen"}, row | real | {"group": "rare", "agreement": np.nan, "n": 2}]
    return pd.DataFrame(rows).assign(ratio=0.55, chance=0.1)


def test_real_tiles_are_one_dot_a_value_beside_those_of_each_group():
    dots = request_view.dots(asked_rows())
    assert dots["series"].tolist() == ["seen", "rare", request_view.REAL]
    assert dots["text"][0] == "Lyon\nseen: 0.50 [0.20, 0.80]\n8 synthetic tiles"
    assert dots["text"][2] == "Lyon\nheld-out real: 0.90 [0.70, 1.00]\n30 tiles of 6 patients"
    assert set(dots["series"]) <= set(request_view.SERIES)


def test_the_stain_sentence_holds_both_correlations_with_their_numbers_or_nothing():
    stains = pd.DataFrame({"attribute": ["hematoxylin", "eosin"], "n": [60, 59], "spearman": [0.812, np.nan]})
    assert "hematoxylin 0.81 (60 tiles)" in request_view.stain_sentence(stains)
    assert "eosin" not in request_view.stain_sentence(stains)
    assert request_view.stain_sentence(stains[1:]) == ""


def test_tables_survive_being_kept_as_plain_json():
    rows = asked_rows()
    again = measured_requests({"center": plain_rows(rows)}, "center")
    pd.testing.assert_frame_equal(again[list(rows)], rows, check_dtype=False)
    assert measured_requests({}, "stains").empty


def test_the_audit_says_share_interval_n_and_what_it_was_read_against():
    n = 200
    tiles = pd.DataFrame({"origin": ["real"] * n + ["synthetic"] * 10, "split": ["test"] * n + [None] * 10})
    tiles["group"] = ["real"] * n + ["seen"] * 10
    tiles["window_similarity"] = [*np.linspace(0.3, 0.5, n), 0.99, *np.full(9, 0.35)]
    tiles = tiles.assign(cancer_type="Lung_benign", center=None, seed=7.0, window_image="a_b.png", id="x")
    report = copy_report(tiles)
    text = text_of(copy_view.summary(report))
    assert "0.10 [0.02, 0.40]" in text
    assert "1 % of 200 held-out real tiles begin" in text
    first = copy_view.rows_of(report.pairs)[0]
    assert first == ["0.990", "yes", "Lung benign", "any", "seen", "7", "a_b.png"]
    assert copy_view.csv_of(report).count(b"\n") == 11


def test_a_table_escapes_names_and_says_what_is_not_measured():
    html = table_html(
        pd.DataFrame({"name": ["<b>x</b>"], "share": [np.nan], "n": [1234]}), {"name": "A", "n": "n", "share": "S"}
    )
    assert "&lt;b&gt;x" in html
    assert re.findall(r"<td>(.*?)</td>", html) == ["1,234", "n/a"]
