"""The named endpoints that make or look at tiles, through HTTP. The others: tests/api/test_table_endpoints.py"""

import json
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from medi_core.data.tile_files import PNG_KEY
from medi_core.services.contact_sheet import HEADER_PX, MARGIN_PX, ROW_LABEL_PX
from tests.toys import synthetic_tissue

RECORD = {"cancer_type": "Lung_adenocarcinoma", "center": "Paris", "eosin": "5"}


@pytest.fixture(scope="module")
def client(running_app) -> Client:
    return Client(running_app.url, verbose=False)


def test_info_names_attributes_in_order_and_the_support_of_pairs(client, running_app):
    answer = client.predict(api_name="/info")
    assert tuple(answer["attributes"]) == running_app.services.checkpoint.vocabulary.attributes
    assert answer["pair_support"]["Lung_adenocarcinoma @ Lyon"] == [2, 1]
    assert answer["checkpoint"] == running_app.services.checkpoint.id


def test_a_tile_through_http_is_a_png_that_says_how_it_was_made(client, running_app):
    (tile,) = client.predict(RECORD, num=1, seed=7, steps=2, api_name="/generate")
    with Image.open(tile["file"]) as image:
        assert image.size == (128, 128)
        provenance = json.loads(image.text[PNG_KEY])
    assert provenance["origin"] == "synthetic"
    assert provenance["metadata"] == RECORD
    assert provenance["seed"] == 7
    assert provenance["checkpoint"] == running_app.services.checkpoint.id


def test_the_same_seed_gives_the_same_pixels_alone_or_among_others(client):
    (alone,) = client.predict(RECORD, num=1, seed=8, steps=2, api_name="/generate")
    among = client.predict(RECORD, num=3, seed=6, steps=2, api_name="/generate")
    with Image.open(alone["file"]) as first, Image.open(among[2]["file"]) as second:
        assert first.tobytes() == second.tobytes()


def test_windows_and_interval_are_offered_and_said_in_the_answer(client):
    size = {"seed": 3, "steps": 2, "side_px": 192, "api_name": "/generate"}
    (whole,) = client.predict(RECORD, **size)
    (windows,) = client.predict(RECORD, window_px=128, guidance_interval=[0.4, 0.9], **size)
    assert not {"window_px", "guidance_interval"} & set(whole)
    assert (windows["window_px"], windows["guidance_interval"]) == (128, [0.4, 0.9])
    with Image.open(whole["file"]) as first, Image.open(windows["file"]) as second:
        assert first.size == second.size == (192, 192)
        assert first.tobytes() != second.tobytes()
        assert json.loads(second.text[PNG_KEY])["guidance_interval"] == [0.4, 0.9]


def test_a_call_that_names_neither_windows_nor_interval_is_as_before(client):
    (named,) = client.predict(RECORD, num=1, seed=7, steps=2, api_name="/generate")
    (by_place,) = client.predict(RECORD, 1, 7, 2, 2.0, 128, api_name="/generate")
    with Image.open(named["file"]) as first, Image.open(by_place["file"]) as second:
        assert first.tobytes() == second.tobytes()


def test_a_tile_is_rerendered_through_http(client, tmp_path):
    Image.fromarray(synthetic_tissue(150, 1)).save(tmp_path / "base.png")
    answer = client.predict(
        handle_file(tmp_path / "base.png"), {"center": "Rome"}, strength=0.3, steps=2, api_name="/rerender"
    )
    assert answer["strength"] == 0.3
    assert (answer["height_px"], answer["width_px"]) == (128, 128)  # 150 px, cut to a multiple of 32


def test_a_tile_is_classified_through_http_as_by_the_service(client, running_app, tmp_path):
    tile = synthetic_tissue(128, 1)
    Image.fromarray(tile).save(tmp_path / "tile.png")
    answer = client.predict(handle_file(tmp_path / "tile.png"), api_name="/classify")
    (verdict,) = running_app.services.classification.verdicts([tile])
    assert answer["probabilities"] == pytest.approx(dict(verdict.probabilities))
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert (answer["classifier"], answer["predicted"]) == (verdict.model, verdict.top)
    assert answer["tumor"] == pytest.approx(1 - verdict.probabilities["Lung_benign"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metadata": {"center": "Pariss"}}, "did you mean 'Paris'"),
        ({"metadata": {"colour": "red"}}, "metadata names colour; known: cancer_type"),
        ({"metadata": {"center": 3}}, "center = 3: it must be text"),
        ({"metadata": {}, "num": 65}, "num = 65: it must be a whole number from 1 to 64"),
        ({"metadata": {}, "num": -1}, "num = -1: it must be a whole number from 1 to 64"),
        ({"metadata": {}, "side_px": 100}, "multiple of 32"),
        ({"metadata": {}, "window_px": 100}, "window in px = 100: it must be a multiple of 32"),
        ({"metadata": {}, "window_px": 160}, "the tile has 128×128 px; choose a smaller window"),
        ({"metadata": {}, "guidance_interval": [0.6, 0.4]}, "low end must not be above the high one"),
        ({"metadata": {}, "guidance_interval": [0, 2]}, "high end = 2: it must be from 0 to 1"),
        ({"metadata": {}, "guidance_interval": 0.5}, "two noise levels from 0 to 1"),
    ],
)
def test_bad_input_comes_back_as_one_clear_message(client, arguments, message):
    with pytest.raises(AppError, match=message):
        client.predict(**arguments, api_name="/generate")


