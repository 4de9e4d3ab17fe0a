"""Memory is averaged over its windows, and what was not read is no number."""

import math

from benchmarks.load import WINDOWS, window_means


def test_means_are_of_their_windows_alone():
    first, half, end = (
        window_means([(share, 1000.0 + 10 * i) for i, share in enumerate(shares)])
        for shares in ((0.1, 0.25, 0.35), (0.55, 0.65), (0.79, 0.9))
    )
    assert first["after warm-up"] == 1015
    assert half["half way"] == 1005
    assert end["end"] == 1010
    assert math.isnan(first["end"])
    assert list(first) == list(WINDOWS)
