"""How far synthetic tiles are from real ones, and how often they show what was asked for. Knows no model, no pixels.

Everything is read from the features of a reference set. No distance is shown without its floor: what real tiles
of other patients give, with as many tiles of the same (cancer type, center) cells. Real tiles come several a
patient and are alike within one; synthetic ones are not, so a distance may fall a little below its floor.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from medi_core.data.patients import patients_of
from medi_core.data.reference_set import ReferenceSet
from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.metrics.frechet import frechet_distance
from medi_core.metrics.kernel import kernel_distance_of_subsets
from medi_core.metrics.prdc import precision_recall_density_coverage
from medi_core.metrics.probes import Probe, agreement_by_label, fit_probe
from medi_core.services.reference import ReferenceService
from medi_core.services.synthetic_bank import CLASS_ONLY

BY = ("overall", "cancer_type", "center")
PROBED = ("cancer_type", "center", "preparation")
TRAINED, UNSEEN = ("seen", "rare"), "never seen"
TRAINED_PAIRS, UNSEEN_PAIRS = "seen and rare pairs", "never seen pairs"
ASKED, OPEN, FLOOR = "synthetic (asked with metadata)", "synthetic (class only)", "real, other patients"
HELD_OUT = "held out"
CELL = ["cancer_type", "center"]
MEASURES = ("kid", "kid_sd", "fd", "precision", "recall", "density", "coverage")
ASKED_COLUMNS = (
    *("attribute", "value", "group", "n", "agreement", "ci_low", "ci_high"),
    *("real_n", "real_patients", "real_agreement", "real_ci_low", "real_ci_high", "ratio", "chance"),
)

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


@dataclass(frozen=True)
class Trust:
    """How far a (cancer type, center) is got when asked for, by the weaker of the two."""

    value: float
    """Agreement on synthetic tiles over that on held-out real ones; 0 to 1."""
    weakest: str
    """`center` or `cancer_type`: the one that sets the value; the numbers below are of it."""
    group: str
    """`seen`, `rare` or `never seen`: pairs of this kind were asked for."""
    num_tiles: int
    """Synthetic tiles."""
    num_real: int
    num_patients: int
    """Held-out real tiles and their patients."""


class FidelityService:
    """The tables of the loaded reference set, each computed when first asked for and then kept."""

    def __init__(self, reference: ReferenceService, vocabulary: Vocabulary) -> None:
        self._reference, self._vocabulary = reference, vocabulary
        self._lock = threading.Lock()
        self._of: ReferenceSet | None = None
        self._tables: dict[tuple, pd.DataFrame] = {}

    def fidelity(self, by: str, config: FidelityConfig = DEFAULT) -> pd.DataFrame:
        """`fidelity_table` of the reference set."""
        return self._kept((by, config), lambda reference: fidelity_table(reference, by, config))

    def asked_versus_got(self, attribute: str) -> pd.DataFrame:
        """`asked_versus_got` of the reference set."""
        return self._kept((attribute,), lambda reference: asked_versus_got(reference, attribute))

    def stains(self) -> pd.DataFrame:
        """`stain_agreement` of the reference set."""
        return self._kept((), lambda reference: stain_agreement(reference.synthetic.tiles))

    def trust_of(self, record: MetadataRecord) -> Trust | None:
        """Trust in the (cancer type, center) of a record, whatever else it holds; the first call fits two probes.

        Returns:
            `None` where it is not measured: one of the two is not set, no tile was asked for with it among pairs
            of this kind, or the probe is not clearly above chance on real tiles of it.
        """
        asked = {"cancer_type": record.cancer_type, "center": record.center}
        if None in asked.values():
            return None
        group = self._vocabulary.support_of(MetadataRecord(**asked)).status
        rows = [_measured(self.asked_versus_got(name), value, group) for name, value in asked.items()]
        if any(row is None for row in rows):
            return None
        row = min(rows, key=lambda row: row["ratio"])
        numbers = (int(row[name]) for name in ("n", "real_n", "real_patients"))
        return Trust(min(float(row["ratio"]), 1.0), row["attribute"], group, *numbers)

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

    All sides of a subgroup have the same number of tiles of each (cancer type, center) cell that none of them
    lacks, so that a different mix does not pass for a lack of fidelity. Class-only tiles have no center: they match
    by cancer type, and there is no row for them by center. Never-seen pairs are a subgroup of `overall`, if
    held-out tiles of them exist, and in no other; no training tile is of them, so they have no floor.

    Args:
        reference_set: features and metadata.
        by: `overall`, `cancer_type` or `center`.
        config: how tiles are drawn and compared.

    Returns:
        A row a (subgroup, compared): by, subgroup, compared, n (tiles a side, the same for all rows of a subgroup),
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


def asked_versus_got(reference_set: ReferenceSet, attribute: str, seed: int = 0) -> pd.DataFrame:
    """What a probe trained on real tiles of the training split sees in synthetic ones, beside held-out real ones.

    The probe may know a cancer type by the look of its centers: in never-seen pairs it then errs where the
    generator does not.

    Args:
        reference_set: features and metadata.
        attribute: `cancer_type`, `center` or `preparation`.
        seed: of the bootstrap over patients.

    Returns:
        A row a (value asked for, kind of pair): attribute, value, group, n, agreement with its 95 % interval (each
        seed is a case), real_n, real_patients, real_agreement with its interval (over patients), ratio of both
        agreements (may exceed 1), chance (1 / labels of the probe). NaN for a value that the probe could not
        learn, or where there are no tiles. Empty if no synthetic tile was asked for with this attribute.

    Raises:
        InvalidRequestError: another attribute.
    """
    if attribute not in PROBED:
        raise InvalidRequestError(f"attribute = {attribute!r}: it must be one of {', '.join(PROBED)}")
    tiles = reference_set.tiles
    is_known, is_real = tiles[attribute].notna(), tiles["origin"] == "real"
    probe = _probe_of(reference_set.part(is_real & is_known & (tiles["split"] == "train")), attribute)
    held_out = reference_set.part(is_known & _is_held_out(tiles))
    tables = []
    for group in (*TRAINED, UNSEEN):
        part = reference_set.part(is_known & (tiles["group"] == group))
        if len(part.tiles):
            tables.append(_agreement(probe, part, attribute, np.arange(len(part.tiles)), seed).assign(group=group))
    if not tables:
        return pd.DataFrame(columns=list(ASKED_COLUMNS))
    real = _agreement(probe, held_out, attribute, patients_of(held_out.tiles), seed).add_prefix("real_")
    table = pd.concat(tables).merge(real, "left", left_on="value", right_on="real_value")
    table["real_patients"] = table["value"].map(held_out.tiles.groupby(attribute)["patient_id"].nunique())
    table = table.fillna({"real_n": 0, "real_patients": 0}).astype({"real_n": int, "real_patients": int})
    table["ratio"] = table["agreement"] / table["real_agreement"].where(table["real_agreement"] > 0)
    table["chance"] = 1 / len(probe.classes) if probe else np.nan
    return table.assign(attribute=attribute).sort_values("value", kind="stable", ignore_index=True)[list(ASKED_COLUMNS)]


def stain_agreement(synthetic: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of the stain bin asked for with the strength measured on the tile.

    Args:
        synthetic: synthetic tiles; `requested` holds what was asked for, the stain columns what was measured.

    Returns:
        Columns attribute, n (tiles with both), spearman (NaN: below 3 tiles, or one bin); a row a stain asked for.
    """
    asked = [json.loads(text).get("metadata", {}) for text in synthetic["requested"].fillna("{}")]
    rows = []
    for name in ("hematoxylin", "eosin"):
        bins = pd.Series([record.get(name) for record in asked], index=synthetic.index, dtype=float)
        both = pd.DataFrame({"asked": bins, "got": synthetic[name].astype(float)}).dropna()
        if bins.notna().any():
            tells = len(both) > 2 and (both.nunique() > 1).all()  # two are always in order
            spearman = both["asked"].rank().corr(both["got"].rank()) if tells else np.nan
            rows.append((name, len(both), spearman))
    return pd.DataFrame(rows, columns=["attribute", "n", "spearman"])


