"""Training tiles straight from uncompressed WebDataset tars: an index in memory, never the images.

The index says where each image lies in its tar, so that tile number i of a run is a function of (seed, i) here too: any
split over processes and workers gives the same tiles, and a training resumes at the very tile. Shuffling shuffles the
index, not a buffer of images. It knows no model.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medi_core.data.archive_checks import check_image_header
from medi_core.data.import_webdataset import describe_samples, read_samples
from medi_core.data.manifest import clean_text, convert_numbers, split_faults, value_faults
from medi_core.data.safe_tar import read_members
from medi_core.data.splits import split_by_patient
from medi_core.data.tile_dataset import (
    STAINS,
    TILE_PX,
    SamplingConfig,
    condition_ids_of,
    crop,
    decode_image,
    read_grid_tile,
    training_item,
)
from medi_core.errors import InvalidRequestError, ManifestError
from medi_core.metadata.schema import ATTRIBUTES
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.stain.separation import stain_strengths

SHARDS_AT_ONCE = 8
"""Tiles are shuffled among so many shards, and the shards among themselves: reads stay within a few files."""
NUM_STAIN_TILES = 2000
"""Drawn for the bin edges of the stains, where no label gives these."""
TEXT = (
    *(attribute.name for attribute in ATTRIBUTES if attribute.kind != "binned"),
    *("patient_id", "slide", "split", "dataset", "licence"),
)
NUMBERS = tuple(attribute.name for attribute in ATTRIBUTES if attribute.kind == "binned")
PLACE = ("shard", "offset", "num_bytes")


def index_shards(folder: Path) -> pd.DataFrame:
    """One pass over the labels of all tars of a folder; no image is decoded.

    Returns:
        One row a tile: `PLACE` (tar, and where in it), the attributes, patient, slide, split, data set and licence;
        texts as categories, a few bytes a tile. Without any `split`, one is drawn by patient (seed 0).

    Raises:
        ManifestError: no tar, a tar that is damaged or unsafe, or labels that a manifest would not take.
    """
    tars = sorted(folder.glob("*.tar"))
    if not tars:
        raise ManifestError(f"{folder} has no .tar file; give a manifest, or a folder of uncompressed WebDataset tars")
    parts = []
    for tar in tars:  # one at a time: a sample lies within one tar
        if not (samples := read_samples([tar], ())):
            continue  # e.g. a filter left out all its tiles
        part = pd.DataFrame(describe_samples(samples, {})).reindex(columns=[*TEXT, *NUMBERS])
        part["shard"], places = tar.name, [sample.place for sample in samples.values()]
        part["offset"], part["num_bytes"] = zip(*places, strict=True)
        parts.append(part)
    if not parts:
        raise ManifestError(f"no samples in the tars of {folder}")
    index = pd.concat(parts, ignore_index=True)
    faults = list(convert_numbers(index))
    for name in TEXT:
        index[name] = clean_text(index[name])
    faults += [*value_faults(index), *split_faults(index)]
    if faults:
        raise ManifestError(f"the labels in {folder} cannot be used: " + "; ".join(map(str, faults)))
    if index["split"].isna().all():
        index = split_by_patient(index)
    return index.astype(dict.fromkeys((*TEXT, "shard"), "category"))


def measure_some_stains(folder: Path, rows: pd.DataFrame, side_px: int, seed: int = 0) -> pd.DataFrame:
    """The rows with stains measured on the centre of at most `NUM_STAIN_TILES` of those that lack them."""
    todo = rows.index[rows[list(STAINS)].isna().any(axis=1)].to_numpy()
    drawn = np.sort(np.random.default_rng(seed).permutation(todo)[:NUM_STAIN_TILES])
    measured = rows.copy()
    centre = pd.Series({"path": "the image", "x": np.nan, "y": np.nan})
    for i in drawn:
        tile = read_grid_tile(centre, read_tile(folder, rows.loc[i], side_px), side_px)
        measured.loc[i, list(STAINS)] = stain_strengths(tile)
    return measured


def read_tile(folder: Path, place: pd.Series, side_px: int) -> np.ndarray:
    """The image at a place, uint8 `(H, W, 3)`, at least `side_px` a side.

    Raises:
        ManifestError: it is damaged or too small; names the member.
    """
    try:
        with open(folder / place["shard"], "rb") as tar:  # opened anew: workers must not share a position in a file
            tar.seek(place["offset"])
            content = tar.read(place["num_bytes"])
        check_image_header(content, "it")
        image = decode_image(content)
    except (ManifestError, OSError) as error:
        raise ManifestError(f"{member_at(folder, place)} cannot be read: {error}; mend or remove it") from error
    if min(image.shape[:2]) < side_px:
        height, width = image.shape[:2]
        raise ManifestError(f"{member_at(folder, place)} is {width}×{height} px; a tile needs {side_px} px a side")
    return image


def member_at(folder: Path, place: pd.Series) -> str:
    """`part000.tar: 'a/b.png'`: names are looked up when there is a fault, rather than kept for millions of tiles."""
    try:
        members = read_members([folder / place["shard"]])
        return next(member.where for member in members if member.offset == place["offset"])
    except (ManifestError, StopIteration):
        return f"{place['shard']}, byte {place['offset']}"


class ShardTileDataset(torch.utils.data.Dataset):
    """Endless passes over the tiles of shards, each tile once a pass; an item is as of `RandomTileDataset`.

    Args:
        rows: of one split, as `index_shards` gives them.
        config: `temperature` must be 1, for every tile is seen equally often.

    Raises:
        InvalidRequestError: another temperature.
    """

    def __init__(
        self, folder: Path, rows: pd.DataFrame, vocabulary: Vocabulary, config: SamplingConfig, side_px: int = TILE_PX
    ) -> None:
        if config.temperature != 1:
            raise InvalidRequestError(
                f"temperature = {config.temperature:g}: each tile of shards is seen once an epoch, so it must be 1; "
                "to balance, write other shards"
            )
        self.folder, self.vocabulary, self.config, self.side_px = folder, vocabulary, config, side_px
        self._places = rows[list(PLACE)].sort_values("shard", kind="stable").reset_index(drop=True)
        self._ids = condition_ids_of(rows.loc[rows.sort_values("shard", kind="stable").index], vocabulary)
        codes = self._places["shard"].cat.remove_unused_categories().cat.codes.to_numpy()
        self._bounds = np.flatnonzero(np.diff(codes, prepend=-1, append=codes.max() + 1))
        self._epoch, self._order = -1, np.empty(0, np.int64)

    @property
    def num_tiles(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, place = divmod(index, self.num_tiles)
        row = int(self.order_of(epoch)[place])
        rng = np.random.default_rng((self.config.seed, index))
        tile = crop(read_tile(self.folder, self._places.loc[row], self.side_px), rng, self.config, self.side_px)
        return training_item(tile, self._ids[row], rng, self.vocabulary)

    def order_of(self, epoch: int) -> np.ndarray:
        """The rows in the order of a pass, int64 `(N,)`: a function of (seed, epoch)."""
        if epoch != self._epoch:
            rng = np.random.default_rng((self.config.seed, epoch))
            shards = rng.permutation(len(self._bounds) - 1)
            windows = [shards[i : i + SHARDS_AT_ONCE] for i in range(0, len(shards), SHARDS_AT_ONCE)]
            rows = [np.concatenate([np.arange(self._bounds[s], self._bounds[s + 1]) for s in w]) for w in windows]
            self._epoch, self._order = epoch, np.concatenate([rng.permutation(r) for r in rows])
        return self._order
