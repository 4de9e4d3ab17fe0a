"""The copy audit: which windows of training regions tiles are most like, and how unusual that is.

It looks at pixels (metrics/memorization.py), so the reference set keeps its results: neither the training regions nor
the pixels of the bank are there when they are looked at.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.grid_tiles import iterate_grid_tiles
from medi_core.data.manifest import read_manifest
from medi_core.data.patients import in_turns, patients_of
from medi_core.data.reference_set import is_held_out, is_train_split
from medi_core.data.tile_dataset import read_image
from medi_core.errors import InvalidRequestError, ManifestError, ReferenceSetError
from medi_core.metrics.intervals import wilson_interval
from medi_core.metrics.memorization import Region, flag_copies, nearest_windows, require_baseline

WINDOW_COLUMNS = ("window_similarity", "window_image", "window_x", "window_y", "window_turn")
"""Of the training window a tile is most like: correlation, name of its image, left and top edge in px, and which of
the 8 orientations of the tile is like it."""
MAX_BASELINE = 500
"""Held-out real tiles whose nearest windows tell what is usual, spread over their patients."""
REPORT_COLUMNS = ("group", "n", "n_unmeasurable", "flagged", "share", "ci_low", "ci_high")
OVERALL = "all synthetic"

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class CopyReport:
    """Tiles nearer to a training region than real tiles of other patients usually are."""

    table: pd.DataFrame
    """A row a group of synthetic tiles and one of all: `REPORT_COLUMNS`; the interval is Wilson's, a tile a case."""
    pairs: pd.DataFrame
    """Synthetic tiles that could be measured, the most similar first: their rows, and `flagged`."""
    threshold: float
    """Distance (1 − similarity) up to which a tile is flagged."""
    percentile: float
    """Of the baseline's distances: the share, in %, that is flagged where nothing is copied."""
    baseline: np.ndarray
    """float64 `(M,)`: similarities of the held-out real tiles."""


def windows_of_tiles(
    tiles: Sequence[np.ndarray],
    groups: Sequence[str | None],
    training: pd.DataFrame,
    on_progress: OnProgress = lambda *_: None,
) -> pd.DataFrame:
    """The most similar window of all training images for each tile: `WINDOW_COLUMNS`, NaN where it has no texture.

    Args:
        tiles: uint8 `(S, S, 3)`, all of one size.
        groups: the patient of each tile, or `None`: regions of the same patient are not compared.
        training: rows of a manifest whose images the generator was trained on.
        on_progress: called with (images done, images in all).

    Raises:
        InvalidRequestError: tiles of several sizes.
        ManifestError: an image that is missing, unreadable or smaller than a tile.
    """
    if len(shapes := {tile.shape for tile in tiles}) > 1:
        raise InvalidRequestError(f"tiles of {len(shapes)} sizes ({sorted(shapes)}): audit those of one size at a time")
    num_images = training["path"].nunique()
    regions = _regions(training)
    found = nearest_windows(np.stack(tiles), regions, groups, lambda done: on_progress(done, num_images))
    measured = np.isfinite(found.similarity)
    columns = (found.similarity, found.region, *found.xy.T, found.orientation)
    frame = pd.DataFrame(dict(zip(WINDOW_COLUMNS, columns, strict=True)))
    return frame.where(pd.Series(measured), None).astype({name: float for name in frame if name != "window_image"})


def audit_files(
    synthetic_path: Path, real_path: Path, percentile: float = 1.0, on_progress: OnProgress = lambda *_: None
) -> CopyReport:
    """Audit synthetic tiles on disk against the real tiles that their generator was trained on.

    Args:
        synthetic_path: manifest of tiles, e.g. of `generate`.
        real_path: manifest of real tiles; rows of the training split, or without one, are what may have been copied,
            those of other splits tell what is usual.
        percentile: as in `flag_copies`.
        on_progress: called with (images done, images in all).

    Raises:
        ManifestError: a manifest or an image that cannot be used, or no row of the training split.
        TooFewTilesError: too few held-out tiles for such a percentile.
    """
    synthetic, real = read_manifest(synthetic_path), read_manifest(real_path)
    real = real[real["origin"] != "synthetic"]
    training = real[is_train_split(real)]
    if training.empty:
        raise ManifestError(f"{real_path.name} has no row of the training split: nothing can have been copied from it")
    held_out = baseline_rows(real.assign(origin="real"))
    require_baseline(len(held_out), percentile)  # before the long part
    made, usual = tiles_of(synthetic), tiles_of(held_out)
    groups = [*[None] * len(made), *held_out["patient_id"]]
    windows = windows_of_tiles([*made, *usual], groups, training, on_progress)
    rows = pd.concat([synthetic.assign(origin="synthetic", group="files"), held_out.assign(group="real")])
    audited = pd.concat([rows.reset_index(drop=True), windows], axis=1)
    return copy_report(audited, percentile)


def copy_report(tiles: pd.DataFrame, percentile: float = 1.0) -> CopyReport:
    """Flags, by group, from the similarities that rows of tiles hold.

    Args:
        tiles: `origin`, `group`, `split`, `WINDOW_COLUMNS`; similarities of held-out real rows are the baseline.
        percentile: of the baseline's distances, as in `flag_copies`.

    Raises:
        ReferenceSetError: no synthetic row was compared with the training regions.
        TooFewTilesError: too few baseline rows for the percentile.
        InvalidRequestError: a percentile outside its range.
    """
    synthetic = tiles[tiles["origin"] == "synthetic"].reset_index(drop=True)
    if "window_similarity" not in tiles or synthetic["window_similarity"].isna().all():
        raise ReferenceSetError("these tiles were not compared with the training regions: rebuild the reference set")
    baseline = tiles.loc[is_held_out(tiles), "window_similarity"].dropna().to_numpy(float)
    audit = flag_copies(synthetic["window_similarity"].to_numpy(float), baseline, percentile)
    synthetic["flagged"] = audit.flagged
    groups = [(OVERALL, synthetic), *synthetic.groupby("group")]
    table = pd.DataFrame([_report_row(name, rows) for name, rows in groups], columns=list(REPORT_COLUMNS))
    measured = synthetic.dropna(subset=["window_similarity"])
    pairs = measured.sort_values("window_similarity", ascending=False, kind="stable", ignore_index=True)
    return CopyReport(table, pairs, audit.threshold, percentile, baseline)


def baseline_rows(real: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """At most `MAX_BASELINE` held-out rows: no second tile of a patient before a first of all, seeded."""
    held_out = real[is_held_out(real)]
    return held_out.loc[in_turns(held_out.assign(like=patients_of(held_out)), ["like"], seed).index[:MAX_BASELINE]]


def tiles_of(manifest: pd.DataFrame) -> list[np.ndarray]:
    """Pixels of a manifest's grid tiles in its order, uint8 `(128, 128, 3)` each."""
    by_row = {}
    for rows, images in iterate_grid_tiles(manifest):
        by_row |= dict(zip(rows.index, images, strict=True))
    return [by_row[row] for row in manifest.index]


def _regions(training: pd.DataFrame) -> Iterator[Region]:
    for path, rows in training.groupby("path", sort=False):
        yield Region(Path(path).name, read_image(path), rows["patient_id"].iloc[0])


def _report_row(name: str, rows: pd.DataFrame) -> tuple:
    is_measured = rows["window_similarity"].notna()
    n, flagged = int(is_measured.sum()), int(rows["flagged"].sum())
    share = flagged / n if n else np.nan
    return name, n, int((~is_measured).sum()), flagged, share, *wilson_interval(flagged, n)