def _subgroups(tiles: pd.DataFrame, by: str) -> Iterator[tuple[str, Sides]]:
    """Each subgroup with its sides."""
    frame = tiles[[*CELL, *("origin", "group", "split", "patient_id")]].assign(like=patients_of(tiles))
    frame = frame.reset_index(drop=True)
    sides = {
        HELD_OUT: frame[_is_held_out(frame)],
        ASKED: frame[frame["group"].isin(TRAINED)],
        OPEN: frame[frame["group"] == CLASS_ONLY],
        FLOOR: frame[(frame["origin"] == "real") & (frame["split"] == "train")],
    }
    if by == "overall":
        yield TRAINED_PAIRS, sides
        unseen = sides | {ASKED: frame[frame["group"] == UNSEEN], FLOOR: None}
        if len(_sizes(unseen[ASKED]).index.intersection(_sizes(unseen[HELD_OUT]).index)):
            yield UNSEEN_PAIRS, unseen
        return
    if by == "center":
        del sides[OPEN]
    for value in sorted({*sides[ASKED][by].dropna(), *sides[HELD_OUT][by].dropna()}):
        yield value, {name: side[side[by] == value] for name, side in sides.items()}


def _compare(features: np.ndarray, sides: Sides, config: FidelityConfig) -> list[dict[str, object]]:
    """A row a side that is compared with the held-out one; NaN for a side without tiles."""
    given = {name: side for name, side in sides.items() if side is not None and (name != OPEN or len(side))}
    wanted = _tiles_a_cell(given, config.max_tiles)
    drawn = {name: _draw(side, wanted, name == OPEN, config.seed) for name, side in given.items()}
    real = drawn.pop(HELD_OUT)
    patients = given[HELD_OUT].loc[real, "patient_id"]
    facts = {"n": len(real), "n_patients": patients.nunique(), "num_cells": len(wanted)}
    is_enough = len(real) >= config.min_tiles
    measures = {name: _measure(features[real], features[rows], config) for name, rows in drawn.items() if is_enough}
    nothing = dict.fromkeys(MEASURES, np.nan)
    return [{"compared": name} | facts | measures.get(name, nothing) for name in sides if name != HELD_OUT]


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
    shuffled = side.sample(frac=1, random_state=np.random.default_rng(seed))
    turn = shuffled.groupby("like").cumcount()  # no second tile of a patient before a first one of all
    ordered = shuffled.loc[turn.sort_values(kind="stable").index]
    quota = wanted.groupby(level="cancer_type").sum() if is_open else wanted
    places = ordered.groupby("cancer_type" if is_open else CELL).indices
    rows = [ordered.index[places[name]][:num] for name, num in quota.items()]
    return np.concatenate([np.empty(0, dtype=int), *rows])


