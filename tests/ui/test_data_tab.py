"""The Data tab: an upload is checked and handed on within its session, and its folder goes with it."""

import shutil
from pathlib import Path

import gradio as gr
import pandas as pd
import pytest

from medi_core.services.augmentation import PlanConfig
from medi_core.ui.handlers import session_folder
from medi_core.ui.runs import RunStop
from tests.toy_cohort import LUNG, cohort_table, write_cohort


@pytest.fixture
def archive(tmp_path) -> Path:
    return write_cohort(tmp_path / "mine.zip")


def handler(running_app, name: str):
    functions = {block.fn for block in running_app.blocks.fns.values() if block.fn}
    (found,) = [fn for fn in functions if (fn.__module__, fn.__name__) == ("medi_core.ui.data_tab", name)]
    return found


def runs_of(running_app, status: str) -> list:
    """The handlers that can be cancelled and report into this element."""
    blocks = running_app.blocks.fns.values()
    return [b.fn for b in blocks if getattr(b.fn, "__name__", "") == "until_stopped" and b.outputs[0].elem_id == status]


def upload_of(running_app, archive: Path, before=None):
    """As the page hands it over: a copy of its own, which is deleted."""
    copy = archive.with_name(f"copy-of-{archive.name}")
    shutil.copy(archive, copy)
    found = handler(running_app, "on_upload")(str(copy), before)
    assert not copy.exists(), "Gradio's copy of the zip is not kept"
    return found


def check(running_app, archive: Path) -> tuple:
    (
        found,
        *_,
    ) = upload_of(running_app, archive)
    columns = upload_of(running_app, archive)[8:]
    (on_check,) = runs_of(running_app, "data-status")
    *_, last = on_check(RunStop(), found, *(update.value for update in columns))
    return found, last


def test_columns_are_offered_with_a_guess_and_the_table_is_counted(running_app, archive):
    upload, *_, note, report, mapping, checked = upload_of(running_app, archive)[:8]
    assert note.startswith("12 rows in cohort.csv")
    assert (report, mapping["visible"], checked["visible"]) == ("", True, False)
    guesses = [update.value for update in upload_of(running_app, archive)[8:] if update.value]
    assert sorted(guesses) == ["Diagnosis", "File name", "Hospital", "Patient ID"]
    assert upload.folder.is_dir()


def test_another_upload_or_the_cross_deletes_the_folder(running_app, archive):
    first = upload_of(running_app, archive)[0]
    second = upload_of(running_app, archive, first)[0]
    assert not first.folder.exists()
    assert second.folder.is_dir()
    handler(running_app, "on_clear")(second)
    assert not second.folder.exists()


def test_a_refused_zip_leaves_no_folder_behind(running_app, archive, tmp_path):
    parent = session_folder().parent
    before = set(parent.iterdir())
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(Exception, match=r"bad\.zip"):
        upload_of(running_app, tmp_path / "bad.zip")
    assert set(parent.iterdir()) == before


def test_the_report_counts_what_can_be_used_and_names_new_centers(running_app, archive):
    _, (status, _, cohort, _, _, html, shown, by, across, download, first) = check(running_app, archive)
    assert status == ""
    assert "12 of 12 rows can be used</b>: 6 patients, 12 images." in html
    assert "Nice" in html
    assert (shown["visible"], by.value, across.value) == (True, "cancer_type", "center")
    table = pd.read_csv(download)
    assert list(table["path"]) == list(cohort_table()["File name"]), "as in the zip, not as on this machine"
    preview = handler(running_app, "on_preview")(cohort, "cancer_type", "center")
    assert "data:image/png" in preview
    assert first == preview


def test_a_check_can_be_cancelled(running_app, archive):
    found, *_ = upload_of(running_app, archive)
    columns, stop = upload_of(running_app, archive)[8:], RunStop()
    (on_check,) = runs_of(running_app, "data-status")
    updates = on_check(stop, found, *(update.value for update in columns))
    assert "progress" in next(updates)[0]
    stop.set()
    (last,) = updates
    assert last[0].startswith("Cancelled")
    assert not any(isinstance(update, str) for update in last[1:]), "nothing else is changed"


def test_names_of_a_stranger_are_shown_as_text(running_app, tmp_path):
    table = cohort_table().replace({"Nice": "<script>alert(1)</script>"})
    _, (*_, html, _, _, _, _, _) = check(running_app, write_cohort(tmp_path / "xss.zip", table))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_the_audit_gets_the_predictions_and_the_plan_the_tiles(running_app, archive):
    _, (_, _, cohort, *_) = check(running_app, archive)
    to_map, to_audit = runs_of(running_app, "data-used")
    *_, (note, predictions) = to_audit(RunStop(), cohort)
    with pytest.raises(gr.Error, match="there is no reference set"):
        list(to_map(RunStop(), cohort))
    assert note.startswith("12 tiles classified")
    assert len(predictions.tiles) == 12
    plan = running_app.services.augmentation
    cells = plan.plan(cohort.tiles, PlanConfig()).cells
    assert {(c.record.cancer_type, c.record.center): c.real_tiles for c in cells}[LUNG, "Lyon"] == 4


def test_a_cohort_is_of_one_session_and_its_folder_goes_with_it(running_app, archive):
    """Gradio keeps a state a session; this one deletes its folder when the session is over, or has slept for long."""
    (upload,) = [b for b in running_app.blocks.fns.values() if getattr(b.fn, "__name__", "") == "on_clear"
                 and b.fn.__module__ == "medi_core.ui.data_tab"]  # fmt: skip
    states = [block for block in upload.outputs if isinstance(block, gr.State)]
    assert len(states) == 4
    assert all(state.time_to_live for state in states)
    unpacked = upload_of(running_app, archive)[0]
    states[0].delete_callback(unpacked)
    assert not unpacked.folder.exists()
