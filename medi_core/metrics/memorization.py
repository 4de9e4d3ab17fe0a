"""The copy audit: does a synthetic tile repeat a piece of a training region? Knows no model, no file, no patient.

It looks at pixels, not at features: an encoder made to ignore position and colour cannot tell a copy from a
lookalike. Training tiles are cut anywhere from regions and turned in 8 ways, so each tile is compared in all
8 orientations with the windows of every region, 4 px apart; the best one is then moved pixel by pixel.

The best match of a tile that copies nothing is far above 0 too, for it is the best of millions. What is unusual
is therefore read off real tiles, matched in the same way with regions of other patients only (`flag_copies`).
A flag says "look at these two side by side". Measured on planted crops of training regions: recoloured, blurred
(3 px), JPEG at quality 20, turned by 3°, scaled by 5 % or bent by 6 px they are all flagged; turned by 10° none is,
and with half of the tile copied one in five.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metrics.tile_windows import MIN_TEXTURE, STEP_PX, Windows, templates_of, windows_of

TILES_AT_ONCE = 64
"""Tiles multiplied at a time: 64 × 8 rows of correlations, some MB for a usual region."""


@dataclass(frozen=True)
class Region:
    """A training image that tiles may be cut from."""

    key: str
    """What a match names, e.g. its path."""
    image: np.ndarray
    """uint8 `(H, W, 3)`, RGB, at least as large as a tile."""
    group: str | None = None
    """Tiles of the same group are not compared with it, e.g. the patient; `None` is nobody's group."""


@dataclass(frozen=True)
class Matches:
    """The most similar window of each of N tiles."""

    similarity: np.ndarray
    """float64 `(N,)`, correlation, at most 1; NaN for a tile without texture or without a window to compare."""
    region: np.ndarray
    """object `(N,)`: key of the region; `None` where the similarity is NaN."""
    xy: np.ndarray
    """int64 `(N, 2)`: left and top edge of the window in the region, px; −1 where the similarity is NaN."""
    orientation: np.ndarray
    """int64 `(N,)`, 0 to 7: the window is like `orient(tile, orientation)`; −1 where the similarity is NaN."""


@dataclass(frozen=True)
class CopyAudit:
    """Which tiles are at least as near to a training region as the nearest real tiles of other patients."""

    threshold: float
    """Distance, 1 − similarity, up to which a tile is flagged. Near 0, the baseline itself holds copies."""
    flagged: np.ndarray
    """bool `(N,)`; a tile without a similarity is never flagged."""
    num_measured: int
    num_unmeasurable: int
    num_baseline: int
    """Real tiles with a similarity, from which the threshold was read."""

    @property
    def share_flagged(self) -> float:
        """Of the measured tiles, 0 to 1; about percentile / 100 if nothing is copied. NaN if none was measured."""
        return float(self.flagged.sum() / self.num_measured) if self.num_measured else float("nan")


