"""Controls: real tiles spoiled on purpose, so that a distance between sets can be read. Knows no model.

Blurred tiles have the right colours and no detail; stain-shuffled ones the right tissue in the stain of another
tile, and so most often of another center. A useful distance puts both farther away than real tiles of other patients.
Stain-jittered ones are what a training is usually given instead of synthetic tiles: an arm of the experiment.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from medi_core.data.feature_cache import tile_digest
from medi_core.data.grid_tiles import iterate_grid_tiles
from medi_core.data.patients import in_turns, patients_of
from medi_core.data.reference_set import COLUMNS, ReferenceSet, is_train_split
from medi_core.errors import TooLittleTissueError
from medi_core.services.encoding import EncodingService
from medi_core.stain.jitter import jitter_stains
from medi_core.stain.restain import StainProfile, measure_profile, restain
from medi_core.stain.separation import stain_strengths

BLURRED, STAIN_SHUFFLED, STAIN_JITTERED = "blurred", "stain-shuffled", "stain-jittered"
JITTER = 0.3
"""Each stain of a jittered tile is scaled by 1 ± this."""
MAX_TILES_A_CELL = 24
"""Of a (cancer type, center, split), spread over its patients."""
BLUR_SIGMA_PX = 2.0
"""1 µm at 0.5 µm per pixel: nuclei stay, chromatin goes."""


def make_controls(
    manifest: pd.DataFrame,
    real: pd.DataFrame,
    encoding: EncodingService,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> ReferenceSet:
    """Blurred and stain-shuffled copies of some training tiles of every cell, stain-jittered ones of all splits.

    Tiles without two stains have no copy. A shuffled tile has the stain of another training tile, a jittered one
    nobody's: an experiment may train on it whoever it tests.

    Args:
        manifest: rows of grid tiles, as `read_manifest` gives them.
        real: rows of the reference set, in the manifest's order.
        encoding: makes the features.
        seed: of the tiles drawn, and of whose stain each one gets.
        on_progress: called with (tiles read, tiles in all).

    Returns:
        Rows of the tiles they were made from, but: `id` and stains of the copy, origin `control`, group `blurred`,
        `stain-shuffled` or `stain-jittered`, and in `of` the id of the real tile.
    """
    tiles, profiles = _with_two_stains(manifest.loc[_spread(real, seed)], on_progress)
    every, is_train = sorted(tiles), is_train_split(real)
    trained_on = [row for row in every if is_train[row]]  # what held-out tiles are compared with
    order = np.random.default_rng(seed).permutation(trained_on)
    donor = dict(zip(order, np.roll(order, 1), strict=True))
    jitter = np.random.default_rng(seed)
    copies = {
        BLURRED: (trained_on, [_blur(tiles[row]) for row in trained_on]),
        STAIN_SHUFFLED: (trained_on, [restain(tiles[r], profiles[r], profiles[donor[r]]) for r in trained_on]),
        STAIN_JITTERED: (every, [jitter_stains(tiles[row], JITTER, jitter) for row in every]),
    }
    parts = [_described(real.loc[rows], group, images) for group, (rows, images) in copies.items()]
    features = [encoding.features_of(images) for _, images in copies.values()]
    return ReferenceSet(pd.concat(parts, ignore_index=True), np.concatenate(features), {})


def _spread(real: pd.DataFrame, seed: int) -> pd.Index:
    """Rows of at most `MAX_TILES_A_CELL` tiles a cell and split: no second tile of a patient before a first of all."""
    known = real.dropna(subset=["cancer_type", "center"]).assign(like=patients_of(real))
    ordered = in_turns(known, ["cancer_type", "center", "like"], seed)
    return ordered.groupby(["cancer_type", "center", ordered["split"].fillna("train")]).head(MAX_TILES_A_CELL).index


def _with_two_stains(
    manifest: pd.DataFrame, on_progress: Callable[[int, int], None]
) -> tuple[dict[int, np.ndarray], dict[int, StainProfile]]:
    tiles, profiles = {}, {}
    for rows, images in iterate_grid_tiles(manifest, on_progress):
        for row, image in zip(rows.index, images, strict=True):
            try:
                profiles[row] = measure_profile(image)
            except TooLittleTissueError:
                continue
            tiles[row] = image
    return tiles, profiles


def _described(real: pd.DataFrame, group: str, images: list[np.ndarray]) -> pd.DataFrame:
    strengths = np.array([stain_strengths(image) for image in images]).reshape(-1, 2)
    facts = {"of": real["id"], "origin": "control", "group": group, "map_x": np.nan, "map_y": np.nan}
    made = {"id": [tile_digest(image) for image in images], "hematoxylin": strengths[:, 0], "eosin": strengths[:, 1]}
    return real.assign(**facts).assign(**made).reindex(columns=COLUMNS)


def _blur(image: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image.astype(np.float32), (BLUR_SIGMA_PX, BLUR_SIGMA_PX, 0)).round().astype(np.uint8)
