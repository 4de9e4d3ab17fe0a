"""The tab Data through HTTP: upload, columns, check, subgroups; what one visitor uploads no other one sees."""

import inspect
import shutil
from types import SimpleNamespace

import gradio as gr
import pandas as pd
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from medi_core.services.cohort_preview import preview, stain_bins
from medi_core.ui import data_tab
from medi_core.ui.cohort_view import ALL_KNOWN, NO_FAULT, report_html, subgroups_html
from tests.toy_cohort import BAD_ROWS, NUM_GOOD, toy_rows, write_cohort


@pytest.fixture
def folders(monkeypatch, tmp_path):
    """Where sessions put their files."""
    made = []

    def session_folder():
        made.append(tmp_path / f"session-{len(made)}")
        made[-1].mkdir()
        return made[-1]

    monkeypatch.setattr(data_tab, "session_folder", session_folder)
    return made


@pytest.fixture
def mine(tmp_path):
    return write_cohort(tmp_path / "mine.zip")


def client_of(running_app) -> Client:
    return Client(running_app.url, verbose=False)


def columns_of(updates) -> list[str]:
    """What the dropdowns are set to by an upload: the last answers of `/upload_cohort`."""
    return [update["value"] for update in updates if isinstance(update, dict) and "choices" in update]


def checked(client: Client, path) -> list:
    answer = client.predict(handle_file(path), api_name="/upload_cohort")
    return client.predict(*columns_of(answer), api_name="/check_cohort")


def html_of(answer) -> str:
    return next(text for text in answer if isinstance(text, str) and "can be used" in text)


def handler(running_app, name: str):
    """A handler of the tab, by its name; one of a run that can be cancelled is inside the function that cancels it."""
    functions = {block.fn for block in running_app.blocks.fns.values() if block.fn}
    inside = [inspect.getclosurevars(fn).nonlocals for fn in functions if fn.__name__ == "until_stopped"]
    functions |= {closed["run"] for closed in inside}
    (found,) = [fn for fn in functions if (fn.__module__, fn.__name__) == ("medi_core.ui.data_tab", name)]
    return found


def unpacked(running_app, mine):
    return handler(running_app, "on_upload")(str(shutil.copy(mine, mine.with_name("copy.zip"))), None)[0]


def checked_here(running_app, mine):
    service, upload = running_app.services.cohort, unpacked(running_app, mine)
    return service.check(upload, upload.guess())


def test_the_tab_stands_before_about(running_app):
    labels = [block.label for block in running_app.blocks.blocks.values() if isinstance(block, gr.Tab)]
    assert labels.index("Data") == labels.index("About") - 1


def test_an_upload_is_checked_with_the_guessed_columns_and_reported(running_app, mine, folders):
    client = client_of(running_app)
    html = html_of(checked(client, mine))
    assert f"{NUM_GOOD} of {NUM_GOOD + len(BAD_ROWS)} rows can be used</b>: 6 patients, {NUM_GOOD} images" in html
    for text in ("the same pixels as an earlier row", "file not found", "Paris?", "adapt", "not used: remarks"):
        assert text in html
    assert str(folders[0]) not in html
    table = client.predict("cancer_type", "center", api_name="/preview_cohort")
    assert table.count("<img") == NUM_GOOD
    assert "Xanadu" in table


def test_two_visitors_do_not_see_each_others_cohort(running_app, mine, folders, tmp_path):
    first, second = client_of(running_app), client_of(running_app)
    checked(first, mine)
    with pytest.raises(AppError, match="there is no cohort: upload a zip"):
        second.predict("cancer_type", "", api_name="/preview_cohort")
    rows = [row | {"Hospital": "Atlantis"} for row in toy_rows()]
    checked(second, write_cohort(tmp_path / "theirs.zip", rows))
    tables = [client.predict("center", "", api_name="/preview_cohort") for client in (first, second)]
    assert ["Xanadu" in table for table in tables] == [True, False]
    assert ["Atlantis" in table for table in tables] == [False, True]


def test_a_second_upload_deletes_the_first_and_removing_it_deletes_it_too(running_app, mine, folders, tmp_path):
    client = client_of(running_app)
    checked(client, mine)
    assert any(folders[0].rglob("*.png"))
    checked(client, write_cohort(tmp_path / "other.zip", toy_rows()))
    assert not folders[0].exists()
    assert folders[1].exists()
    handler(running_app, "on_clear")(SimpleNamespace(delete=lambda: shutil.rmtree(folders[1])))
    assert not folders[1].exists()


def test_the_state_of_a_session_that_ends_takes_its_folder_with_it(running_app, mine, folders):
    upload = unpacked(running_app, mine)
    states = [block for block in running_app.blocks.blocks.values() if isinstance(block, gr.State)]
    (state,) = [state for state in states if state.delete_callback is data_tab._delete]
    assert 0 < state.time_to_live <= 3600
    state.delete_callback(upload)
    assert not folders[0].exists()
    state.delete_callback(None)


def test_a_hostile_zip_is_a_message_and_leaves_no_file(running_app, folders, tmp_path):
    (tmp_path / "no.zip").write_bytes(b"no zip")
    with pytest.raises(AppError, match="cannot be read as a zip"):
        client_of(running_app).predict(handle_file(tmp_path / "no.zip"), api_name="/upload_cohort")
    assert not folders[0].exists()


def test_a_cohort_is_classified_for_the_audit_and_says_what_is_left_out(running_app, mine, folders):
    cohort = checked_here(running_app, mine)
    *_, (note, found) = handler(running_app, "on_audit")(cohort)
    assert note == f"{NUM_GOOD} tiles classified: see the tab Subgroup accuracy."
    assert len(found.tiles) == NUM_GOOD


def test_without_a_map_placing_says_so_before_any_work(running_app, mine, folders):
    with pytest.raises(gr.Error, match="there is no reference set"):
        next(handler(running_app, "on_map")(checked_here(running_app, mine)))


def test_the_manifest_to_download_has_paths_as_in_the_zip_and_only_rows_that_can_be_used(running_app, mine, folders):
    upload = unpacked(running_app, mine)
    *_, answer = handler(running_app, "on_check")(upload, *_columns(upload))
    frame = pd.read_csv(answer[-1])
    assert frame["path"].tolist() == [f"images/{i:02d}.png" for i in range(NUM_GOOD)]
    assert frame[["hematoxylin", "eosin"]].notna().all(axis=None)


def test_what_is_in_a_table_is_shown_not_run_and_a_clean_cohort_is_called_so(running_app, folders, tmp_path):
    rows = [row | {"Hospital": "<script>alert(1)</script>"} for row in toy_rows()]
    cohort = checked_here(running_app, write_cohort(tmp_path / "markup.zip", rows))
    vocabulary = running_app.services.checkpoint.vocabulary
    shown = report_html(cohort, stain_bins(cohort, vocabulary), None)
    shown += subgroups_html(["center"], preview(cohort, ["center"], vocabulary))
    assert "<script>" not in shown
    clean = [row | {"Hospital": "Lyon"} for row in toy_rows()]
    cohort = checked_here(running_app, write_cohort(tmp_path / "clean.zip", clean))
    html = report_html(cohort, stain_bins(cohort, vocabulary), 3)
    assert NO_FAULT in html
    assert ALL_KNOWN in html
    assert "3 real tiles of the map" in html


def _columns(upload) -> list[str]:
    """Values of the dropdowns, in their order."""
    order = (*data_tab.FIRST, *(name for name in data_tab.OFFERED if name not in data_tab.FIRST))
    return [upload.guess().get(name, "") for name in order]