def test_nothing_but_the_named_endpoints_is_offered(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    tiles = {
        "/info",
        "/generate",
        "/generate_tile",
        "/generate_instant",
        "/compare",
        "/rerender",
        "/classify",
        "/generate_dataset",
    }
    assert set(endpoints) == tiles | {"/trust", "/evaluate", "/plan", "/check_data"}


def test_one_tile_is_the_same_as_among_many(client):
    png = client.predict(RECORD, seed=8, steps=2, api_name="/generate_tile")
    among = client.predict(RECORD, num=3, seed=6, steps=2, api_name="/generate")
    assert Path(png).read_bytes() == Path(among[2]["file"]).read_bytes()


def test_a_comparison_is_one_sheet_of_the_tiles_that_generate_makes(client):
    vary = {"center": ["Rome", "Paris"], "cancer_type": ["Lung_adenocarcinoma", "Breast_invasive_carcinoma"]}
    path = client.predict({"eosin": "5"}, vary, seed=7, steps=2, api_name="/compare")
    alone = client.predict(RECORD, seed=7, steps=2, api_name="/generate_tile")
    with Image.open(path) as sheet, Image.open(alone) as tile:
        provenance = json.loads(sheet.text[PNG_KEY])
        left = ROW_LABEL_PX + 128 + 2 + MARGIN_PX  # the second column: Paris; the first row: lung
        cut = sheet.convert("RGB").crop((left, HEADER_PX, left + 128, HEADER_PX + 128))
        assert np.array_equal(np.asarray(cut), np.asarray(tile.convert("RGB")))
    assert provenance["columns"] == {"center": ["Rome", "Paris"]}
    assert provenance["metadata"] == {"eosin": "5"}


@pytest.mark.parametrize(
    ("metadata", "vary", "more", "message"),
    [
        ({}, ["center"], {}, "it must map one or two attributes to lists of values"),
        ({}, {"center": "Rome"}, {}, "it must be a list of at most 48 texts"),
        ({}, {"center": [1]}, {}, "it must be a list of at most 48 texts"),
        ({"center": "Rome"}, {"center": ["Lyon"]}, {}, "center is held at one value and varied, too"),
        ({}, {"center": ["Rome"] * 5}, {"num": 10}, "the grid has 50 tiles; at most 48"),
        ({}, {"center": ["Rome"] * 8}, {"steps": 200, "side_px": 512}, "too much for one call"),
        ({}, {"center": ["Roma"]}, {}, "did you mean 'Rome'"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_one_clear_message(client, metadata, vary, more, message):
    with pytest.raises(AppError, match=message):
        client.predict(metadata, vary, **more, api_name="/compare")


def test_a_file_of_the_server_cannot_be_named_as_an_upload(client, tmp_path):
    Image.fromarray(synthetic_tissue(128, 1)).save(tmp_path / "private.png")
    for path in (tmp_path / "private.png", "/etc/passwd", "/etc/nothing"):
        with pytest.raises(AppError, match="image is no uploaded file"):
            client.predict({"path": str(path)}, {"center": "Rome"}, steps=1, api_name="/rerender")


@pytest.mark.parametrize(
    "arguments",
    [
        {"num": "3"},
        {"seed": 1.5},
        {"num": 64, "steps": 200, "side_px": 512},
        {"num": 4, "steps": 50, "side_px": 512, "window_px": 128},
    ],
)
def test_numbers_of_the_wrong_kind_or_size_are_refused(client, arguments):
    with pytest.raises(AppError, match=r"it must be a whole number|too much for one call"):
        client.predict({"center": "Rome"}, **arguments, api_name="/generate")