def _probe_of(real: ReferenceSet, attribute: str) -> Probe | None:
    """`None` where there are too few tiles to learn any two values."""
    try:
        return fit_probe(real.features, real.tiles[attribute], real.tiles["patient_id"])
    except TooFewTilesError:
        return None


def _agreement(probe: Probe | None, part: ReferenceSet, attribute: str, groups: Sequence, seed: int) -> pd.DataFrame:
    """Columns value, n, agreement, ci_low, ci_high; n counts all tiles, also of values that the probe never learnt."""
    asked = part.tiles[attribute]
    got = np.full(len(asked), None, dtype=object)
    if probe is not None:
        is_learnt = asked.isin(probe.classes).to_numpy()
        got[is_learnt] = probe.predict(part.features[is_learnt])
    table = agreement_by_label(asked, got, groups, seed=seed).rename(columns={"label": "value"})
    table["n"] = table["value"].map(asked.value_counts())
    return table.drop(columns="n_groups")


def _measured(table: pd.DataFrame, value: str, group: str) -> pd.Series | None:
    """The row of a value, if its ratio is one of agreements that tell something."""
    tells = table["ratio"].notna() & (table["real_ci_low"] > table["chance"])
    rows = table[tells & (table["value"] == value) & (table["group"] == group)]
    return None if rows.empty else rows.iloc[0]


def _is_held_out(tiles: pd.DataFrame) -> pd.Series:
    """Real tiles of patients that the generator never saw."""
    return (tiles["origin"] == "real") & tiles["split"].isin(("val", "test"))
