"""Predictions of any classifier, one row a tile, read and validated against tiles whose metadata are known.

Columns: the tile, as `tile` or `id` (content hash, as in the reference set), or with a manifest as `path` (as
written there) and, of a grid tile, `x` and `y`; `true`; `predicted` and/or the probability of each class as
`p:<class>`; any attribute of `metadata/schema.py`, `patient_id`, `slide`, `split`, `tissue` and `dataset`, where given
in place of what is known of the tile. Knows no model: it may be the user's own.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.manifest import (
    NUMERIC,
    clean_text,
    convert_numbers,
    describe_rows,
    read_manifest,
    read_table,
    value_faults,
)
from medi_core.errors import ManifestError, PredictionsError
from medi_core.metadata.schema import ATTRIBUTES

PROBABILITY = "p:"
"""Prefix of the columns of probabilities; the class follows."""
METADATA = (*(attribute.name for attribute in ATTRIBUTES), "patient_id", "slide", "split", "tissue", "dataset")
PLACE = ("image", "x", "y")
"""Where the pixels of a known tile are in its source."""
COLUMNS = ("id", "true", "predicted", *METADATA, *PLACE)
MAX_BYTES, MAX_ROWS, MAX_CLASSES = 50_000_000, 100_000, 100
SUM_TOLERANCE = 0.01
"""Probabilities of many classes, each rounded to three digits, miss 1 by less."""
ALLOWED = f"allowed: tile (or id, or path, x, y), true, predicted, p:<class>, {', '.join(METADATA)}"


@dataclass(frozen=True, eq=False)
class PredictionSet:
    """What one model said of N tiles."""

    model: str
    """Its name, for people."""
    tiles: pd.DataFrame
    """One row a tile, `COLUMNS`; what is not known is `None` or NaN."""
    classes: tuple[str, ...]
    """All labels that are true or can be predicted, sorted."""
    probabilities: np.ndarray | None = field(default=None, repr=False)
    """float64 `(N, K)`, columns as `classes`, rows sum to 1."""

    def part(self, mask: np.ndarray) -> "PredictionSet":
        """The tiles for which a boolean mask `(N,)` is true."""
        mask = np.asarray(mask, dtype=bool)
        probabilities = None if self.probabilities is None else self.probabilities[mask]
        return PredictionSet(self.model, self.tiles[mask].reset_index(drop=True), self.classes, probabilities)


def read_predictions(path: Path, known: pd.DataFrame | None, manifest: Path | None = None) -> PredictionSet:
    """Read predictions and join what is known of their tiles.

    Args:
        path: a `.csv` or `.parquet` file of at most `MAX_BYTES`, `MAX_ROWS` and `MAX_CLASSES`; `attrs["model"]` of a
            parquet file names the model, else the file's name does.
        known: as `join_predictions`; not read where there is a manifest.
        manifest: tiles by place instead. Its images must exist, but are not opened.

    Raises:
        PredictionsError: as `join_predictions`.
        ManifestError: the manifest cannot be used.
    """
    return join_predictions(_read(path), path.name, known, manifest)


def join_predictions(
    frame: pd.DataFrame, name: str, known: pd.DataFrame | None, manifest: Path | None = None
) -> PredictionSet:
    """A table of predictions with what is known of its tiles.

    Args:
        frame: as the module says; changed in place. `attrs["model"]` names the model, else `name` does.
        name: what messages call the table.
        known: tiles by `id`, e.g. of the reference set, with columns of `METADATA` and `PLACE`.
        manifest: as `read_predictions`.

    Raises:
        PredictionsError: one message with every fault found and the rows it is in (1 = first data row). A tile that is
            not known needs a `patient_id` of its own.
    """
    model = str(frame.attrs.get("model", Path(name).stem))
    keys = _tile_columns(frame, name, manifest)
    _require_columns(frame, name, keys)
    classes, probabilities = _probabilities(frame)
    faults = [str(fault) for fault in convert_numbers(frame)]
    for column in set(frame.columns) - set(NUMERIC) - {PROBABILITY + label for label in classes}:
        frame[column] = clean_text(frame[column])
    faults += [*map(str, value_faults(frame)), *_tile_faults(frame, keys), *_probability_faults(probabilities)]
    if "predicted" not in frame and not faults:
        frame["predicted"] = np.array(classes, dtype=object)[probabilities.argmax(axis=1)]
    faults += _label_faults(frame, classes)
    if faults:
        raise PredictionsError(f"{name} cannot be used: " + "; ".join(faults))
    tiles = _join(frame, *(known, ["id"]) if manifest is None else (_tiles_of(frame, manifest), keys), name)
    if probabilities is None:
        return PredictionSet(model, tiles, tuple(sorted({*tiles["true"], *tiles["predicted"]})))
    order = np.argsort(classes)
    probabilities = probabilities[:, order] / probabilities.sum(axis=1, keepdims=True)
    return PredictionSet(model, tiles, tuple(classes[i] for i in order), probabilities)


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise PredictionsError(f"predictions {path} do not exist")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise PredictionsError(f"{path.name} has {size / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} MB are read")
    try:
        frame = read_table(path)
    except ManifestError as error:
        raise PredictionsError(str(error)) from error
    if not 1 <= len(frame) <= MAX_ROWS:
        raise PredictionsError(f"{path.name} has {len(frame):,} rows: from 1 to {MAX_ROWS:,} are read")
    return frame


def _tile_columns(frame: pd.DataFrame, name: str, manifest: Path | None) -> list[str]:
    """Which columns name the tile; `tile` is renamed to `id`."""
    if manifest is not None:
        if "path" not in frame:
            raise PredictionsError(f"{name} has no column path: with a manifest it names the image of each tile")
        return ["path", "x", "y"] if {"x", "y"} <= set(frame.columns) else ["path"]
    given = [column for column in ("tile", "id") if column in frame]
    if len(given) != 1:
        hint = "; tiles by path need their manifest" if "path" in frame else ""
        raise PredictionsError(f"{name} must name the tile in one column, tile or id{hint}; {ALLOWED}")
    frame.rename(columns={"tile": "id"}, inplace=True)
    return ["id"]


def _require_columns(frame: pd.DataFrame, name: str, keys: list[str]) -> None:
    has_probabilities = any(column.startswith(PROBABILITY) for column in frame)
    missing = [] if "true" in frame else ["true"]
    missing += [] if "predicted" in frame or has_probabilities else ["predicted, or p:<class> for each class"]
    if missing:
        raise PredictionsError(f"{name} lacks the column {' and the column '.join(missing)}; {ALLOWED}")
    extra = set(frame.columns) - {*keys, "true", "predicted", *METADATA}
    if unknown := sorted(column for column in extra if not column.startswith(PROBABILITY)):
        raise PredictionsError(f"{name} has unknown columns: {', '.join(unknown)}; {ALLOWED}. Rename or drop them")


def _probabilities(frame: pd.DataFrame) -> tuple[list[str], np.ndarray | None]:
    """Classes as named in the columns, and float64 `(N, K)` with NaN for what is no number."""
    given = {column: column.removeprefix(PROBABILITY).strip() for column in frame if column.startswith(PROBABILITY)}
    _require_different_classes(list(given.values()))
    frame.rename(columns={column: PROBABILITY + name for column, name in given.items()}, inplace=True)
    columns = [PROBABILITY + name for name in given.values()]
    if not columns:
        return [], None
    numbers = frame[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    return [column.removeprefix(PROBABILITY) for column in columns], numbers


def _require_different_classes(classes: list[str]) -> None:
    """Each class once. pandas calls the second column `p:a` of a CSV `p:a.1`, which would pass for a class."""
    stems = [re.sub(r"\.\d+$", "", name) for name in classes]
    twice = {name for name in classes if classes.count(name) > 1}
    twice |= {stem for name, stem in zip(classes, stems, strict=True) if stem != name and stem in classes}
    if twice:
        raise PredictionsError(
            f"there are several columns of the probability of {', '.join(sorted(twice))}; keep one of each class, "
            "and name no class like another with .1 at its end"
        )


def _tile_faults(frame: pd.DataFrame, keys: list[str]) -> Iterator[str]:
    for column in (keys[0], "true", *(["predicted"] if "predicted" in frame else [])):
        if (is_empty := frame[column].isna()).any():
            yield f"{column} is empty, {describe_rows(is_empty)}"
    duplicate = frame.duplicated(keys) & frame[keys[0]].notna()
    if duplicate.any():
        yield f"the same tile is listed twice, {describe_rows(duplicate, frame[keys[0]])}"


def _probability_faults(probabilities: np.ndarray | None) -> Iterator[str]:
    if probabilities is None:
        return
    is_bad = ~((probabilities >= 0) & (probabilities <= 1)).all(axis=1)  # NaN is neither
    if is_bad.any():
        yield f"a probability must be a number from 0 to 1, {describe_rows(pd.Series(is_bad))}"
    sums = pd.Series(probabilities.sum(axis=1))
    is_off = (sums - 1).abs().gt(SUM_TOLERANCE) & ~is_bad
    if is_off.any():
        yield f"probabilities do not sum to one, {describe_rows(is_off, sums.round(3).map(str))}"


def _label_faults(frame: pd.DataFrame, classes: list[str]) -> Iterator[str]:
    labels = {*classes, *frame["true"].dropna(), *frame.get("predicted", pd.Series(dtype=object)).dropna()}
    if len(labels) > MAX_CLASSES:
        yield f"there are {len(labels):,} classes, at most {MAX_CLASSES} are compared"
    if classes:
        for column in {"true", "predicted"} & set(frame.columns):
            is_unknown = frame[column].notna() & ~frame[column].isin(classes)
            if is_unknown.any():
                yield f"{column} has a class without a column p:<class>, {describe_rows(is_unknown, frame[column])}"
    elif not set(frame["predicted"].dropna()) & set(frame["true"].dropna()):
        some = [", ".join(sorted(frame[name].dropna().unique())[:3]) for name in ("true", "predicted")]
        yield f"no predicted class is a true one, are they named alike? true: {some[0]} …; predicted: {some[1]} …"


def _tiles_of(frame: pd.DataFrame, manifest: Path) -> pd.DataFrame:
    """Tiles of a manifest; the paths of the predictions become absolute as those of a manifest are."""
    tiles, folder = read_manifest(manifest), manifest.resolve().parent
    frame["path"] = [os.path.normpath(folder / path) for path in frame["path"]]
    if "x" not in frame and tiles["path"].duplicated().any():
        raise PredictionsError(f"{manifest.name} has several tiles an image: the predictions need columns x and y")
    place = tiles[["x", "y"]].map(lambda number: f"{number:g}").agg(",".join, axis=1)
    tiles["id"] = tiles["path"] + ("@" + place).where(tiles["x"].notna(), "")
    return tiles.assign(image=tiles["path"].map(os.path.basename))


def _join(frame: pd.DataFrame, known: pd.DataFrame, keys: list[str], name: str) -> pd.DataFrame:
    """`COLUMNS`: what the table says itself, else what is known of the tile."""
    columns = list(dict.fromkeys([*keys, "id", *METADATA, *PLACE]))
    known = known.reindex(columns=columns).drop_duplicates(keys)
    found = frame[keys].merge(known, "left", on=keys, indicator=True)
    unknown = found["_merge"] == "left_only"
    if "patient_id" in frame and keys == ["id"]:
        unknown &= frame["patient_id"].isna()
    if unknown.any():
        raise PredictionsError(
            f"{name} has tiles that are not known, {describe_rows(unknown, frame[keys[0]])}. Name them as the "
            "reference set or the manifest does; tiles by id may come with a patient_id of their own instead"
        )
    given = frame.reindex(columns=COLUMNS)
    joined = given.astype(object).where(given.notna(), found.reindex(columns=COLUMNS).astype(object))
    numbers = [column for column in NUMERIC if column in joined]
    return joined.where(joined.notna(), None).astype(dict.fromkeys(numbers, float))
