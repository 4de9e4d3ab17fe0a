"""The Augment tab: what it says is what the plan holds, a cell of the audit is filled, and bad settings are named."""

import dataclasses
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pandas as pd
import pytest

from medi_core.metadata.schema import MetadataRecord
from medi_core.planning.plan import AugmentationPlan, PlannedCell
from medi_core.planning.targets import LIFT, MATCH, UNIFORM, WORST
from medi_core.services.dataset_generation import MAX_TILES_IN_APP
from medi_core.ui import augment_tab
from medi_core.ui.augment_tab import COHORT, REFERENCE, keys_of, plan_shown, said_html
from medi_core.ui.runs import RunStop

BREAST, LUNG = "Breast_invasive_carcinoma", "Lung_adenocarcinoma"
SETTINGS = {
    **{
        "cohort": None,
        "source": REFERENCE,
        "by": ["cancer_type", "center"],
        "target": UNIFORM,
        "level": 0,
        "quantile": 0.5,
        "cells": [],
        "given": None,
        "cap": 0,
    },
    **{"ratio": 4, "min_trust": 0, "measured_only": False, "empty": False, "seed": 3},
}
TILES = pd.DataFrame(
    [(BREAST, "Lyon", f"P{i // 2}") for i in range(8)] + [(LUNG, "Lyon", "P9"), (LUNG, None, "P9")],
    columns=["cancer_type", "center", "patient_id"],
)


def cell(center: str, planned: int, **facts) -> PlannedCell:
    numbers = {"real_tiles": 4, "real_patients": 2, "support_tiles": 3, "support_patients": 1, "trust": 0.4} | facts
    return PlannedCell(MetadataRecord(cancer_type=LUNG, center=center), planned_tiles=planned, **numbers)


@pytest.fixture
def plan() -> AugmentationPlan:
    cells = (
        cell("Lyon", 5),
        cell("Paris", 2, support_tiles=0, trust=None),
        cell("<b>Rome</b>", 0, left_out="trust 0.10 is below 0.50"),
    )
    return AugmentationPlan("toy@1", ("cancer_type", "center"), {"kind": UNIFORM, "tiles_without_a_cell": 6}, cells)


def handler(running_app, name: str):
    """A handler of the Augment tab."""
    found = [
        b
        for b in running_app.blocks.fns.values()
        if getattr(b.fn, "__name__", "") == name and "augment_tab" in getattr(b.fn, "__module__", "")
    ]
    return found[0]


@pytest.fixture
def tiles(running_app, monkeypatch) -> pd.DataFrame:
    monkeypatch.setattr(running_app.services.augmentation.__class__, "training_tiles", lambda _: TILES)
    return TILES


def run(running_app, **changes) -> tuple:
    return handler(running_app, "on_plan").fn(False, *(SETTINGS | changes).values())


def test_the_words_count_what_the_plan_holds(plan):
    said = said_html(plan)
    assert "7 synthetic tiles</b> in 2 of 3 cells, beside 12 real tiles. 6 more real tiles are in no cell" in said
    assert "2 of them are of values or pairs that the generator never saw" in said
    assert "In 1 cell of these the trust is not measured" in said
    assert "1 cell left out" in said
    assert "&lt;b&gt;Rome&lt;/b&gt;: trust 0.10 is below 0.50" in said


def test_figure_files_and_table_hold_the_same_numbers(plan):
    _, figure, as_json, as_csv, table = plan_shown(plan, dark=False)
    before, after = json.loads(figure)["data"]
    assert sum(int(text) for row in before["text"] for text in row if text) == 12
    assert sum(int(text) for row in after["text"] for text in row if text) == 19
    assert AugmentationPlan.from_dict(json.loads(Path(as_json["value"]).read_text())) == plan
    assert pd.read_csv(as_csv["value"])["planned_tiles"].tolist() == [5, 2, 0]
    assert "n/a" in table, "a trust that is not measured is not shown as a number"


def test_cells_to_choose_from_come_with_the_smallest_first(plan):
    assert keys_of(plan)[0] == (LUNG, "Lyon")


def test_settings_become_the_plan(running_app, tiles):
    said, *_, cells, _, _, _ = run(running_app)
    assert "7 synthetic tiles</b> in 1 of 2 cells" in said
    assert cells["choices"][0] == f"{LUNG} | Lyon"
    assert "3 synthetic tiles" in run(running_app, cap=3)[0]
    assert "2 synthetic tiles" in run(running_app, ratio=0.25)[0]
    assert "1 synthetic tile<" in run(running_app, target=WORST, cells=[f"{LUNG} | Lyon"], level=2)[0]
    seeds = [json.loads(Path(run(running_app, seed=seed)[2]["value"]).read_text())["seed"] for seed in (0, 5)]
    assert seeds == [0, 5]


