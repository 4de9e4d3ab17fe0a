"""The view runs what its controls say, and shows a null result as plainly as a gain."""

import json
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pandas as pd
import pytest

from medi_core.errors import ReferenceSetError
from medi_core.services.experiment import ExperimentService, run_experiment
from medi_core.services.experiment_config import LEAVE_ONE_OUT, MEDI, RARE_CENTER, REAL, SHORTCUT, ExperimentConfig
from medi_core.ui import experiment_view
from medi_core.ui.experiment_view import build_experiment_view, said_html
from medi_core.ui.runs import CANCELLED, RunStop
from tests.toy_experiment import TYPES, build_toy_reference

SETTINGS = (list(TYPES), SHORTCUT, "", [], None, 1.0, [MEDI], 1.0, 2, False)


@pytest.fixture(scope="module")
def reference():
    return build_toy_reference()


def mounted(load) -> gr.Blocks:
    with gr.Blocks() as blocks:
        service = ExperimentService(SimpleNamespace(load=load))
        build_experiment_view(SimpleNamespace(services=SimpleNamespace(experiment=service)))
    return blocks


def handler(blocks: gr.Blocks, name: str):
    [found] = [block.fn for block in blocks.fns.values() if block.fn.__name__ == name]
    return found


def run(blocks: gr.Blocks, *settings) -> list:
    return list(handler(blocks, "until_stopped")(RunStop(), False, *settings))


def test_a_run_shows_progress_then_sentences_figure_table_and_files(reference):
    updates = run(mounted(lambda: reference), *SETTINGS)
    assert "Training and testing" in updates[1][0]
    status, said, figure, table, csv, whole, changes, changes_csv = updates[-1]
    assert status == ""
    assert "are not held out of its training" in said
    assert "MeDi tiles changed worst-center balanced accuracy by +0." in said
    assert [trace["name"] for trace in json.loads(figure)["data"]] == [REAL, MEDI]
    numbers = pd.read_csv(csv["value"])
    assert numbers["value"].round(3).tolist() == table["value"]["value"].tolist()
    told = json.loads(Path(whole["value"]).read_text())
    assert told["config"]["num_seeds"] == 2
    differences = pd.read_csv(changes_csv["value"])
    assert differences["value"].tolist() == pytest.approx([row["value"] for row in told["differences"]])
    assert {"all centers", "worst center", "gap between centers", "Lyon"} <= set(differences["subgroup"])
    row = differences[differences["subgroup"] == "all centers"].iloc[0]
    assert f"{row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]" in changes
    assert changes.count('<th scope="row">') == len(differences)


def test_a_run_can_be_cancelled(reference):
    stop = RunStop()
    updates = handler(mounted(lambda: reference), "until_stopped")(stop, False, *SETTINGS)
    next(updates)
    stop.set()
    assert next(updates)[0] == CANCELLED
    assert list(updates) == []


def test_bad_input_is_a_message(reference):
    blocks = mounted(lambda: reference)
    with pytest.raises(gr.Error, match="at least 2 different cancer types, given: lung"):
        run(blocks, ["lung"], *SETTINGS[1:])
    with pytest.raises(gr.Error, match="at least 2 different cancer types, given: none"):
        run(blocks, None, *SETTINGS[1:])


def test_a_null_result_stands_in_the_same_place_as_a_gain(reference):
    null = run_experiment(reference, ExperimentConfig(TYPES, LEAVE_ONE_OUT, (REAL, "real duplicated"), num_seeds=1))
    html = said_html(null)
    assert "<li>Real duplicated changed worst-center balanced accuracy by" in html
    assert "no tested tile changed" in html
    clean = run_experiment(reference, ExperimentConfig(TYPES, SHORTCUT, (REAL, MEDI), num_seeds=1, held_out_only=True))
    assert 'data-generator="clean"' in said_html(clean)
    assert 'data-generator="in-sample generator"' in html


def test_without_a_reference_set_the_place_of_the_result_says_why():
    def refuse():
        raise ReferenceSetError("there is no reference set in reference/")

    *_, status = handler(mounted(refuse), "on_sight")(SimpleNamespace(dark=True))
    assert 'role="alert"' in status
    assert "there is no reference set" in status


def test_the_first_choice_is_the_pair_that_most_centers_share(reference):
    cells = ExperimentService(SimpleNamespace(load=lambda: reference)).cells()
    alone = pd.DataFrame([{"cancer_type": "liver", "center": "Oslo", "n": 9, "n_patients": 99, "n_held_out": 0}])
    names, chosen = experiment_view._types_and_default(pd.concat([cells, alone]))
    assert [value for _, value in names] == ["colon", "liver", "lung"]
    assert chosen == ["colon", "lung"]
    shown, *_, dark, status = handler(mounted(lambda: reference), "on_sight")(SimpleNamespace(dark=True))
    assert (shown["value"], dark, status) == (["colon", "lung"], True, "")


def test_what_a_preset_does_not_show_is_not_passed_on():
    config = experiment_view._config(TYPES, LEAVE_ONE_OUT, "Rome", ["Lyon"], 7, 0.5, [MEDI], 1, 3, True)
    assert (config.center, config.training_centers, config.size) == ("Rome", (), None)
    rare = experiment_view._config(TYPES, RARE_CENTER, "", [], 7, 0.5, [MEDI], 1, 3, True)
    assert (rare.center, rare.size, rare.held_out_only) == (None, 7, True)
