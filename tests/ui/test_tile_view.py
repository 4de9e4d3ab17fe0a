"""Requested against measured: the table says what the numbers say."""

from dataclasses import replace

import pytest

from medi_core.metadata.schema import MetadataRecord
from medi_core.services.generation_request import GenerationRequest
from medi_core.ui.tile_view import stain_table, tile_details


@pytest.fixture(scope="module")
def tile(running_app):
    request = GenerationRequest(MetadataRecord(center="Lyon", eosin="2"), (1,), num_inference_steps=1)
    return running_app.services.generation.generate(request)[0]


@pytest.mark.parametrize(("eosin", "verdict"), [(0.5, "as asked"), (0.9, "+1 bin"), (2.0, "+3 bins"), (0.1, "-1 bin")])
def test_the_verdict_compares_the_measured_bin_with_the_requested_one(running_app, tile, eosin, verdict):
    html = tile_details(running_app.services.generation.vocabulary, replace(tile, eosin=eosin))
    assert f">{verdict}</span>" in html


def test_a_stain_that_cannot_be_measured_is_said_so(running_app, tile):
    html = tile_details(running_app.services.generation.vocabulary, replace(tile, eosin=float("nan")))
    assert "too little tissue" in html
    assert "as asked" not in html


def test_what_the_tile_was_made_with_is_said_in_full(running_app, tile):
    vocabulary = running_app.services.generation.vocabulary
    assert "1 steps · guidance 2 · 128×128 px · checkpoint tiny@" in tile_details(vocabulary, tile)
    chosen = tile_details(vocabulary, replace(tile, window_px=128, guidance_interval=(0.2, 0.85)))
    assert "guidance 2 between noise levels 0.2 and 0.85 · 128×128 px in windows of 128 px" in chosen


def test_before_and_after_stand_side_by_side(running_app):
    html = stain_table(running_app.services.generation.vocabulary, {"Before": (0.7, 0.3), "After": (1.7, 0.9)})
    assert html.index("Before") < html.index("After")
    for text in ("0.70 (bin 2)", "0.30 (bin 1)", "1.70 (bin 4)", "0.90 (bin 3)"):
        assert text in html
