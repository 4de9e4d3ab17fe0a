"""Windows cover a large tile, and averaging them changes nothing that one pass would agree on."""

from itertools import pairwise

import pytest
import torch

from medi_core.pipelines.windows import predict_by_windows, window_starts


def pointwise(x_t: torch.Tensor) -> torch.Tensor:
    """Two predictions, each a function of single pixels."""
    return torch.cat([x_t.sin(), 2 * x_t])


@pytest.mark.parametrize("length", range(32, 513, 32))
@pytest.mark.parametrize("window", [64, 128])
def test_windows_cover_the_whole_side_and_overlap_by_half(length, window):
    starts = window_starts(length, window)
    covered = {i for start in starts for i in range(start, min(start + window, length))}
    assert covered == set(range(length))
    assert all(0 <= start <= max(0, length - window) for start in starts)
    assert all(after - before <= window // 2 for before, after in pairwise(starts))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (32, 96), (96, 32), (160, 160)])
def test_windows_equal_one_pass_where_neighbours_do_not_matter(height, width):
    x_t = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    whole = predict_by_windows(pointwise, x_t, 2, None)
    assert whole.shape == (2, 2, 3, height, width)
    torch.testing.assert_close(predict_by_windows(pointwise, x_t, 2, 32), whole)


def test_weights_sum_to_one_everywhere():
    x_t = torch.randn(1, 3, 96, 160)
    ones = predict_by_windows(torch.ones_like, x_t, 1, 64)
    torch.testing.assert_close(ones, torch.ones_like(ones))


def test_an_image_of_one_window_is_one_pass():
    calls = []
    predict_by_windows(lambda x: calls.append(x.shape) or x, torch.zeros(1, 3, 64, 64), 1, 64)
    assert calls == [(1, 3, 64, 64)]


def test_a_window_counts_most_in_its_middle():
    """Two windows that disagree blend without a step: no seam."""
    values = iter([0.0, 1.0])
    row = predict_by_windows(lambda x: torch.full_like(x, next(values)), torch.zeros(1, 1, 64, 96), 1, 64)[0, 0, 0, 0]
    assert row[:32].max() == 0
    assert row[64:].min() == 1
    assert row.diff().min() >= 0
    assert row.diff().max() < 0.1
