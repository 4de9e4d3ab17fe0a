"""Intervals as plotly's bars, which are lengths and not ends."""

from collections.abc import Sequence

import numpy as np


def error_bars(value: Sequence[float], low: Sequence[float | None], high: Sequence[float | None]) -> dict[str, object]:
    """For `error_x`: from `low` to `high` around each value; where an end is missing the bar has no length there."""
    value, low, high = (np.asarray(ends, dtype=float) for ends in (value, low, high))
    above, below = (np.nan_to_num(length).tolist() for length in (high - value, value - low))
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
