"""The counterfactual grid as the page and the paper show it. Run: pytest tests/ui/test_grid_view.py"""

import re

import numpy as np
import pytest

from medi_core.metadata.schema import MetadataRecord
from medi_core.services.comparison import ComparisonRequest
from medi_core.services.contact_sheet import HEADER_PX, ROW_LABEL_PX, contact_sheet
from medi_core.services.generation_request import GenerationRequest
from medi_core.ui.grid_view import grid_html


@pytest.fixture(scope="module")
def compared(running_app):
    request = ComparisonRequest(
        GenerationRequest(MetadataRecord(), (3,), num_inference_steps=2),
        "center",
        ("Lyon", "Paris"),
        "cancer_type",
        ("Breast_invasive_carcinoma", "Lung_adenocarcinoma"),
    )
    grid = running_app.services.comparison.compare(request)
    return running_app.services.generation.vocabulary, request, grid


def test_every_cell_shows_its_tile_with_an_alt_text_and_its_real_counts(compared):
    html = grid_html(*compared)
    assert html.count("<img") == 4
    assert 'alt="Synthetic tile: Lung adenocarcinoma · Paris, seed 3"' in html
    counts = re.findall(r'medi-count medi-([a-z-]+)">([^<]+)<', html)
    assert counts == [
        ("seen", "seen (40 tiles, 6 patients)"),
        ("seen", "seen (20 tiles, 3 patients)"),
        ("rare", "rare (2 tiles, 1 patient)"),
        ("never-seen", "never seen"),
    ]


def test_the_sheet_holds_the_tiles_pixel_for_pixel(compared):
    vocabulary, request, grid = compared
    sheet = np.asarray(contact_sheet(vocabulary, request, grid))
    tile = grid[0][0].tiles[0].image
    cut = sheet[HEADER_PX : HEADER_PX + 128, ROW_LABEL_PX : ROW_LABEL_PX + 128]
    assert np.array_equal(cut, tile)
