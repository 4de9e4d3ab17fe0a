"""Answers → numbers, against counts written out by hand. Run: pytest tests/services/test_study_results.py"""

import io
import json
import zipfile
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from medi_core.metrics.intervals import wilson_interval
from medi_core.review.blinding import REPEATS, TILES
from medi_core.review.review_store import Study
from medi_core.review.study import StudyDesign
from medi_core.services.study_answers import CODEBOOK, answers_csv, answers_table, export_zip
from medi_core.services.study_results import HEAT_CELLS, study_results

TASKS = ("origin", "realism", "morphology", "artefacts", "comment")
START = datetime(2026, 1, 1, 9, tzinfo=UTC)
FORMULA = '=HYPERLINK("http://x")'
READERS = ("key-of-ann", "key-of-bob")


def row(reader: str, tile: int, task: str, value, block: int = TILES, **given) -> dict:
    """Even tiles are real."""
    kind = ("real", "synthetic")[tile % 2]
    facts = {"origin": kind, "cancer_type": "A" if tile < 4 else "B", "center": "C", "support": "seen"}
    facts |= {"case": f"patient-{tile}", "tile": f"digest-{tile}"}
    moment = START + timedelta(seconds=10 * tile)
    answer = {"reader": reader, "years": 4.0, "speciality": "other", "item": f"item-{block}-{tile}", "block": block}
    prompts = {"morphology": {"options": ["gland", "mucin"]}}
    answer |= {"task": task, "value": value, "answered_at": moment.isoformat(), "corrections": 0}
    return answer | {"facts": facts, "prompts": prompts} | given


def rows() -> list[dict]:
    """8 tiles; the first reader is always right, the second calls all real; real ones look like 5, others like 2."""
    answers = []
    for reader in READERS:
        for tile in range(8):
            is_real = tile % 2 == 0
            choice = "real" if is_real or reader == READERS[1] else "synthetic"
            answers += [
                row(reader, tile, "origin", {"choice": choice, "confidence": 4}),
                row(reader, tile, "realism", 5 if is_real else 2 + (tile == 1)),
                row(reader, tile, "morphology", ["gland"] if is_real else []),
                row(reader, tile, "artefacts", [] if is_real else [[0.99, 0.01]]),
                row(reader, tile, "comment", FORMULA if tile == 3 else " "),
            ]
        answers.append(row(reader, 0, "origin", {"choice": "synthetic", "confidence": 1}, REPEATS))
        answers.append(row(reader, 1, "origin", {"choice": "synthetic", "confidence": 1}, REPEATS))
    return answers


def study(**given) -> Study:
    design = StudyDesign("S", TASKS, num_tiles=8, num_repeats=2, **given)
    return Study("s", design, {"checkpoint": "c"}, START.isoformat(), START.isoformat())


@pytest.fixture(scope="module")
def results() -> dict:
    return study_results(study(), rows())


def test_accuracy_sensitivity_and_specificity_count_first_showings_only(results):
    overall = results["origin"]["overall"]
    assert (overall["accuracy"]["value"], overall["accuracy"]["n"]) == (0.75, 16)
    assert (overall["sensitivity"]["value"], overall["sensitivity"]["n"]) == (0.5, 8)
    assert (overall["specificity"]["value"], overall["specificity"]["n"]) == (1, 8)
    assert (overall["accuracy"]["num_readers"], overall["accuracy"]["num_cases"]) == (2, 8)
    # half of the synthetic ones tie with the real ones; of one reader none does, of the other all
    assert overall["auc_pooled"]["value"] == overall["auc"]["value"] == pytest.approx(0.75)
    assert sorted(own["auc"]["value"] for own in results["origin"]["by_reader"]) == [0.5, 1]
    d_primes = [own["d_prime"]["value"] for own in results["origin"]["by_reader"]]
    assert overall["d_prime"]["value"] == pytest.approx(sum(d_primes) / 2)
    assert overall["d_prime_pooled"]["value"] < max(d_primes)
    assert overall["accuracy"]["ci_low"] < 0.75 < overall["accuracy"]["ci_high"]


def test_roc_curves_of_readers_and_of_all_have_the_areas_that_are_told(results):
    origin, curves = results["origin"], pd.DataFrame(results["origin"]["roc"]).groupby("reader")
    told = {row["reader"]: row["auc"] for row in origin["by_reader"]} | {"pooled": origin["overall"]["auc_pooled"]}
    assert set(curves.groups) == set(told)
    for reader, curve in curves:
        area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])
        assert area == pytest.approx(told[reader]["value"])
        assert curve[["false_positive_rate", "true_positive_rate"]].iloc[[0, -1]].to_numpy().tolist() == [
            [0, 0],
            [1, 1],
        ]
    # called synthetic with confidence 4 or more: half of the synthetic tiles, no real one
    pooled = curves.get_group("pooled").set_index("threshold")
    assert tuple(pooled.loc[4.0, ["false_positive_rate", "true_positive_rate"]]) == (0, 0.5)


def test_one_reader_has_wilsons_interval(results):
    perfect, _ = sorted(results["origin"]["by_reader"], key=lambda r: -r["accuracy"]["value"])
    assert (perfect["accuracy"]["ci_low"], perfect["accuracy"]["ci_high"]) == wilson_interval(8, 8)


def test_the_tiles_that_fooled_are_told_from_those_that_fooled_nobody(results):
    fooled = results["origin"]["fooled"]
    assert {(t["origin"], t["wrong"], t["n"]) for t in fooled["most"]} == {("synthetic", 1, 2)}
    assert {t["origin"] for t in fooled["nobody"]} == {"real"}
    assert len(fooled["most"]) == len(fooled["nobody"]) == 4


