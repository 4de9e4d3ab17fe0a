"""The reference set: features and metadata of real and synthetic tiles, no images. Read and written whole.

A folder of `reference.json` (which checkpoint, which encoder, how it was made) and `tiles-NN.parquet`, each
below 10 MB: one row a tile, its features as little-endian float16 in the column `features`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from medi_core.data.manifest import HELD_OUT_SPLITS
from medi_core.errors import ReferenceSetError
from medi_core.metadata.schema import ATTRIBUTES
from medi_core.storage import present_folder, replaced_folder, translate_write_errors

FACTS_NAME = "reference.json"
REBUILD = "rebuild it: python -m medi_core build-reference --manifest tiles.csv"
TILES_A_FILE = 6000
"""Times 512 float16 features and their metadata: about 7 MB."""
DECLARED = "declared held out"
"""Among the facts of a loaded set, never in its file: patients that its checkpoint declares to be held out."""
COLUMNS = (
    "id",
    "origin",
    "group",
    *(attribute.name for attribute in ATTRIBUTES),
    "patient_id",
    "slide",
    "split",
    "tissue",
    "dataset",
    "licence",
    "source",
    "image",
    "x",
    "y",
    "seed",
    "requested",
    "of",
    "window_similarity",
    "window_image",
    "window_x",
    "window_y",
    "window_turn",
    "map_x",
    "map_y",
)
"""`id`: content hash of the pixels. `origin`: real, synthetic or control. `group`: real; of a synthetic tile the status
of its pair (seen, rare, never seen), class only or attribute sweep; of a control what was done to the real tile `of`.
`image`: the file's name at its source. `requested`: provenance of a synthetic tile, JSON. `window_…`: the training
window that a synthetic or held-out tile is most like (services/copy_audit.py). `map_x`, `map_y`: place in the shipped
map; controls have none. Stains are measured; the other metadata of a synthetic tile are those asked for."""


@dataclass(frozen=True)
class ReferenceSet:
    """Real and synthetic tiles by their features."""

    tiles: pd.DataFrame
    """One row a tile, `COLUMNS`."""
    features: np.ndarray = field(repr=False)
    """float32 `(N, D)`, in the order of `tiles`."""
    facts: Mapping[str, Any]
    """`checkpoint`, `encoder` and how it was made: plain JSON."""

    def __post_init__(self) -> None:
        assert len(self.tiles) == len(self.features), (len(self.tiles), len(self.features))

    def part(self, mask: np.ndarray) -> "ReferenceSet":
        """The tiles for which a boolean mask `(N,)` is true."""
        mask = np.asarray(mask, dtype=bool)
        return ReferenceSet(self.tiles[mask].reset_index(drop=True), self.features[mask], self.facts)

    @property
    def real(self) -> "ReferenceSet":
        return self.part(self.tiles["origin"] == "real")

    @property
    def synthetic(self) -> "ReferenceSet":
        return self.part(self.tiles["origin"] == "synthetic")


def write_reference(reference: ReferenceSet, folder: Path) -> None:
    """Write in place of what is there, whole or not at all.

    Raises:
        StorageError: the folder cannot be written; it is as it was.
    """
    frame = reference.tiles.reindex(columns=COLUMNS)
    frame["features"] = [row.tobytes() for row in reference.features.astype("<f2")]
    with replaced_folder(folder) as new:
        for number, start in enumerate(range(0, len(frame), TILES_A_FILE)):
            part = frame.iloc[start : start + TILES_A_FILE]
            part.to_parquet(new / f"tiles-{number:02d}.parquet", index=False, compression="zstd")
        facts = {**reference.facts, "tiles": len(frame), "dim": reference.features.shape[1]}
        (new / FACTS_NAME).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def has_reference(folder: Path) -> bool:
    """Whether there is a reference set, be it damaged."""
    return (present_folder(folder) / FACTS_NAME).is_file()


def read_reference(folder: Path) -> ReferenceSet:
    """Read a reference set.

    Raises:
        ReferenceSetError: it is missing, damaged or incomplete.
    """
    if not has_reference(folder):
        raise ReferenceSetError(f"there is no reference set in {folder.name}/; {REBUILD}")
    folder = present_folder(folder)
    try:
        facts = json.loads((folder / FACTS_NAME).read_text(encoding="utf-8"))
        frame = pd.concat([pd.read_parquet(p) for p in sorted(folder.glob("tiles-*.parquet"))], ignore_index=True)
        features = np.frombuffer(b"".join(frame.pop("features")), "<f2").reshape(len(frame), facts["dim"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReferenceSetError(f"the reference set in {folder.name}/ is damaged ({error}); {REBUILD}") from error
    if len(frame) != facts.get("tiles"):
        raise ReferenceSetError(
            f"the reference set in {folder.name}/ is incomplete: {len(frame):,} of {facts.get('tiles'):,} tiles; "
            + REBUILD
        )
    features = features.astype(np.float32)
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features).all(axis=1)).sum())
        raise ReferenceSetError(
            f"{bad} tiles of the reference set in {folder.name}/ have no finite features; {REBUILD}"
        )
    return ReferenceSet(frame, features, facts)


def require_match(reference: ReferenceSet, checkpoint_id: str, encoder: str) -> None:
    """Refuse, by name, a reference set of another checkpoint or encoder.

    Raises:
        ReferenceSetError: which one it belongs to, and which one is loaded.
    """
    for what, loaded in (("checkpoint", checkpoint_id), ("encoder", encoder)):
        if reference.facts.get(what) != loaded:
            raise ReferenceSetError(
                f"the reference set belongs to the {what} {reference.facts.get(what)}, but {loaded} is loaded; "
                f"load that one, or {REBUILD} with --checkpoint and --encoder of what is loaded (into another "
                "MEDI_ASSETS_DIR, to keep this one)"
            )


def write_pixels(tiles: np.ndarray, path: Path) -> None:
    """Pixels of a part while a set is being built, uint8 `(N, S, S, 3)`; a finished set holds none.

    Raises:
        StorageError: the file cannot be written.
    """
    with translate_write_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"tiles": np.ascontiguousarray(tiles)}, path)  # it would write memory as it lies


def read_pixels(path: Path) -> np.ndarray:
    """What `write_pixels` wrote.

    Raises:
        ReferenceSetError: the file is missing or damaged.
    """
    try:
        return load_file(path)["tiles"]
    except (OSError, SafetensorError, KeyError) as error:
        raise ReferenceSetError(f"{path.name} cannot be read: {error}") from error


def is_held_out(tiles: pd.DataFrame) -> pd.Series:
    """bool `(N,)`: real tiles of patients that the generator never saw."""
    return (tiles["origin"] == "real") & tiles["split"].isin(HELD_OUT_SPLITS)


def is_train_split(tiles: pd.DataFrame) -> pd.Series:
    """bool `(N,)`: rows that a training takes; those without a split are among them."""
    return tiles["split"].fillna("train") == "train"
