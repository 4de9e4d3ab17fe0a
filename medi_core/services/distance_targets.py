"""How near synthetic tiles must come to real ones of test patients: distances against goals. No model, no pixels.

Only the test split is read: validation patients may have had a say in when a training stopped.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medi_core.data.patients import in_turns, patients_of
from medi_core.data.reference_set import ReferenceSet, is_train_split
from medi_core.errors import TooFewTilesError
from medi_core.metadata.schema import display_name
from medi_core.metrics.intervals import NO_INTERVAL, proportion_interval
from medi_core.metrics.jackknife import jackknife_interval
from medi_core.metrics.kernel import kernel_distance
from medi_core.metrics.prdc import precision_recall_density_coverage
from medi_core.metrics.probes import held_out_predictions
from medi_core.services.fidelity import ASKED, CELL, FLOOR, HELD_OUT, OPEN, matched_rows
from medi_core.services.release_targets import AT_MOST, NAN, NOT_MEASURED, WITHIN, Target
from medi_core.services.synthetic_bank import MIN_FOCUS_PATIENTS, TRAINED, UNSEEN

BASELINE = "class-only checkpoint"
"""The group of its tiles (services/class_only.py) among those of a reference set."""
MIN_SYNTHETIC, MIN_REAL = 8, 16
MAX_TILES = 400
"""A side."""
NUM_BLOCKS = 10
KID_FACTOR, SHARE_MARGIN, ORIGIN_ACCURACY = 2.0, 0.1, 0.75


def distance_targets(reference_set: ReferenceSet, baseline: ReferenceSet | None = None) -> list[Target]:
    """Distances, precision and coverage, and whether a probe tells real from synthetic.

    Args:
        reference_set: features and metadata.
        baseline: tiles of a class-only checkpoint; without it what is measured against them is not measured.
    """
    tiles = _Tiles.of(reference_set, baseline)
    return [*_overall(tiles), *_cells(tiles), *_origin(tiles), *_unseen(tiles)]


@dataclass(frozen=True)
class _Tiles:
    """Rows by what they are for, indexed by the rows of the features."""

    features: np.ndarray
    test: pd.DataFrame
    train: pd.DataFrame
    asked: pd.DataFrame
    unseen: pd.DataFrame
    baseline: pd.DataFrame

    @classmethod
    def of(cls, reference_set: ReferenceSet, baseline: ReferenceSet | None) -> "_Tiles":
        parts = [reference_set] if baseline is None else [reference_set, baseline]
        tiles = pd.concat([part.tiles for part in parts], ignore_index=True)
        if baseline is not None:
            tiles.loc[len(reference_set.tiles) :, "group"] = BASELINE
        is_real = tiles["origin"] == "real"
        # tiles of one seed share nothing with those of another: each is a case of its own
        like = patients_of(tiles).where(is_real, tiles.index.to_series().astype(str))
        frame = tiles[[*CELL, "group"]].assign(like=like)
        return cls(
            np.concatenate([part.features for part in parts]),
            frame[is_real & (tiles["split"] == "test")],
            frame[is_real & is_train_split(tiles)],
            frame[frame["group"].isin(TRAINED)],
            frame[frame["group"] == UNSEEN],
            frame[frame["group"] == BASELINE],
        )

    def kid(self, first: pd.DataFrame, second: pd.DataFrame) -> tuple[float, tuple[float, float]]:
        """Kernel distance of all tiles of both, with its interval over patients and seeds."""
        sides = [self.features[side.index] for side in (first, second)]
        if min(map(len, sides)) < MIN_SYNTHETIC:
            return NAN, NO_INTERVAL

        def statistic(kept: list[np.ndarray]) -> float:
            return kernel_distance(*(side[rows] for side, rows in zip(sides, kept, strict=True)))

        try:
            interval = jackknife_interval(statistic, [_cases(first), _cases(second)], NUM_BLOCKS)
        except TooFewTilesError:  # one patient has nearly all of a side
            interval = NO_INTERVAL
        return kernel_distance(*sides), interval


def _cases(side: pd.DataFrame) -> pd.Series:
    """Patients; of one patient alone its tiles, which say nothing of other patients: a note says so."""
    return side["like"] if side["like"].nunique() > 1 else side.index.to_series().astype(str)


def _overall(tiles: _Tiles) -> Iterator[Target]:
    sides = {HELD_OUT: tiles.test, ASKED: tiles.asked, FLOOR: tiles.train}
    rows = matched_rows(sides, MAX_TILES)
    test, asked, train = (sides[name].loc[rows[name]] for name in (HELD_OUT, ASKED, FLOOR))
    size = {"n": len(asked), "n_patients": test["like"].nunique()}
    distance, floor = tiles.kid(asked, test), tiles.kid(train, test)
    yield Target("KID, seen and rare pairs", AT_MOST, _goal(floor), *distance, **size, note=_floor(floor))
    yield from _shares(tiles, asked, test, train, size)
    what = "KID, seen and rare pairs, against a class-only checkpoint"
    if tiles.baseline.empty:
        yield Target(what, AT_MOST, NAN, note="no class-only checkpoint was given")
        return
    sides[OPEN] = tiles.baseline
    rows = matched_rows(sides, MAX_TILES)
    test, asked, other = (sides[name].loc[rows[name]] for name in (HELD_OUT, ASKED, OPEN))
    rival = tiles.kid(other, test)
    size = {"n": len(asked), "n_patients": test["like"].nunique()}
    yield Target(what, AT_MOST, rival[0], *tiles.kid(asked, test), **size, note=f"class-only {_with_interval(rival)}")


def _shares(tiles: _Tiles, asked, test, train, size: dict[str, int]) -> Iterator[Target]:
    """Precision and coverage less those of real tiles of other patients."""
    features = [tiles.features[side.index] for side in (test, asked, train)]
    for name in ("precision", "coverage"):

        def shares(kept: list[np.ndarray], name: str = name) -> tuple[float, float]:
            real, *others = (side[rows] for side, rows in zip(features, kept, strict=True))
            return tuple(getattr(precision_recall_density_coverage(real, other), name) for other in others)

        def difference(kept: list[np.ndarray], shares=shares) -> float:
            synthetic, real = shares(kept)
            return synthetic - real

        what = f"{name} less that of real tiles"
        try:
            got, usual = shares([np.ones(len(side), dtype=bool) for side in features])
            interval = jackknife_interval(difference, [test["like"], asked["like"], train["like"]], NUM_BLOCKS)
        except TooFewTilesError:
            yield Target(what, WITHIN, SHARE_MARGIN)
            continue
        note = f"synthetic {got:.2f}, real {usual:.2f}"
        yield Target(what, WITHIN, SHARE_MARGIN, got - usual, interval, **size, note=note)


def _cells(tiles: _Tiles) -> Iterator[Target]:
    """Every cell with enough test patients, with all its tiles."""
    for cell, num_patients in tiles.test.groupby(CELL)["like"].nunique().items():
        if num_patients < MIN_FOCUS_PATIENTS:
            continue
        test, train, asked = (_some(side, cell) for side in (tiles.test, tiles.train, tiles.asked))
        distance, floor = tiles.kid(asked, test), tiles.kid(train, test)
        note = _floor(floor) if len(asked) else "never seen in training, or not asked for"
        yield Target(f"KID, {_name(cell)}", AT_MOST, _goal(floor), *distance, len(asked), num_patients, note)


def _origin(tiles: _Tiles) -> Iterator[Target]:
    """How often a probe that saw none of the patient's tiles tells real from synthetic; the same mix of cells."""
    what = "real or synthetic, accuracy of a probe"
    sides = {HELD_OUT: tiles.test, ASKED: tiles.asked}
    rows = matched_rows(sides, MAX_TILES)
    both = pd.concat([sides[name].loc[rows[name]].assign(origin=name) for name in sides])
    try:
        seen = held_out_predictions(tiles.features[both.index], both["origin"], both["like"])
    except TooFewTilesError:
        yield Target(what, AT_MOST, ORIGIN_ACCURACY)
        return
    hits = (seen == both["origin"].to_numpy()).astype(float)
    patients = both.loc[both["origin"] == HELD_OUT, "like"].nunique()
    interval = proportion_interval(hits, both["like"])
    note = f"chance 0.5; {len(rows[HELD_OUT]):,} real tiles"
    yield Target(what, AT_MOST, ORIGIN_ACCURACY, float(hits.mean()), interval, len(rows[ASKED]), patients, note)


