"""Instant mode: tiles follow the controls, the run before makes room, no dragging uses up the calls of a session."""

from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import MetadataRecord
from medi_core.services.instant import MAX_INSTANT_TILES, instant_request
from medi_core.ui.examples import examples
from medi_core.ui.instant_view import FULL, GENERATE, STATUS, pause_seconds
from medi_core.ui.runs import CANCELLED, RunStop
from medi_core.ui.shared import INSTANT_QUEUE, INSTANTS_AT_ONCE
from tests.toys import FEW_STEPS, TEACHER

VALUES = ("Lung_adenocarcinoma", "Lyon", "", 2, 0, "", 0)
"""Of the metadata controls, in the order of the vocabulary: eosin is left open."""
RECORD = MetadataRecord("Lung_adenocarcinoma", "Lyon", hematoxylin="2")


def event_of(running_app, name: str):
    """The event whose handler has this name and that answers to the switch's tab."""
    found = [fn for fn in running_app.blocks.fns.values() if getattr(fn.fn, "__name__", "") == name]
    assert len(found) == 1, f"{len(found)} events run {name}"
    return found[0]


@pytest.fixture
def change(running_app):
    """Calls the handler of a change; its answers by `elem_id`, and by type where there is none."""
    event = event_of(running_app, "on_change")

    def call(
        is_on=True, stop=None, before=(), selected="", towards="", share=0.0, num=2, seed=5, values=VALUES
    ) -> dict:
        answers = event.fn(is_on, stop, list(before), selected, towards, share, num, seed, *values)
        assert len(answers) == len(event.outputs)
        names = [output.elem_id or f"{i}" for i, output in enumerate(event.outputs)]
        return dict(zip(names, answers, strict=True))

    return call


def test_a_change_draws_tiles_of_the_few_step_model_with_their_measured_time(change, running_app):
    shown = change()
    tiles = running_app.services.instant.generate(instant_request(RECORD, (5, 6)))
    drawn = [np.asarray(image) for image, _ in shown["generate-gallery"]]
    assert np.array_equal(drawn, [tile.image for tile in tiles])
    assert shown["3"] == [tile.id for tile in tiles], "they can be clicked"
    said = shown["instant-said"]
    assert f"{FEW_STEPS} steps, {running_app.services.instant.checkpoint.id}: a few-step model" in said
    seconds = float(said.split("2 tiles in ")[1].split(" s<")[0])
    assert 0 <= seconds < 60
    assert shown["generate-status"] == STATUS


def test_while_the_mode_is_off_a_change_tells_the_support_and_draws_nothing(change):
    shown = change(is_on=False)
    assert "rare" in shown.pop("generate-badge")
    assert all(answer == gr.skip() for answer in shown.values())


def test_at_most_four_tiles_are_drawn_however_many_were_chosen_before(change):
    assert len(change(num=16)["generate-gallery"]) == MAX_INSTANT_TILES


def test_the_blend_changes_the_tiles_and_tells_the_support_of_the_second_center(change):
    start, middle = change(towards="Rome"), change(towards="Rome", share=0.5)
    images = [np.asarray(shown["generate-gallery"][0][0]).astype(int) for shown in (start, middle)]
    assert np.abs(images[0] - images[1]).max() > 0
    assert any("seen (12 tiles, 4 patients)" in str(answer) for answer in middle.values())


def test_the_large_tile_follows_if_it_was_one_of_those_before(change):
    before = change()["3"]
    followed = change(before=before, selected=before[1], values=("Breast_invasive_carcinoma", *VALUES[1:]))
    assert "Breast invasive carcinoma" in followed["generate-facts"]
    assert "Seed 6" in followed["generate-facts"]
    assert change(before=before, selected="")["generate-facts"] == gr.skip()


def test_a_run_of_the_full_model_makes_room_and_does_not_call_the_tiles_unfinished(change):
    stop = RunStop()
    assert stop.said == CANCELLED
    change(stop=stop)
    assert stop.is_set()
    assert stop.said == STATUS


def test_an_empty_seed_is_said_and_nothing_is_drawn(change):
    with pytest.raises(gr.Error, match="the seed is empty"):
        change(seed=None)


def test_of_the_changes_during_a_render_only_the_newest_is_drawn_and_nothing_flickers(running_app):
    event = event_of(running_app, "on_change")
    assert (event.trigger_mode, event.show_progress) == ("always_last", "hidden")
    assert (event.concurrency_id, event.concurrency_limit) == (INSTANT_QUEUE, INSTANTS_AT_ONCE)


def test_the_switch_offers_fewer_tiles_the_blend_and_the_full_model(running_app):
    switch = event_of(running_app, "on_switch").fn
    tiles, blending, button = switch(True, 8)
    assert (tiles["maximum"], tiles["value"]) == (MAX_INSTANT_TILES, MAX_INSTANT_TILES)
    assert (blending["visible"], button["value"]) == (True, FULL)
    tiles, blending, button = switch(False, 4)
    assert (tiles["maximum"], blending["visible"], button["value"]) == (16, False, GENERATE)


@pytest.mark.parametrize("limit", [60, 600, 5000])
def test_no_dragging_uses_up_the_calls_of_a_session(limit):
    assert 60 / pause_seconds(limit) <= 0.8 * limit


def test_without_a_limit_there_is_no_pause():
    assert pause_seconds(0) == 0


def test_a_click_puts_an_instant_tile_on_the_map_even_if_it_left_the_memory(change, running_app):
    shown = change(seed=77)
    ids = shown["3"]
    running_app.services.instant._tiles.clear()
    select = [fn for fn in running_app.blocks.fns.values() if getattr(fn.fn, "__name__", "") == "on_select"]
    select = next(fn for fn in select if "generate-facts" in [output.elem_id for output in fn.outputs])
    *looked, on_map = select.fn(ids, instant_request(RECORD, (77, 78)), ["an older one"], SimpleNamespace(index=1))
    assert on_map == ["an older one", ids[1]]
    assert running_app.services.generation.find(ids[1]).seed == 78
    assert any("Seed 78" in str(value) for value in looked)


def test_about_names_the_few_step_model_and_its_teacher(running_app):
    fast = running_app.services.instant.checkpoint
    texts = [block.value for block in running_app.blocks.blocks.values() if isinstance(block, gr.Markdown)]
    assert f"**Instant mode:** `{fast.id}`; a few-step model, {FEW_STEPS} steps, distilled from `{TEACHER}`" in texts


def test_the_example_of_the_instant_mode_is_there_with_it_alone(toy_vocabulary):
    assert not any("instant" in example.query for example in examples(toy_vocabulary))
    (example,) = [each for each in examples(toy_vocabulary, has_instant=True) if "instant" in each.query]
    assert example.query["center"] != example.query["blend_towards"]


def test_the_endpoint_makes_what_the_page_makes_and_refuses_more(running_app):
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(running_app.url, verbose=False, analytics_enabled=False)
    (tile,) = client.predict(RECORD.to_dict(), 1, 5, "Rome", 0.5, api_name="/generate_instant")
    (made,) = running_app.services.instant.generate(instant_request(RECORD, (5,), "Rome", 0.5))
    assert {name: tile[name] for name in made.provenance()} == made.provenance()
    with pytest.raises(AppError, match="num = 5: it must be a whole number from 1 to 4"):
        client.predict(RECORD.to_dict(), 5, api_name="/generate_instant")
    with pytest.raises(InvalidRequestError):
        instant_request(RECORD, ())