def nearest_windows(
    tiles: np.ndarray,
    regions: Iterable[Region],
    groups: Sequence[str | None] | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Matches:
    """The most similar window of all regions for each tile; each region is read once and not kept.

    Args:
        tiles: uint8 `(N, S, S, 3)`, RGB; S a multiple of 8 px.
        regions: in any order; of equally similar ones, the first is named.
        groups: of the tiles, `(N,)`: a tile is not compared with regions of its own group.
        on_progress: called with the number of regions done, after each.

    Raises:
        InvalidRequestError: tiles of another shape, not one group a tile, or a region smaller than a tile.
    """
    templates, own_group, side_px = templates_of(tiles), _group_of_each(groups, len(tiles)), tiles.shape[1]
    textured = np.isfinite(templates[:, 0, 0])
    # the similarity on the grid decides, not the refined one: that is only known of windows better than those before
    coarse, matches = np.full(len(tiles), -np.inf), _no_matches(len(tiles))
    for done, region in enumerate(regions, start=1):
        foreign = (own_group != region.group) | (region.group is None)
        windows = windows_of(region.image, side_px)
        for tile, similarity, orientation, xy in _improvements(templates, textured & foreign, windows, coarse):
            template = templates[tile, orientation]
            coarse[tile], matches.region[tile], matches.orientation[tile] = similarity, region.key, orientation
            matches.similarity[tile], matches.xy[tile] = _refine(template, region.image, side_px, xy)
        on_progress(done)
    return matches


def flag_copies(similarity: np.ndarray, baseline: np.ndarray, percentile: float = 1.0) -> CopyAudit:
    """Flag tiles nearer to the training regions than all but `percentile` % of real tiles are.

    Args:
        similarity: of the synthetic tiles, `(N,)`, as in `Matches`; NaN allowed.
        baseline: of real tiles with regions of other patients, `(M,)`; NaN is left out.
        percentile: of the baseline's distances, above 0 and below 100. So many % of tiles that copy nothing
            are flagged all the same, if they are textured like the real ones.

    Raises:
        TooFewTilesError: fewer baseline tiles than such a percentile needs: 100 / `percentile`.
        InvalidRequestError: a percentile outside its range.
    """
    distances = 1 - baseline[np.isfinite(baseline)]
    require_baseline(len(distances), percentile)
    measured = np.isfinite(similarity)
    threshold = float(np.percentile(distances, percentile))
    flagged = measured & (1 - similarity <= threshold)  # NaN compares as false
    num_measured = int(measured.sum())
    return CopyAudit(threshold, flagged, num_measured, len(similarity) - num_measured, len(distances))


def require_baseline(num_tiles: int, percentile: float) -> None:
    """Refuse a percentile that is none, or that so few baseline tiles do not have: for before a long comparison.

    Raises:
        TooFewTilesError, InvalidRequestError: as `flag_copies`.
    """
    if not 0 < percentile < 100:
        raise InvalidRequestError(f"percentile = {percentile:g}: above 0 and below 100 is needed, e.g. 1")
    needed = int(np.ceil(100 / percentile))
    if num_tiles < needed:
        raise TooFewTilesError(
            f"percentile {percentile:g} of a baseline needs at least {needed} real tiles with texture, "
            f"given {num_tiles}: add tiles or take a higher percentile"
        )


def _group_of_each(groups: Sequence[str | None] | None, num_tiles: int) -> np.ndarray:
    """object `(num_tiles,)`."""
    each = np.full(num_tiles, None, dtype=object)
    if groups is not None:
        if len(groups) != num_tiles:
            raise InvalidRequestError(f"{len(groups)} groups for {num_tiles} tiles: give one a tile")
        each[:] = groups
    return each


def _no_matches(num_tiles: int) -> Matches:
    return Matches(
        similarity=np.full(num_tiles, np.nan),
        region=np.full(num_tiles, None, dtype=object),
        xy=np.full((num_tiles, 2), -1),
        orientation=np.full(num_tiles, -1),
    )


def _improvements(
    templates: np.ndarray, is_compared: np.ndarray, windows: Windows, coarse: np.ndarray
) -> Iterator[tuple[int, float, int, np.ndarray]]:
    """Tile, similarity, orientation and (x, y) of the window, for tiles more similar to one than `coarse` says."""
    compared = np.flatnonzero(is_compared) if len(windows.rows) else np.array([], dtype=int)
    for start in range(0, len(compared), TILES_AT_ONCE):
        some = compared[start : start + TILES_AT_ONCE]
        rows = templates[some].reshape(-1, templates.shape[-1])
        similarities = (rows @ windows.rows.T).reshape(len(some), -1)  # (n · 8, P) → (n, 8 · P)
        best = similarities.max(axis=1)
        orientation, window = np.divmod(similarities.argmax(axis=1), len(windows.rows))
        for i in np.flatnonzero(best > coarse[some]):
            yield some[i], best[i], orientation[i], windows.xy[window[i]]


def _refine(template: np.ndarray, image: np.ndarray, side_px: int, xy: np.ndarray) -> tuple[float, np.ndarray]:
    """Similarity and (x, y) of the best window within a step of this one, pixel by pixel."""
    left, top = np.maximum(xy - STEP_PX, 0)
    right, bottom = xy + side_px + STEP_PX
    # a lower bar than on the grid: the window found there must not fall below it by rounding
    windows = windows_of(image[top:bottom, left:right], side_px, step_px=1, min_texture=MIN_TEXTURE / 2)
    similarities = windows.rows @ template
    best = similarities.argmax()
    return min(float(similarities[best]), 1.0), windows.xy[best] + (left, top)
