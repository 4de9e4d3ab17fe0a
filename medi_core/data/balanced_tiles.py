"""Labelled training tiles, drawn so that classes and centers weigh alike, reproducible by index. Knows no model.

Tile number i of a run is a function of (seed, i) alone, as in `RandomTileDataset`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from medi_core.data.grid_tiles import iterate_grid_tiles
from medi_core.errors import InvalidRequestError
from medi_core.stain.jitter import jitter_stains


@dataclass(frozen=True)
class AugmentationConfig:
    """How often each tile is drawn, and how it is changed."""

    temperature: float = 0.5
    """p(class) ∝ n^temperature, and within a class p(center) ∝ n^temperature: 0 = every class, and in it every
    center, alike; 1 = as frequent as in the data."""
    stain_jitter: float = 0.3
    """Each stain is scaled by a factor from 1 ± this; 0 = stains as they are."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("temperature", "stain_jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidRequestError(f"{name} must be from 0 to 1, given {getattr(self, name)}")


def balanced_probabilities(classes: pd.Series, centers: pd.Series, temperature: float) -> np.ndarray:
    """How likely each tile is drawn; see `AugmentationConfig.temperature`.

    Args:
        classes, centers: `(N,)`, one a tile; a missing center is a center of its own.

    Returns:
        float64 `(N,)`, sum 1.
    """
    rows = pd.DataFrame({"label": classes.to_numpy(), "center": centers.fillna("").to_numpy(), "n": 1})
    of_label = rows.groupby("label")["n"].transform("sum")
    of_cell = rows.groupby(["label", "center"])["n"].transform("sum")
    weight = of_cell**temperature / of_cell
    weight *= of_label**temperature / weight.groupby(rows["label"]).transform("sum")
    return (weight / weight.sum()).to_numpy()


def read_tiles(rows: pd.DataFrame, on_progress: Callable[[int, int], None] = lambda *_: None) -> np.ndarray:
    """The grid tiles of manifest rows, uint8 `(N, 128, 128, 3)`, in their order; 49 KB each, all in memory.

    Raises:
        ManifestError: an image cannot be used.
    """
    places = pd.Series(np.arange(len(rows)), index=rows.index)
    found: list[np.ndarray | None] = [None] * len(rows)
    for part, tiles in iterate_grid_tiles(rows, on_progress):
        for place, tile in zip(places[part.index], tiles, strict=True):
            found[place] = tile
    return np.stack(found) if found else np.empty((0, 128, 128, 3), np.uint8)


class BalancedTileDataset(torch.utils.data.Dataset):
    """Labelled tiles in a balanced draw, turned, mirrored and stained anew.

    Args:
        tiles: uint8 `(N, H, W, 3)`.
        labels: int64 `(N,)`.
        probabilities: `(N,)`, sum 1, of `balanced_probabilities`.
        config: seed and strength of the augmentation.

    `dataset[i]` is uint8 `(H, W, 3)` and an int64 scalar.
    """

    def __init__(
        self, tiles: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, config: AugmentationConfig
    ) -> None:
        assert len(tiles) == len(labels) == len(probabilities), (len(tiles), len(labels), len(probabilities))
        self._tiles, self._labels, self.config = tiles, labels, config
        self._cumulative = np.cumsum(probabilities)

    def row_of(self, index: int) -> int:
        """Which tile draw number `index` takes."""
        return self._row(np.random.default_rng((self.config.seed, index)))

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((self.config.seed, index))
        row = self._row(rng)
        tile = np.rot90(self._tiles[row], k=rng.integers(4))
        if rng.integers(2):
            tile = tile[:, ::-1]
        if self.config.stain_jitter:
            tile = jitter_stains(tile, self.config.stain_jitter, rng)
        return torch.from_numpy(np.ascontiguousarray(tile)), torch.tensor(self._labels[row])

    def _row(self, rng: np.random.Generator) -> int:
        row = np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1], side="right")
        return int(min(row, len(self._tiles) - 1))