def test_cells_to_choose_from_follow_the_subgroups(running_app, tiles):
    offered = handler(running_app, "on_cells").fn
    assert offered(None, REFERENCE, ["center"]) == gr.update(choices=["Lyon"], value=[])
    both = offered(None, REFERENCE, ["cancer_type", "center"])["choices"]
    assert both == [f"{LUNG} | Lyon", f"{BREAST} | Lyon"]
    assert offered(None, REFERENCE, [])["choices"] == []


def test_a_table_gives_shares_to_match_or_the_worst_subgroups_of_an_audit(running_app, tiles, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(f"cancer_type,center,share\n{BREAST},Lyon,2\n{LUNG},Lyon,1\n")
    assert "3 synthetic tiles" in run(running_app, target=MATCH, given=str(path))[0], "8 and 1 become 8 and 4"
    assert "lacks the columns is_ranked" in run(running_app, target=WORST, given=str(path))[0]
    path.write_text(f"cancer_type,center,is_ranked\n{LUNG},Lyon,True\n{BREAST},Lyon,False\n")
    assert "4 synthetic tiles</b> in 1 of 2 cells" in run(running_app, target=WORST, given=str(path), level=5)[0]


def test_each_target_shows_what_it_needs(running_app):
    offered = handler(running_app, "on_target").fn
    shown = {name: [update["visible"] for update in offered(name)[1:]] for name in (UNIFORM, LIFT, MATCH, WORST)}
    assert shown == {  # level, quantile, cells, table
        UNIFORM: [True, False, False, False],
        LIFT: [False, True, False, False],
        MATCH: [False, False, False, True],
        WORST: [True, False, True, True],
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"by": []}, "name one attribute"),
        ({"target": WORST}, "name the cells to fill, or give the table of an audit"),
        ({"target": MATCH}, "needs a table of shares"),
    ],
)
def test_bad_settings_are_named_where_the_plan_would_stand_and_no_earlier_plan_stays(
    running_app, tiles, changes, message
):
    said, figure, as_json, as_csv, table, _, plan, make, as_zip = run(running_app, **changes)
    assert message in said
    assert (figure, table, plan) == ("", "", None)
    assert [update["visible"] for update in (as_json, as_csv, as_zip)] == [False] * 3
    assert make["interactive"] is False


def test_a_cell_of_the_audit_is_filled_and_nothing_else(running_app):
    fill = handler(running_app, "on_cell")
    by, target, cells = fill.fn(({"cancer_type": LUNG, "center": "Rome"}, 1.0))
    assert (by, target["value"], cells["value"]) == (["cancer_type", "center"], WORST, [f"{LUNG} | Rome"])
    source = fill.inputs[0]
    assert [b for b in running_app.blocks.fns.values() if source in b.outputs], "a button hands the cell over"


def test_a_small_plan_is_made_as_a_zip_and_a_large_one_is_not_offered(running_app, tiles, monkeypatch):
    *_, plan, offer, _ = run(running_app, cap=2)
    assert offer["interactive"]
    plan = dataclasses.replace(plan, num_inference_steps=1)
    make = next(
        b
        for b in running_app.blocks.fns.values()
        if getattr(b.fn, "__name__", "") == "until_stopped" and b.outputs[-1].elem_id == "augment-zip"
    )
    first, *_, (said, download) = make.fn(RunStop(), plan)
    assert "Making tiles" in first[0]
    assert said == "2 tiles with their manifest."
    with zipfile.ZipFile(download["value"]) as archive:
        names = archive.namelist()
        assert sum(name.endswith(".png") for name in names) == 2
        assert {"manifest.csv", "plan.json"} <= set(names)
    monkeypatch.setattr(augment_tab, "MAX_TILES_IN_APP", 1)
    said, *_, offer, _ = run(running_app, cap=2)
    assert "More than 1 are not made here" in said
    assert not offer["interactive"]
    large = dataclasses.replace(plan, cells=(cell("Lyon", MAX_TILES_IN_APP + 1),))
    with pytest.raises(gr.Error, match="at most 100 are made here"):
        list(make.fn(RunStop(), large))


def test_a_cohort_of_ones_own_is_counted_in_place_of_the_reference_set(running_app, tiles):
    own = TILES[TILES["cancer_type"] == LUNG].assign(center="Rome")
    said = run(running_app, cohort=SimpleNamespace(tiles=own), source=COHORT, level=5)[0]
    assert "3 synthetic tiles</b> in 1 of 1 cell, beside 2 real tiles" in said
    offered = handler(running_app, "on_cohort").fn
    assert offered(SimpleNamespace(tiles=own)) == gr.update(visible=True, value=COHORT)
    assert offered(None) == gr.update(visible=False, value=REFERENCE)
