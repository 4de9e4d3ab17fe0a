"""Where a tile is chosen, uploaded, handed over or re-rendered, its verdict comes with it; overlays only on demand."""

from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from medi_core.metadata.schema import display_name
from medi_core.ui.verdict_view import PLAIN, SEEN
from tests.toys import synthetic_tissue


@pytest.fixture
def handler(running_app):
    """A function that calls the handler of this name and returns its answers by the `elem_id` of the widget."""

    def find(name: str, *, of: str):
        for block in running_app.blocks.fns.values():
            ids = [getattr(output, "elem_id", None) for output in block.outputs]
            if getattr(block.fn, "__name__", "") == name and of in ids:
                return lambda *values: dict(zip(ids, _answers(block.fn, values, len(ids)), strict=True))
        pytest.fail(f"no handler {name} answers to {of}")

    return find


def _answers(fn, values, num: int) -> list:
    answers = fn(*values)
    return list(answers) if num > 1 else [answers]


@pytest.fixture(scope="module")
def tile(running_app):
    return running_app.services.welcome.cached()[0]


@pytest.fixture(scope="module")
def verdict(running_app, tile):
    return running_app.services.classification.verdicts([tile.image])[0]


def test_a_chosen_tile_is_shown_plain_with_its_verdict(handler, tile, verdict):
    shown = handler("on_select", of="generate-verdict")([tile.id], None, [], SimpleNamespace(index=0))
    assert f"classifier sees: {display_name(verdict.top)}" in shown["generate-verdict"]
    assert f"Asked: {display_name(tile.record.cancer_type)}" in shown["generate-verdict"]
    assert shown["generate-view"] == PLAIN
    assert shown["generate-caveat"] == gr.update(visible=False)
    np.testing.assert_array_equal(np.asarray(shown["generate-large"]["value"]), tile.image)


def test_the_overlay_comes_with_its_caveat_and_goes_with_it(handler, tile):
    on_view = handler("on_view", of="generate-large")
    seen, plain = on_view(tile.id, SEEN, None), on_view(tile.id, PLAIN, None)
    assert (np.asarray(seen["generate-large"]["value"]) != tile.image).any()
    assert seen["generate-large"]["alt_text"].endswith(SEEN)
    assert seen["generate-caveat"] == gr.update(visible=True)
    np.testing.assert_array_equal(np.asarray(plain["generate-large"]["value"]), tile.image)
    assert plain["generate-caveat"] == gr.update(visible=False)


def test_an_uploaded_tile_gets_a_verdict(handler, running_app, tmp_path):
    Image.fromarray(synthetic_tissue(128, 1)).save(tmp_path / "tile.png")
    shown = handler("on_upload", of="rerender-verdict")(str(tmp_path / "tile.png"))
    (verdict,) = running_app.services.classification.verdicts([synthetic_tissue(128, 1)])
    assert f"Classifier sees: {display_name(verdict.top)}" in shown["rerender-verdict"]


def test_a_tile_handed_over_brings_its_verdict(handler, tile, verdict):
    shown = handler("on_base", of="rerender-verdict")((tile.id, 0.0))
    assert f"classifier sees: {display_name(verdict.top)}" in shown["rerender-verdict"]
    gone = handler("on_base", of="rerender-verdict")(("gone", 0.0))
    assert gone["rerender-verdict"] == gr.skip()
