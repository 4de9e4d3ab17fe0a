"""Random training tiles from source regions, reproducible by index. Knows no model.

Tile number i of a run is a function of (seed, i) alone: it does not depend on batch size, worker or
process, so an interrupted training resumes exactly without any saved random state.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, UnidentifiedImageError

from medi_core.data.manifest import ROWS_SHOWN
from medi_core.errors import ManifestError
from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary, build_vocabulary
from medi_core.stain.separation import stain_strengths, tissue_mask

TILE_PX = 128
STAINS = ("hematoxylin", "eosin")


@dataclass(frozen=True)
class SamplingConfig:
    """How training tiles are drawn."""

    temperature: float = 0.5
    """p(cell) ∝ n^temperature over the (cancer type, center) cells: 1 = as frequent as in the data,
    0 = every cell alike. n is the number of tiles that fit into the cell's regions."""
    min_tissue: float = 0.25
    """A crop with less tissue is drawn again, at most `attempts` times; the last one is kept."""
    attempts: int = 8
    seed: int = 0


def read_image(path: str | Path) -> np.ndarray:
    """uint8 `(H, W, 3)`, RGB.

    Raises:
        ManifestError: the file is not an image.
    """
    try:
        with open(path, "rb") as file:
            return decode_image(file.read())
    except (OSError, ManifestError) as error:
        raise ManifestError(f"{path} cannot be read as an image: {error}") from error


