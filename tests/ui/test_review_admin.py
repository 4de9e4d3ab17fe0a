"""The administrator's part: locked without the passphrase. Run: pytest tests/ui/test_review_admin.py"""

import asyncio
import inspect

import pytest

from medi_core.errors import InvalidRequestError
from medi_core.review.blinding import neutral_id
from medi_core.review.review_store import Reader, ReviewStore
from medi_core.services.study_results import study_results
from medi_core.ui.review_admin import SWITCHED_OFF
from medi_core.ui.review_new_study import design_of, require_admin
from medi_core.ui.review_results import progress_table, results_html
from tests.services.test_study_results import rows, study
from tests.toy_review import PNG, add_toy_study

EVIL = "<img src=x onerror=alert(1)>"


def handlers(running_app) -> dict:
    return {fn.name: fn.fn for fn in running_app.blocks.fns.values() if fn.name}


@pytest.mark.parametrize("name", ["on_choice", "on_close", "on_results", "on_backup", "on_delete_reader"])
def test_no_handler_answers_a_session_that_is_not_unlocked(running_app, name):
    (handler,) = [f for n, f in handlers(running_app).items() if n == name and "review" in f.__module__]
    import gradio as gr

    blanks = [False] + [None] * (len(inspect.signature(handler).parameters) - 1)
    with pytest.raises(gr.Error, match="unlock the administration first"):
        handler(*blanks)


def test_only_the_passphrase_unlocks(running_app, monkeypatch):
    import gradio as gr

    monkeypatch.setattr("medi_core.ui.review_admin.WRONG_SECONDS", 0)
    unlock = handlers(running_app)["on_unlock"]
    for wrong in ("", None, "open", "open sesame ", "öpen"):
        with pytest.raises(gr.Error, match="not the passphrase"):
            asyncio.run(unlock(wrong))
    assert asyncio.run(unlock("open sesame"))[0] is True


def test_one_passphrase_is_tried_at_a_time(running_app):
    (unlock,) = [fn for fn in running_app.blocks.fns.values() if fn.name == "on_unlock"]
    assert unlock.concurrency_limit == 1
    assert inspect.iscoroutinefunction(unlock.fn), "waiting holds no thread"


def test_the_link_of_a_study_is_the_browsers_own_address_to_be_copied(running_app):
    (link,) = [b for b in running_app.blocks.blocks.values() if getattr(b, "elem_id", None) == "review-link"]
    assert link.buttons == ["copy"]
    (event,) = [fn for fn in running_app.blocks.fns.values() if link in fn.outputs]
    assert event.fn is None, "what a proxy makes of the address, the browser alone knows"
    assert "location.origin + location.pathname" in event.js


def test_all_events_of_the_tab_are_private(running_app):
    ours = [fn for fn in running_app.blocks.fns.values() if "review" in getattr(fn.fn, "__module__", "")]
    assert len(ours) >= 6
    assert {fn.api_visibility for fn in ours} == {"private"}


@pytest.mark.parametrize("given", [None, 0, 1, "yes", [True]])
def test_nothing_but_true_counts_as_unlocked(given):
    with pytest.raises(InvalidRequestError, match="unlock"):
        require_admin(given)


def test_a_reader_is_deleted_only_where_the_box_is_ticked(running_app):
    import gradio as gr

    delete, store = handlers(running_app)["on_delete_reader"], running_app.services.studies.store
    made = add_toy_study(store)
    store.add_reader(made.id, Reader(neutral_id(), "ann", "", 5.0, "other"))
    with pytest.raises(gr.Error, match="tick the box"):
        delete(True, False, made.id, "ann")
    with pytest.raises(gr.Error, match="no reader 'eve'"):
        delete(True, True, made.id, "eve")
    assert store.reader(made.id, "ann") is not None
    assert "No reader yet" in delete(True, True, made.id, " ann ")[-1]
    assert store.reader(made.id, "ann") is None


def test_without_a_passphrase_administration_says_how_to_switch_it_on():
    assert "MEDI_ADMIN_PASSPHRASE" in SWITCHED_OFF


def test_an_empty_number_is_an_error_not_a_0():
    with pytest.raises(InvalidRequestError, match="tiles, repeats: enter a whole number"):
        design_of("A", ["realism"], None, 0, [], [], None, 10, 3, 4, None, 384)


def test_without_a_seed_one_is_drawn_that_cannot_be_guessed():
    seeds = {design_of("A", ["realism"], 4, 0, [], [], 0, 10, 3, 4, None, 384).seed for _ in range(20)}
    assert len(seeds) == 20
    assert max(seeds) > 2**20
    assert design_of("A", ["realism"], 4, 0, [], [], 0, 10, 3, 4, 0, 384).seed == 0


def test_what_readers_and_admins_wrote_is_shown_as_text(tmp_path):
    store = ReviewStore(tmp_path)
    made = add_toy_study(store)
    html = progress_table(made, [{"name": EVIL, "years": 1.0, "speciality": EVIL, "answers": 0, "last_answer": None}])
    assert "<img" not in html
    answers = [row | {"value": EVIL} if row["task"] == "comment" else row for row in rows()]
    shown = results_html(study_results(study(), answers), lambda item: (PNG,))
    assert "onerror=alert(1)&gt;" in shown
    assert "<img src=x" not in shown


def test_every_number_shown_has_its_n_and_its_interval():
    html = results_html(study_results(study(), rows()), lambda item: (PNG,))
    assert "0.75" in html
    assert "16 (2, 8)" in html
    for word in ("Sensitivity", "Specificity", "ROC AUC", "d′", "Fleiss κ", "Fooled nobody"):
        assert word in html
