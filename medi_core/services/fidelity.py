"""How far synthetic tiles are from real ones, subgroup by subgroup. Knows no model, no pixels.

Everything is read from the features of a reference set. No distance is shown without its floor: what real tiles
of other patients give, with as many tiles of the same (cancer type, center) cells. Real tiles come several a
patient and are alike within one; synthetic ones are not, so a distance may fall a little below its floor.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from medi_core.data.patients import in_turns, patients_of
from medi_core.data.reference_set import REBUILD, ReferenceSet, is_held_out, is_train_split
from medi_core.errors import InvalidRequestError, ReferenceSetError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.metrics.frechet import frechet_distance
from medi_core.metrics.kernel import kernel_distance_of_subsets
from medi_core.metrics.prdc import precision_recall_density_coverage
from medi_core.services.asked_versus_got import STAINS, Trust, measured_requests, trust_in
from medi_core.services.controls import BLURRED, STAIN_SHUFFLED
from medi_core.services.reference import ReferenceService
from medi_core.services.synthetic_bank import CLASS_ONLY, TRAINED, UNSEEN

BY = ("overall", "cancer_type", "center")
TRAINED_PAIRS, UNSEEN_PAIRS = "seen and rare pairs", "never seen pairs"
ASKED, OPEN, FLOOR = "synthetic (asked with metadata)", "synthetic (class only)", "real, other patients"
BLUR, SHUFFLE = "real, other patients, blurred", "real, other patients, stain-shuffled"
CONTROLS = {BLUR: BLURRED, SHUFFLE: STAIN_SHUFFLED}
HELD_OUT = "held out"
CELL = ["cancer_type", "center"]
MEASURES = ("kid", "kid_sd", "fd", "precision", "recall", "density", "coverage")

Sides = dict[str, pd.DataFrame | None]
"""Held-out tiles and what is compared with them, indexed by the rows of their features; `None`: there can be none."""


@dataclass(frozen=True)
class FidelityConfig:
    """How sets of tiles are compared."""

    max_tiles: int = 1000
    """Most tiles a side."""
    min_tiles: int = 16
    """Fewer tiles a side are not compared."""
    num_subsets: int = 50
    """Of the kernel distance, each of at most `subset_tiles` and at most half of a side."""
    subset_tiles: int = 100
    neighbours: int = 5
    """That set the radius in precision, recall, density and coverage."""
    seed: int = 0
    """Of the tiles drawn and of the subsets."""

    def __post_init__(self) -> None:
        least = max(self.neighbours + 1, 4)
        if not least <= self.min_tiles <= self.max_tiles:
            allowed = f"{least} (for {self.neighbours} neighbours) to max_tiles = {self.max_tiles}"
            raise InvalidRequestError(f"min_tiles = {self.min_tiles}: it must be from {allowed}")


DEFAULT = FidelityConfig()


class FidelityService:
    """The tables of the loaded reference set, each computed when first asked for and then kept."""

    def __init__(self, reference: ReferenceService, vocabulary: Vocabulary) -> None:
        self._reference, self._vocabulary = reference, vocabulary
        self._lock = threading.Lock()
        self._of: ReferenceSet | None = None
        self._tables: dict[tuple, pd.DataFrame] = {}

    @property
    def encoder(self) -> str:
        """Whose features are compared: distances are named after it."""
        return self._reference.load().facts["encoder"]

    def fidelity(self, by: str, config: FidelityConfig = DEFAULT) -> pd.DataFrame:
        """`fidelity_table` of the reference set."""
        return self._kept((by, config), lambda reference: fidelity_table(reference, by, config))

    def asked_versus_got(self, attribute: str) -> pd.DataFrame:
        """`asked_versus_got` of the reference set, as kept with it.

        Raises:
            ReferenceSetError: nothing is kept with it.
        """
        kept = self._reference.load().facts.get("asked")
        if kept is None:
            raise ReferenceSetError(f"the reference set was built without probes; {REBUILD}")
        return measured_requests(kept, attribute)

    def stains(self) -> pd.DataFrame:
        """`stain_agreement` of the reference set, as kept with it."""
        return self.asked_versus_got(STAINS)

    def trust_of(self, record: MetadataRecord) -> Trust | None:
        """`trust_in` a record, by the support its pair has in the checkpoint's training."""
        pair = MetadataRecord(cancer_type=record.cancer_type, center=record.center)
        tables = {name: self.asked_versus_got(name) for name in CELL}
        return trust_in(tables, pair, self._vocabulary.support_of(pair).status)

    def trust_report(self, record: MetadataRecord) -> dict[str, Any]:
        """`trust_of` a record as plain JSON, beside the support of what it asks for.

        Returns:
            `metadata`, `support` (in words) and `trust`: fields of `Trust`, or `None` where it is not measured.

        Raises:
            InvalidRequestError: no cancer type, or no center.
            UnknownValueError: a value that the checkpoint does not know.
            ReferenceSetError: nothing was measured for this checkpoint.
        """
        self._vocabulary.encode(record)
        if record.cancer_type is None or record.center is None:
            given = ", ".join(f"{name} {value}" for name, value in record.to_dict().items()) or "nothing"
            raise InvalidRequestError(f"trust is measured of a cancer type at a center; given: {given}. Name both")
        trust = self.trust_of(record)
        support = self._vocabulary.support_of(record).describe()
        return {
            "metadata": record.to_dict(),
            "support": support,
            "trust": None if trust is None else asdict(trust),
        }

    def _kept(self, key: tuple, compute: Callable[[ReferenceSet], pd.DataFrame]) -> pd.DataFrame:
        reference = self._reference.load()
        with self._lock:
            if reference is not self._of:  # it was built anew
                self._of, self._tables = reference, {}
            if key not in self._tables:
                self._tables[key] = compute(reference)
            return self._tables[key].copy()


