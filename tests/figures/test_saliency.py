"""Without evidence the tile stays as it is; where there is most it is covered by the end of the scale."""

import numpy as np

from medi_core.figures.saliency import OPACITY, saliency_overlay, scale_css
from tests.toys import synthetic_tissue


def test_the_tile_shows_where_there_is_no_evidence_and_the_scale_where_there_is():
    tile, saliency = synthetic_tissue(32, 1), np.zeros((32, 32), np.float32)
    saliency[8:16, 8:16] = 1
    overlay = saliency_overlay(tile, saliency)
    assert (overlay.shape, overlay.dtype) == (tile.shape, np.uint8)
    np.testing.assert_array_equal(overlay[saliency == 0], tile[saliency == 0])
    yellow = np.array([253, 231, 37])  # the bright end of viridis
    expected = (1 - OPACITY) * tile[saliency == 1] + OPACITY * yellow
    np.testing.assert_allclose(overlay[saliency == 1], expected, atol=1)


def test_the_legend_shows_both_ends_of_the_scale():
    assert scale_css().startswith("linear-gradient(to right, rgb(68, 1, 84)")
    assert "rgb(253, 231, 37)" in scale_css()