def decode_image(content: bytes) -> np.ndarray:
    """uint8 `(H, W, 3)`, RGB, of the bytes of an image file.

    Raises:
        ManifestError: they are no image, or a broken one.
    """
    try:
        with Image.open(BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ManifestError(str(error)) from error


def read_grid_tile(row: pd.Series, region: np.ndarray, side_px: int = TILE_PX) -> np.ndarray:
    """The tile of a manifest row: at (x, y), or the centre of the image; uint8 `(side, side, 3)`."""
    height, width = region.shape[:2]
    if min(height, width) < side_px:
        raise ManifestError(f"{row['path']} is {width}×{height} px; a tile needs at least {side_px} px a side")
    x = (width - side_px) // 2 if pd.isna(row["x"]) else int(row["x"])
    y = (height - side_px) // 2 if pd.isna(row["y"]) else int(row["y"])
    if x + side_px > width or y + side_px > height:
        raise ManifestError(f"tile at ({x}, {y}) leaves {row['path']}, which is {width}×{height} px")
    return region[y : y + side_px, x : x + side_px]


def measure_stains(manifest: pd.DataFrame, regions: dict[str, np.ndarray], side_px: int = TILE_PX) -> pd.DataFrame:
    """The manifest with `hematoxylin` and `eosin` measured on each grid tile where not given."""
    manifest = manifest.copy()
    todo = manifest[list(STAINS)].isna().any(axis=1)
    for i, row in manifest[todo].iterrows():
        measured = stain_strengths(read_grid_tile(row, regions[row["path"]], side_px))
        for name, strength in zip(STAINS, measured, strict=True):
            if pd.isna(row[name]):
                manifest.loc[i, name] = strength
    return manifest


def vocabulary_of(manifest: pd.DataFrame, attributes: tuple[str, ...]) -> Vocabulary:
    """The vocabulary, with bin edges and support, of a training manifest with measured stains."""
    return build_vocabulary(attribute_rows(manifest, attributes), attributes, list(manifest["patient_id"]))


def attribute_rows(manifest: pd.DataFrame, attributes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Attribute → value, `None` where it is not recorded, a mapping a tile; cancer type and center always."""
    columns = list(dict.fromkeys((*attributes, "cancer_type", "center")))
    return manifest[columns].astype(object).where(manifest[columns].notna(), None).to_dict("records")


def record_of(row: pd.Series, vocabulary: Vocabulary) -> MetadataRecord:
    """The metadata of a manifest row as this vocabulary can say it: binned, unknown values left out."""
    values = {}
    for name in vocabulary.attributes:
        if pd.isna(row[name]):
            continue
        value = vocabulary.bin_of(name, row[name]) if ATTRIBUTE[name].kind == "binned" else row[name]
        if value in vocabulary.values[name]:
            values[name] = value
    return MetadataRecord(**values)


def condition_ids_of(rows: pd.DataFrame, vocabulary: Vocabulary) -> np.ndarray:
    """int64 `(N, A)`: `vocabulary.encode(record_of(row))` of each row, a column at a time."""
    columns = []
    for name, values in vocabulary.values.items():
        if ATTRIBUTE[name].kind == "binned":
            numbers = rows[name].to_numpy(dtype=float)
            ids = np.searchsorted(vocabulary.bin_edges[name], numbers, side="right")
            columns.append(np.where(np.isnan(numbers), len(values), ids))
        else:
            ids = pd.Categorical(rows[name], categories=list(values)).codes.astype(np.int64)
            columns.append(np.where(ids < 0, len(values), ids))
    return np.stack(columns, axis=1).astype(np.int64)


def crop(image: np.ndarray, rng: np.random.Generator, config: SamplingConfig, side_px: int) -> np.ndarray:
    """A random crop, drawn again while it has too little tissue; uint8 `(side, side, 3)`."""
    height, width = image.shape[:2]
    for _ in range(config.attempts):
        x = int(rng.integers(width - side_px + 1))
        y = int(rng.integers(height - side_px + 1))
        tile = image[y : y + side_px, x : x + side_px]
        if tissue_mask(tile[::4, ::4]).mean() >= config.min_tissue:
            break
    return tile


def training_item(
    tile: np.ndarray, ids: np.ndarray, rng: np.random.Generator, vocabulary: Vocabulary
) -> tuple[torch.Tensor, torch.Tensor]:
    """A crop, turned at random, and its ids with the stain bins of the crop itself: uint8 `(3, S, S)`, int64 `(A,)`."""
    ids = ids.copy()
    strengths = dict(zip(STAINS, stain_strengths(tile), strict=True))
    for column, name in enumerate(vocabulary.attributes):
        if name in strengths:
            measurable = not np.isnan(strengths[name])
            ids[column] = int(vocabulary.bin_of(name, strengths[name])) - 1 if measurable else vocabulary.null_id(name)
    tile = np.rot90(tile, k=rng.integers(4))
    if rng.integers(2):
        tile = tile[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(tile.transpose(2, 0, 1))), torch.from_numpy(ids)


class RandomTileDataset(torch.utils.data.Dataset):
    """Endless random crops, flips and rotations of regions, with their condition ids.

    Item i is `(tile, condition_ids)`: uint8 `(3, S, S)` and int64 `(A,)`. Stain bins are measured on
    the crop itself. Attributes are not dropped here: that is the training's business.

    Args:
        manifest: rows of one split, as `read_manifest` gives them; rows that share a path are one region.
        regions: path → image, uint8 `(H, W, 3)`, at least `side_px` a side.

    Raises:
        ManifestError: regions smaller than a tile; one message with their sizes.
    """

    def __init__(
        self,
        manifest: pd.DataFrame,
        regions: dict[str, np.ndarray],
        vocabulary: Vocabulary,
        config: SamplingConfig,
        side_px: int = TILE_PX,
    ) -> None:
        self.config, self.vocabulary, self.side_px = config, vocabulary, side_px
        rows = manifest.drop_duplicates("path").reset_index(drop=True)
        self._images = [regions[path] for path in rows["path"]]
        _require_side(rows["path"], self._images, side_px)
        self._ids = condition_ids_of(rows, vocabulary)
        self.probabilities = self._region_probabilities(rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((self.config.seed, index))
        region = int(rng.choice(len(self.probabilities), p=self.probabilities))
        tile = crop(self._images[region], rng, self.config, self.side_px)
        return training_item(tile, self._ids[region], rng, self.vocabulary)

    def _region_probabilities(self, rows: pd.DataFrame) -> np.ndarray:
        """Cells by temperature, regions of a cell by area (see `SamplingConfig.temperature`)."""
        area = pd.Series([image.shape[0] * image.shape[1] / self.side_px**2 for image in self._images])
        cell = rows["cancer_type"].fillna("").astype(str) + "\n" + rows["center"].fillna("").astype(str)
        cell_area = area.groupby(cell).transform("sum")
        weight = area / cell_area * cell_area**self.config.temperature
        return (weight / weight.sum()).to_numpy()


def _require_side(paths: Iterable[str], images: Iterable[np.ndarray], side_px: int) -> None:
    small = [
        f"{path} ({image.shape[1]}×{image.shape[0]} px)"
        for path, image in zip(paths, images, strict=True)
        if min(image.shape[:2]) < side_px
    ]
    if small:
        more = f" … ({len(small)} in all)" if len(small) > ROWS_SHOWN else ""
        raise ManifestError(
            f"a tile needs at least {side_px} px a side, but smaller are: {', '.join(small[:ROWS_SHOWN])}{more}; "
            "leave these rows out"
        )
