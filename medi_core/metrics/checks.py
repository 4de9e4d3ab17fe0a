"""What every distance between two sets of features asks of them. Knows nothing of images, models or distances."""

import numpy as np

from medi_core.errors import InvalidRequestError, TooFewTilesError


def require_features(first: np.ndarray, second: np.ndarray, needed: int, measure: str) -> None:
    """Refuse two sets of features that cannot be compared.

    Args:
        first: features, `(N, D)`.
        second: features, `(M, D)`.
        needed: least number of tiles on each side.
        measure: what is to be computed, with its article, for the message: "a kernel distance".

    Raises:
        InvalidRequestError: not two matrices, not of one length, or with numbers that are not finite.
        TooFewTilesError: a side has fewer than `needed` tiles.
    """
    if first.ndim != 2 or second.ndim != 2:
        raise InvalidRequestError(
            f"{measure} needs features of shape (tiles, D) on each side, given {first.shape} and {second.shape}"
        )
    if first.shape[1] != second.shape[1]:
        raise InvalidRequestError(
            f"features of D={first.shape[1]} and D={second.shape[1]} are of different encoders: "
            "compute both with the same one"
        )
    require_tiles(min(len(first), len(second)), needed, measure)
    _require_finite(first, second, measure)


def require_tiles(given: int, needed: int, measure: str, remedy: str = "add tiles") -> None:
    """Refuse fewer tiles than a measurement needs; `given` is the smaller side.

    Raises:
        TooFewTilesError: naming both numbers and the remedy.
    """
    if given < needed:
        raise TooFewTilesError(f"{measure} needs at least {needed} tiles on each side, given {given}: {remedy}")


def _require_finite(first: np.ndarray, second: np.ndarray, measure: str) -> None:
    damaged = [int((~np.isfinite(side)).any(axis=1).sum()) for side in (first, second)]
    if any(damaged):
        raise InvalidRequestError(
            f"{measure} needs finite features, but NaN or infinity is in {damaged[0]} of {len(first)} rows of the "
            f"first and {damaged[1]} of {len(second)} rows of the second: leave these tiles out"
        )