def test_realism_is_compared_between_real_and_synthetic(results):
    realism = results["realism"]
    assert realism["counts"] == {"real": [0, 0, 0, 0, 8], "synthetic": [0, 6, 2, 0, 0]}
    assert realism["real_minus_synthetic"]["value"] == pytest.approx(5 - 2.25)
    assert realism["real_minus_synthetic"]["ci_low"] > 0


def test_subgroups_add_up_to_the_whole(results):
    for by in ("cancer_type", "center", "support"):
        parts = [r for r in results["by_subgroup"] if (r["by"], r["task"], r["measure"]) == (by, "origin", "accuracy")]
        assert sum(r["n"] for r in parts) == 16
        assert sum(r["n"] * r["value"] for r in parts) == pytest.approx(12)


def test_subgroups_have_sensitivity_specificity_and_realism_by_origin(results):
    found = {(r["task"], r["measure"], r["subgroup"]): r for r in results["by_subgroup"] if r["by"] == "cancer_type"}
    assert (found["origin", "sensitivity", "A"]["value"], found["origin", "sensitivity", "A"]["n"]) == (0.5, 4)
    assert (found["origin", "specificity", "B"]["value"], found["origin", "specificity", "B"]["n"]) == (1, 4)
    assert found["realism", "mean, real", "A"]["value"] == 5
    assert found["realism", "mean, synthetic", "A"]["value"] == 2.5
    without_real = [answer for answer in rows() if answer["facts"]["origin"] == "synthetic"]
    alone = study_results(study(), without_real)["by_subgroup"]
    assert {r["measure"] for r in alone if r["task"] == "realism"} == {"mean, synthetic"}


def test_one_who_stopped_early_does_not_undo_the_agreement_of_the_others(results):
    stopped = [row("key-of-eve", tile, "realism", 1) for tile in range(3)]
    (before,), (after,) = (
        [r for r in found["agreement"] if (r["task"], r["of"]) == ("realism", "between readers")]
        for found in (results, study_results(study(), rows() + stopped))
    )
    assert before == after
    assert (after["n"], after["num_readers"]) == (16, 2)


def test_agreement_is_between_readers_and_within_them(results):
    rows_of = {(r["task"], r["of"]): r for r in results["agreement"]}
    assert rows_of["realism", "between readers"]["value"] == pytest.approx(1)
    between = rows_of["origin", "between readers"]
    assert between["value"] == pytest.approx(1 - 4 / 8 / (1 - (12 / 16) ** 2 - (4 / 16) ** 2))
    # twice each: real → synthetic both times; synthetic → synthetic, real → synthetic
    assert rows_of["origin", "within readers"]["n"] == 4
    assert rows_of["origin", "within readers"]["value"] == pytest.approx(0)


def test_marks_are_in_the_corner_where_they_were_set(results):
    heat = results["artefacts"]["synthetic"]["heat"]
    assert heat[0][HEAT_CELLS - 1] == 1
    assert sum(map(sum, heat)) == 1
    assert results["artefacts"]["real"]["marked"]["value"] == 0


def test_features_and_comments_are_listed(results):
    ticked = {(r["cancer_type"], r["feature"], r["origin"]): r["value"] for r in results["morphology"]}
    assert ticked["A", "gland", "real"] == 1
    assert ticked["B", "gland", "synthetic"] == ticked["A", "mucin", "real"] == 0
    assert [comment["comment"] for comment in results["comment"]] == [FORMULA] * 2


def test_results_are_json_even_of_a_study_that_nobody_answered():
    json.dumps(study_results(study(), rows()), allow_nan=False)
    empty = study_results(study(), [])
    json.dumps(empty, allow_nan=False)
    assert empty["readers"]["n"] == 0


def test_the_export_names_no_reader_no_patient_and_no_time_of_day(results):
    with zipfile.ZipFile(io.BytesIO(export_zip(results, rows()))) as archive:
        assert set(archive.namelist()) == {"answers.csv", "codebook.csv", "roc.csv", "results.json"}
        everything = "".join(archive.read(name).decode() for name in archive.namelist() if name != "results.json")
        codebook = pd.read_csv(archive.open("codebook.csv"))
        answers = pd.read_csv(archive.open("answers.csv"))
        roc = pd.read_csv(archive.open("roc.csv"))
    for secret in ("key-of", "patient-", "digest-", "09:00", "2026-01"):
        assert secret not in everything
    assert list(answers.columns) == list(codebook["column"]) == list(CODEBOOK)
    assert len(answers) == len(rows())
    assert set(answers["reader"]) == {"R01", "R02"}
    assert set(roc["reader"]) == {"R01", "R02", "pooled"}


def test_numbers_of_readers_say_nothing_of_who_joined_first():
    table = answers_table(rows())
    swapped = answers_table([r | {"answered_at": (START - timedelta(days=1)).isoformat()} for r in rows()[::-1]])
    assert set(table["reader"]) == set(swapped["reader"])
    assert table["seconds"].max() == 70


def test_no_cell_of_the_csv_is_run_by_a_spreadsheet():
    values = pd.read_csv(io.StringIO(answers_csv(rows())), dtype=str)["value"]
    assert not values.str.startswith(("=", "+", "-", "@")).any()
    assert json.loads(values[values.str.contains("HYPERLINK")].iloc[0]) == FORMULA
