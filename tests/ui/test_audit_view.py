"""The audit tab: an upload becomes a ranking, a click becomes confusions, a cell becomes a request for tiles."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pandas as pd
import pytest

from medi_core.commands.evaluation import MEASURES as OFFERED
from medi_core.data.reference_set import COLUMNS, ReferenceSet, write_reference
from medi_core.metrics.classification import MEASURES as MEASURED
from medi_core.services.audit import AuditConfig, AuditService
from medi_core.ui.audit_tables import CHOSEN_NOTE, MEASURES, cell_html, measure_title, overall_html, ranking_html
from medi_core.ui.audit_view import ALL_TILES, NO_COLUMN, NOTHING

LUNG, BREAST = "Lung_adenocarcinoma", "Breast_invasive_carcinoma"
NUM = 90
SETTINGS = ("balanced_accuracy", "cancer_type", "center", ALL_TILES)


@pytest.fixture(scope="module")
def table(running_app) -> Iterator[pd.DataFrame]:
    """A reference set of 90 tiles of 18 patients beside the running app, and predictions that are bad at Rome."""
    i = np.arange(NUM)
    tiles = pd.DataFrame({"id": [f"{n:032x}" for n in i], "origin": "real", "split": "test", "dataset": "<i>toy</i>"})
    tiles["patient_id"] = [f"P{n % 18}" for n in i]
    tiles["center"] = np.array(["Lyon", "Paris", "Rome"], dtype=object)[i % 3]
    tiles["cancer_type"] = np.array([LUNG, BREAST], dtype=object)[i % 2]
    reference = ReferenceSet(tiles.reindex(columns=COLUMNS), np.ones((NUM, 2), np.float32), {})
    folder = running_app.services.settings.assets_dir / "reference"
    write_reference(reference, folder)
    wrong = (tiles["center"] == "Rome") & (i % 4 < 2)
    predicted = np.where(wrong, np.where(tiles["cancer_type"] == LUNG, BREAST, LUNG), tiles["cancer_type"])
    yield pd.DataFrame({"tile": tiles["id"], "true": tiles["cancer_type"], "predicted": predicted})
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def upload(table, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("upload") / "mine.csv"
    table.to_csv(path, index=False)
    return str(path)


def call(running_app, name: str, *values):
    """Run a handler of the audit view, by its name, as the page does."""
    functions = {block.fn for block in running_app.blocks.fns.values() if block.fn}
    (found,) = [fn for fn in functions if (fn.__module__, fn.__name__) == ("medi_core.ui.audit_view", name)]
    return found(*values)


@pytest.fixture
def uploaded(running_app, upload):
    return call(running_app, "on_upload", upload)[0]


def test_the_tab_stands_after_the_map_and_holds_the_audit(running_app):
    labels = [block.label for block in running_app.blocks.blocks.values() if isinstance(block, gr.Tab)]
    assert labels.index("Subgroup accuracy") > labels.index("Map")
    assert "Audit of a model" in labels


def test_without_shipped_predictions_the_view_says_so_and_shows_no_number(running_app, table):
    found, is_dark, text, *_ = call(running_app, "on_sight", None, SimpleNamespace(dark=True))
    assert (found, is_dark, text) == (None, True, NOTHING)
    overall, _, ranking, *_ = call(running_app, "on_audit", None, True, *SETTINGS, 5, 2)
    assert (overall, ranking) == ("", "")


def test_a_removed_upload_is_audited_no_more_where_nothing_is_shipped(running_app, table):
    assert call(running_app, "on_clear")[:2] == (None, NOTHING)
    overall, figure, ranking, download, inside = call(running_app, "on_audit", None, True, *SETTINGS, 5, 2)
    assert (overall, figure, ranking) == ("", "", "")
    assert download["visible"] is inside["visible"] is False


def test_shipped_predictions_are_audited_at_first_sight_and_come_back_when_an_upload_is_removed(running_app, table):
    path = running_app.services.settings.assets_dir / "predictions.parquet"
    shipped = table.copy()
    shipped.attrs["model"] = "lite0 <b>"
    shipped.to_parquet(path)
    found, _, text, *_ = call(running_app, "on_sight", None, SimpleNamespace(dark=False))
    assert len(found.tiles) == NUM
    assert text.startswith("<b>lite0 &lt;b&gt;</b>: 90 tiles, 2 classes, without probabilities")
    assert call(running_app, "on_clear")[0].model == "lite0 <b>"
    path.unlink()


def test_a_reference_set_that_is_missing_is_said_in_the_view(running_app, monkeypatch, tmp_path):
    (tmp_path / "predictions.parquet").write_bytes(b"")
    service = AuditService(tmp_path / "reference", tmp_path / "predictions.parquet")
    monkeypatch.setattr(running_app.services.audit, "shipped", service.shipped)
    found, _, text, *_ = call(running_app, "on_sight", None, SimpleNamespace(dark=False))
    assert found is None
    assert 'role="alert"' in text
    assert "there is no reference set" in text


def test_an_upload_offers_what_it_allows(running_app, upload, table):
    found, text, measure, rows, columns, tiles = call(running_app, "on_upload", upload)
    assert found.model == "mine"
    assert "90 tiles, 2 classes, without probabilities" in text
    assert [value for _, value in measure.choices] == ["balanced_accuracy", "accuracy", "f1"]
    assert [value for _, value in rows.choices] == ["true", "cancer_type", "center", "dataset", "split"]
    assert (measure.value, rows.value, columns.value, tiles) == SETTINGS
    assert columns.choices[0][1] == NO_COLUMN


def test_every_measure_has_a_name_here_and_a_flag_on_the_command_line():
    assert set(MEASURES) == set(MEASURED) == set(OFFERED)


def test_a_cohort_that_was_classified_is_audited_and_the_first_sight_of_the_view_leaves_it(running_app, uploaded):
    for answer in (
        call(running_app, "on_own", uploaded),
        call(running_app, "on_sight", uploaded, SimpleNamespace(dark=False)),
    ):
        assert answer[0] is uploaded
    assert call(running_app, "on_own", None)[0] is None


def test_a_bad_upload_is_a_message(running_app, table, tmp_path):
    table.drop(columns="true").to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(gr.Error, match=r"bad\.csv lacks the column true"):
        call(running_app, "on_upload", str(tmp_path / "bad.csv"))


def test_an_audit_shows_overall_worst_gap_ranking_figure_and_a_table_to_download(running_app, uploaded):
    overall, figure, ranking, download, inside = call(running_app, "on_audit", uploaded, False, *SETTINGS, 5, 2)
    assert "Balanced accuracy 0.833 [" in overall
    assert "on 90 tiles of 18 patients" in overall
    assert "Worst of 6:" in overall
    assert "Rome. Recall 0.467 [" in overall
    assert "Gap:" in overall
    assert CHOSEN_NOTE in overall
    assert [trace["type"] for trace in json.loads(figure)["data"]] == ["heatmap", "heatmap", "scatter"]
    assert ranking.index("Rome") < ranking.index("Lyon")
    assert len(pd.read_csv(download["value"])) == 6
    assert inside["visible"] is False


def test_one_attribute_is_drawn_as_dots_and_the_same_twice_is_one(running_app, uploaded):
    for columns in (NO_COLUMN, "center"):
        settings = ("accuracy", "center", columns, ALL_TILES)
        _, figure, ranking, *_ = call(running_app, "on_audit", uploaded, True, *settings, 5, 2)
        (trace,) = json.loads(figure)["data"]
        assert trace["customdata"] == [["Rome"], ["Lyon"], ["Paris"]]
        assert ranking.count("<tr>") == 4


def test_a_click_shows_the_confusions_of_the_cell_and_offers_its_tiles(running_app, uploaded):
    event = SimpleNamespace(point=[LUNG, "Rome"])
    inside, html, button, record = call(running_app, "on_cell", uploaded, *SETTINGS, None, event)
    assert inside["visible"] is button["visible"] is True
    assert record == {"cancer_type": LUNG, "center": "Rome"}
    own = uploaded.tiles[(uploaded.tiles["cancer_type"] == LUNG) & (uploaded.tiles["center"] == "Rome")]
    num_wrong = int((own["true"] != own["predicted"]).sum())
    assert f'<td>Breast invasive carcinoma</td><td><span class="medi-off">wrong</span></td><td>{num_wrong}</td>' in html
    assert f"of {len(own)} tiles, wrong ones first" in html
    assert "--tiles" in html, "images are not here, and the view says how to get them"


def test_tiles_are_offered_only_for_what_the_checkpoint_knows(running_app, uploaded):
    for rows, point, known in (("center", ["Lyon"], True), ("center", ["Mars"], False), ("split", ["test"], False)):
        settings = ("accuracy", rows, NO_COLUMN, ALL_TILES)
        _, _, button, record = call(running_app, "on_cell", uploaded, *settings, None, SimpleNamespace(point=point))
        assert button["visible"] is known
        assert bool(record) is known


def test_a_cell_handed_over_fills_the_controls_of_generate_and_clears_the_rest(running_app):
    (fill,) = [b for b in running_app.blocks.fns.values() if getattr(b.fn, "__name__", "") == "on_handed_over"]
    values = dict(
        zip([c.label for c in fill.outputs], fill.fn(({"cancer_type": LUNG, "center": "Rome"}, 1.0)), strict=True)
    )
    assert (values["Cancer type"], values["Center"]) == (LUNG, "Rome")
    assert {value for label, value in values.items() if label not in ("Cancer type", "Center")} <= {"", 0}
    source = fill.inputs[0]
    given = [b for b in running_app.blocks.fns.values() if source in b.outputs and b.fn is not fill.fn]
    assert given, "a button hands the cell over"


def test_a_tile_has_its_picture_where_it_is_attached_and_no_name_is_run_as_markup(uploaded, running_app):
    by = ["center", "dataset"]
    cell = running_app.services.audit.cell(uploaded, by, ["Rome", "<i>toy</i>"], AuditConfig())
    pixels = np.zeros((8, 8, 3), np.uint8)
    html = cell_html(cell, lambda row: pixels if row["id"] == cell.tiles["id"][0] else None)
    assert html.count("<img") == 1
    audit = running_app.services.audit.audit(uploaded, by, AuditConfig(min_tiles=1, min_patients=1))
    for text in (html, ranking_html(audit), overall_html(uploaded, audit)):
        assert "<i>" not in text
        assert "&lt;i&gt;toy" in text


def test_small_subgroups_are_marked_and_nothing_is_called_worst_where_none_is_large_enough(uploaded, running_app):
    audit = running_app.services.audit.audit(uploaded, ["center"], AuditConfig(min_tiles=500))
    assert ranking_html(audit).count("<td>not ranked</td>") == 3
    text = overall_html(uploaded, audit)
    assert "No subgroup is large enough to be ranked: each has fewer than 500 tiles or 3 patients" in text
    assert "Worst" not in text
    assert "Gap: none" in text


def test_equalized_odds_alone_are_told_to_be_found_by_looking_and_between_classes_there_are_none(uploaded, running_app):
    service, config = running_app.services.audit, AuditConfig(min_tiles=1, min_patients=1)
    odds_alone = replace(service.audit(uploaded, ["center"], config), gap=None)
    assert odds_alone.equalized_odds is not None
    assert CHOSEN_NOTE in overall_html(uploaded, odds_alone)
    assert CHOSEN_NOTE not in overall_html(uploaded, replace(odds_alone, equalized_odds=None))
    by_class = overall_html(uploaded, service.audit(uploaded, ["cancer_type"], config))
    assert "Equalized-odds difference: none, for the subgroups are the true classes themselves" in by_class
    crossed = overall_html(uploaded, service.audit(uploaded, ["cancer_type", "center"], config))
    assert "Equalized-odds difference over center:" in crossed


def test_values_are_called_what_they_are_in_the_gap_the_axis_and_the_colour_bar(uploaded, running_app):
    service, config = running_app.services.audit, AuditConfig(min_tiles=1, min_patients=1)
    recalls = service.audit(uploaded, ["cancer_type", "center"], config)
    assert recalls.gap.of == "recall"
    assert " in recall, between " in overall_html(uploaded, recalls)
    assert measure_title(recalls) == "Recall"
    _, figure, *_ = call(
        running_app, "on_audit", uploaded, False, "accuracy", "cancer_type", NO_COLUMN, ALL_TILES, 5, 2
    )
    assert json.loads(figure)["layout"]["xaxis"]["title"]["text"] == "Recall"
    assert measure_title(service.audit(uploaded, ["center"], config)) == "Balanced accuracy"


def test_recalls_beside_balanced_accuracies_are_pointed_out(uploaded, running_app):
    tiles = uploaded.tiles
    only_lung = uploaded.part((tiles["center"] != "Rome") | (tiles["true"] == LUNG))
    config = AuditConfig(min_tiles=1, min_patients=1)
    audit = running_app.services.audit.audit(only_lung, ["center"], config)
    assert measure_title(audit) == "Recall or balanced accuracy"
    text = overall_html(only_lung, audit)
    assert "Recalls of one class stand beside values of balanced accuracy." in text
    assert "in recall of Lung adenocarcinoma against balanced accuracy, between" in text
    alike = running_app.services.audit.audit(uploaded, ["center"], config)
    assert "stand beside" not in overall_html(uploaded, alike)