def _unseen(tiles: _Tiles) -> Iterator[Target]:
    """Pairs that only test patients have: nearer than the nearest seen cell, and than a class-only checkpoint?"""
    for cell, asked in tiles.unseen.groupby(CELL):
        test = _some(tiles.test, cell)
        if len(test) < MIN_REAL or len(asked) < MIN_SYNTHETIC:
            continue
        distance = tiles.kid(asked, test)
        size = {"n": len(asked), "n_patients": test["like"].nunique()}
        alone = "; 1 patient: the interval is over its tiles" if size["n_patients"] == 1 else ""
        name, nearest = _nearest_seen(tiles, cell, test)
        what = f"KID, never seen {_name(cell)}, against"
        note = f"{name}{alone}"
        yield Target(f"{what} the nearest seen cell", AT_MOST, nearest, *distance, **size, note=note)
        other = tiles.baseline[tiles.baseline["cancer_type"] == cell[0]]
        rival = tiles.kid(other, test)
        note = f"class-only {_with_interval(rival)}{alone}" if len(other) else "no class-only tiles of this type"
        yield Target(f"{what} a class-only checkpoint", AT_MOST, rival[0], *distance, **size, note=note)


def _nearest_seen(tiles: _Tiles, cell: tuple[str, str], test: pd.DataFrame) -> tuple[str, float]:
    """Real training tiles of the same type elsewhere or of another type at the center, whichever lie nearest.

    It is chosen by the same test tiles, in its own favour: a hard rival.
    """
    same = (tiles.train["cancer_type"] == cell[0]) | (tiles.train["center"] == cell[1])
    found = {}
    for other, side in tiles.train[same].groupby(CELL):
        if len(side) >= MIN_REAL:
            some = _some(tiles.train, other)
            found[_name(other)] = kernel_distance(tiles.features[some.index], tiles.features[test.index])
    if not found:
        return "no seen cell has enough tiles", NAN
    name = min(found, key=found.get)
    return f"nearest of {len(found)}: {name}", found[name]


def _some(side: pd.DataFrame, cell: tuple[str, str]) -> pd.DataFrame:
    """Tiles of a cell, at most `MAX_TILES`, spread over its patients."""
    found = side[(side["cancer_type"] == cell[0]) & (side["center"] == cell[1])]
    return in_turns(found, ["like"], 0)[:MAX_TILES] if len(found) else found


def _name(cell: tuple[str, str]) -> str:
    return f"{display_name(cell[0])} at {cell[1]}"


def _goal(floor: tuple[float, tuple[float, float]]) -> float:
    """Twice the distance of real tiles of other patients; at least 0, below which few tiles may bring it."""
    return KID_FACTOR * float(np.maximum(floor[0], 0))


def _floor(floor: tuple[float, tuple[float, float]]) -> str:
    return f"real, other patients: {_with_interval(floor)}"


def _with_interval(found: tuple[float, tuple[float, float]]) -> str:
    value, (low, high) = found
    if value != value:
        return NOT_MEASURED
    return f"{value:.4g}" if low != low else f"{value:.4g} [{low:.4g}, {high:.4g}]"