def fidelity_table(reference_set: ReferenceSet, by: str = "overall", config: FidelityConfig = DEFAULT) -> pd.DataFrame:
    """Synthetic tiles, and real ones of the training split, against real tiles of patients the generator never saw.

    Two more rows are real tiles of the training split spoiled on purpose (services/controls.py): blurred, and in the
    stain of another tile. They show what the measures see, and have an n of their own: a cell may have fewer of them.

    All sides of a subgroup have the same number of tiles of each (cancer type, center) cell that none of them
    lacks, so that a different mix does not pass for a lack of fidelity. Class-only tiles have no center: they match
    by cancer type, and there is no row for them by center. Never-seen pairs are a subgroup of `overall`, if
    held-out tiles of them exist, and in no other; no training tile is of them, so they have no floor.

    Args:
        reference_set: features and metadata.
        by: `overall`, `cancer_type` or `center`.
        config: how tiles are drawn and compared.

    Returns:
        A row a (subgroup, compared): by, subgroup, compared, n (tiles a side, the same for all but the spoiled ones),
        n_patients and num_cells (of the held-out tiles), kid and kid_sd (mean and spread over subsets), fd,
        precision, recall, density, coverage; NaN below `min_tiles`. Compare rows of one subgroup only: all but kid
        depend on n, and fixed numbers a cell pull kid below 0, the more the fewer tiles, its floor as much (class
        only about half).

    Raises:
        InvalidRequestError: another `by`.
    """
    if by not in BY:
        raise InvalidRequestError(f"by = {by!r}: it must be one of {', '.join(BY)}")
    rows = [
        {"by": by, "subgroup": subgroup} | row
        for subgroup, sides in _subgroups(reference_set.tiles, by)
        for row in _compare(reference_set.features, sides, config)
    ]
    return pd.DataFrame(rows, columns=["by", "subgroup", "compared", "n", "n_patients", "num_cells", *MEASURES])


def matched_rows(sides: Sides, max_tiles: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of each side, with as many tiles of each (cancer type, center) as every side has; int64 `(n,)` each.

    Args:
        sides: rows with `CELL` and `like`; the side `OPEN` has no center and matches by cancer type.
        max_tiles: most tiles a side.
        seed: of the draw.
    """
    wanted = _tiles_a_cell(sides, max_tiles)
    return {name: _draw(side, wanted, name == OPEN, seed) for name, side in sides.items()}


def _subgroups(tiles: pd.DataFrame, by: str) -> Iterator[tuple[str, Sides]]:
    """Each subgroup with its sides."""
    frame = tiles[[*CELL, *("origin", "group", "split", "patient_id")]].assign(like=patients_of(tiles))
    frame = frame.reset_index(drop=True)
    is_train = is_train_split(frame)
    sides = {
        HELD_OUT: frame[is_held_out(frame)],
        ASKED: frame[frame["group"].isin(TRAINED)],
        OPEN: frame[frame["group"] == CLASS_ONLY],
        FLOOR: frame[(frame["origin"] == "real") & is_train],
    } | {name: frame[(frame["group"] == group) & is_train] for name, group in CONTROLS.items()}
    if by == "overall":
        yield TRAINED_PAIRS, sides
        nobody = dict.fromkeys((FLOOR, *CONTROLS))
        unseen = sides | nobody | {ASKED: frame[frame["group"] == UNSEEN]}
        if len(_sizes(unseen[ASKED]).index.intersection(_sizes(unseen[HELD_OUT]).index)):
            yield UNSEEN_PAIRS, unseen
        return
    if by == "center":
        del sides[OPEN]
    for value in sorted({*sides[ASKED][by].dropna(), *sides[HELD_OUT][by].dropna()}):
        yield value, {name: side[side[by] == value] for name, side in sides.items()}


def _compare(features: np.ndarray, sides: Sides, config: FidelityConfig) -> list[dict[str, object]]:
    """A row a side that is compared with the held-out one; NaN for a side without tiles."""
    main = {name: side for name, side in sides.items() if name not in CONTROLS}
    given = {name: side for name, side in main.items() if side is not None and (name != OPEN or len(side))}
    wanted = _tiles_a_cell(given, config.max_tiles)
    rows = [_row(features, given, name, wanted, config) for name in main if name != HELD_OUT]
    for name in sides.keys() & CONTROLS:
        side = sides[name]
        if side is not None and len(side):  # it has the tiles it has: the others are compared without it
            fewer = pd.concat([wanted, _sizes(side)], axis=1, join="inner").min(axis=1).astype(int)
            rows.append(_row(features, {HELD_OUT: given[HELD_OUT], name: side}, name, fewer, config))
    order = list(sides)
    return sorted(rows, key=lambda row: order.index(row["compared"]))


def _row(
    features: np.ndarray, given: dict[str, pd.DataFrame], name: str, wanted: pd.Series, config: FidelityConfig
) -> dict[str, object]:
    """One side against the held-out one, with as many tiles a cell as wanted; NaN if it is not given, or too small."""
    real = _draw(given[HELD_OUT], wanted, False, config.seed)
    patients = given[HELD_OUT].loc[real, "like"].nunique()
    facts = {"compared": name, "n": len(real), "n_patients": patients, "num_cells": len(wanted)}
    if name not in given or len(real) < config.min_tiles:
        return facts | dict.fromkeys(MEASURES, np.nan)
    rows = _draw(given[name], wanted, name == OPEN, config.seed)
    return facts | _measure(features[real], features[rows], config)


def _measure(real: np.ndarray, compared: np.ndarray, config: FidelityConfig) -> dict[str, float]:
    """`MEASURES` of two sets of features, `(n, D)` each."""
    subset = min(config.subset_tiles, len(real) // 2)
    distances = kernel_distance_of_subsets(real, compared, subset, config.num_subsets, config.seed)
    shares = precision_recall_density_coverage(real, compared, config.neighbours)
    return {"kid": distances.mean, "kid_sd": distances.std, "fd": frechet_distance(real, compared)} | asdict(shares)


def _tiles_a_cell(sides: dict[str, pd.DataFrame], max_tiles: int) -> pd.Series:
    """How many tiles of each (cancer type, center) every side can give, at most `max_tiles` in all."""
    sizes = [_sizes(side) for name, side in sides.items() if name != OPEN]
    counts = pd.concat(sizes, axis=1, join="inner").min(axis=1).astype(int)
    if OPEN in sides:
        available = sides[OPEN].groupby("cancer_type").size()
        for cancer_type in counts.index.unique("cancer_type"):
            of_type = counts.loc[[cancer_type]]
            counts.loc[of_type.index] = _at_most(of_type.to_numpy(), available.get(cancer_type, 0))
    counts[:] = _at_most(counts.to_numpy(), max_tiles)
    return counts[counts > 0]


def _sizes(side: pd.DataFrame) -> pd.Series:
    """Tiles of each cell; a tile without cancer type or center is of none."""
    return side.groupby(CELL).size()


def _at_most(counts: np.ndarray, limit: int) -> np.ndarray:
    """Counts brought down to a sum of `limit`, in proportion; as they are if the sum is below."""
    if counts.sum() <= limit:
        return counts
    ends = np.round(np.concatenate([[0], counts.cumsum()]) * (limit / counts.sum())).astype(int)
    return np.diff(ends)


def _draw(side: pd.DataFrame, wanted: pd.Series, is_open: bool, seed: int) -> np.ndarray:
    """Rows of a side, as many of each cell as wanted (if open, of each cancer type), spread over many patients."""
    ordered = in_turns(side, ["like"], np.random.default_rng(seed))
    quota = wanted.groupby(level="cancer_type").sum() if is_open else wanted
    places = ordered.groupby("cancer_type" if is_open else CELL).indices
    rows = [ordered.index[places[name]][:num] for name, num in quota.items()]
    return np.concatenate([np.empty(0, dtype=int), *rows])
