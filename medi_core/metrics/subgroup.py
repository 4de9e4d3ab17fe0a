"""Tables of a measure by subgroup, with intervals over patients; two models side by side. Knows no models or images.

Tiles of a patient are alike: intervals draw patients, never tiles. With few patients they are too narrow, which no
resampling mends: read the number of patients first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medi_core.errors import InvalidRequestError
from medi_core.metrics.classification import (
    LOWER_IS_BETTER,
    MEASURES,
    NEEDS_TWO_CLASSES,
    Statistic,
    value_of,
)
from medi_core.metrics.intervals import NO_INTERVAL, bootstrap_results, percentile_interval, wilson_interval
from medi_core.metrics.outcomes import Outcomes

OVERALL = "overall"
SEPARATOR = " × "
"""Between the values of a crossing."""
RECALL = "recall"
SHARES = ("accuracy", "balanced_accuracy")
"""Of a subgroup with one true class, each of these is the recall of that class."""
BY_PATIENT, WILSON = "patients resampled", "Wilson"
NO_TILE, ONE_PATIENT, ONE_CLASS, NO_SPREAD = (
    "none: no tile",
    "none: fewer than 2 patients",
    "none: one true class",
    "none: patients do not differ",
)
MAX_SUBGROUPS = 2000
COLUMNS = ("subgroup", "n", "n_patients", "measure", "value", "ci_low", "ci_high", "interval")


@dataclass(frozen=True)
class Resampling:
    """How intervals are made."""

    num: int = 1000
    """Resamples of the patients."""
    seed: int = 0
    level: float = 0.95
    """Of confidence, between 0 and 1."""


DEFAULT = Resampling()


def members(attributes: pd.DataFrame) -> dict[tuple[str, ...], np.ndarray]:
    """Subgroup → rows of its tiles, sorted by name; a tile that lacks one of the attributes is in none.

    Args:
        attributes: `(N, A)`, text; without columns all tiles are one subgroup, `()`.

    Raises:
        InvalidRequestError: more than `MAX_SUBGROUPS`.
    """
    if not len(attributes.columns):
        return {(): np.arange(len(attributes))}
    rows = np.flatnonzero(attributes.notna().all(axis=1))
    codes, names = pd.MultiIndex.from_frame(attributes.iloc[rows]).factorize(sort=True)
    if len(names) > MAX_SUBGROUPS:
        by = SEPARATOR.join(attributes.columns)
        raise InvalidRequestError(
            f"{by} has {len(names):,} subgroups, at most {MAX_SUBGROUPS:,} are measured: cross fewer"
        )
    return {name: rows[codes == code] for code, name in enumerate(names)}


def subgroup_table(
    outcomes: Outcomes,
    attributes: pd.DataFrame,
    measure: str,
    resampling: Resampling = DEFAULT,
    subgroups: Sequence[tuple[str, ...]] | None = None,
) -> pd.DataFrame:
    """A measure in each subgroup.

    Args:
        outcomes: of N tiles.
        attributes: `(N, A)`, the columns to cross, text; none of them = overall. The true class may be one: that
            gives the recall of each class.
        measure: a key of `MEASURES`.
        resampling: of the patients of each subgroup by itself.
        subgroups: rows wanted, also of those without a tile; by default all that have tiles.

    Returns:
        `COLUMNS` after those of `attributes`, a row a subgroup. `measure` is `recall` where accuracy, plain or
        balanced, is that of one class. `interval` says how it was made (Wilson's where each patient has one tile, or
        where a share is 0 or 1, then with one case a patient) or why there is none; an empty subgroup has n = 0 and
        NaN. A resample that leaves the measure undefined counts for nothing.

    Raises:
        InvalidRequestError: an unknown measure, or one that needs probabilities where there are none.
    """
    require_measure(measure)
    rows_of = members(attributes)
    wanted = list(rows_of) if subgroups is None else list(subgroups)
    table = []
    for name in wanted:
        own = outcomes.part(rows_of.get(name, np.empty(0, dtype=np.int64)))
        counts = (SEPARATOR.join(name) or OVERALL, len(own), own.num_patients, measure_name(own, measure))
        table.append((*name, *counts, *_measured(own, measure, resampling)))
    return pd.DataFrame(table, columns=[*attributes.columns, *COLUMNS])


def rank_subgroups(table: pd.DataFrame, measure: str, min_tiles: int, min_patients: int) -> pd.DataFrame:
    """The table with the worst subgroup first; those below a minimum come last and are no candidate for it.

    Args:
        table: of `subgroup_table`.
        measure: as it was asked for; of ECE the highest value is the worst.
        min_tiles, min_patients: both must be reached.

    Returns:
        With a column `is_ranked`.
    """
    is_enough = (table["n"] >= min_tiles) & (table["n_patients"] >= min_patients)
    ranked = table.assign(is_ranked=is_enough & table["value"].notna())
    badness = ranked["value"] * (-1 if measure in LOWER_IS_BETTER else 1)
    order = pd.DataFrame({"is_last": ~ranked["is_ranked"], "badness": badness, "n": -ranked["n"]})
    return ranked.loc[order.sort_values(["is_last", "badness", "n"], kind="stable").index].reset_index(drop=True)


def compare_models(
    first: Outcomes, second: Outcomes, attributes: pd.DataFrame, measure: str, resampling: Resampling = DEFAULT
) -> pd.DataFrame:
    """Two models on the same tiles: the difference in each subgroup, paired, both on the same resamples.

    Args:
        first, second: of the same N tiles in the same order.
        attributes, measure, resampling: as `subgroup_table`.

    Returns:
        Columns of `attributes`, subgroup, n, n_patients, measure, first, second, difference (second − first), ci_low,
        ci_high, interval.

    Raises:
        InvalidRequestError: other tiles, or as `subgroup_table`.
    """
    require_measure(measure)
    names = [np.array(side.classes, dtype=object)[side.true] for side in (first, second)]
    if not (np.array_equal(*names) and np.array_equal(first.patients, second.patients)):
        raise InvalidRequestError("two models are compared on the same tiles: true classes and patients must agree")
    table = []
    for name, rows in members(attributes).items():
        sides = first.part(rows), second.part(rows)
        counts = (SEPARATOR.join(name) or OVERALL, len(rows), sides[0].num_patients, measure_name(sides[0], measure))
        table.append((*name, *counts, *_difference(*sides, measure, resampling)))
    columns = ["subgroup", "n", "n_patients", "measure", "first", "second", "difference"]
    return pd.DataFrame(table, columns=[*attributes.columns, *columns, "ci_low", "ci_high", "interval"])


def measure_name(outcomes: Outcomes, measure: str) -> str:
    """What the measure is called in these tiles."""
    return RECALL if measure in SHARES and len(outcomes.true_classes) == 1 else measure


def require_measure(measure: str) -> None:
    if not isinstance(measure, str) or measure not in MEASURES:
        raise InvalidRequestError(f"measure = {measure!r}: it must be one of {', '.join(MEASURES)}")


def _measured(own: Outcomes, measure: str, resampling: Resampling) -> tuple[float, float, float, str]:
    """Value, lower and upper end, and how the interval was made."""
    if reason := _undefined(own, measure):
        return (float("nan"), *NO_INTERVAL, reason)
    statistic = MEASURES[measure](own)
    value = value_of(statistic, own.num_patients)
    if own.num_patients < 2:
        return (value, *NO_INTERVAL, ONE_PATIENT)
    is_share = measure == "accuracy" or measure_name(own, measure) == RECALL
    if is_share and (own.is_one_tile_a_patient or value in (0, 1)):
        ends = wilson_interval(round(value * own.num_patients), own.num_patients, resampling.level)
        return (value, *ends, WILSON)
    return (value, *_interval(own, {statistic: 1}, resampling))


def _difference(
    first: Outcomes, second: Outcomes, measure: str, resampling: Resampling
) -> tuple[float, float, float, float, float, str]:
    """Both values, second − first, its ends, and how the interval was made."""
    if reason := _undefined(first, measure):
        return (*[float("nan")] * 3, *NO_INTERVAL, reason)
    statistics = [MEASURES[measure](side) for side in (first, second)]
    values = [value_of(statistic, first.num_patients) for statistic in statistics]
    change = values[1] - values[0]
    if first.num_patients < 2:
        return (*values, change, *NO_INTERVAL, ONE_PATIENT)
    return (*values, change, *_interval(first, dict(zip(statistics, (-1, 1), strict=True)), resampling))


def _undefined(own: Outcomes, measure: str) -> str:
    """Why there is no value, or nothing."""
    if not len(own):
        return NO_TILE
    return ONE_CLASS if measure in NEEDS_TWO_CLASSES and len(own.true_classes) == 1 else ""


def _interval(own: Outcomes, terms: Mapping[Statistic, int], resampling: Resampling) -> tuple[float, float, str]:
    """Of a sum of statistics with signs."""
    results = bootstrap_results(
        lambda weights: sum(sign * statistic(weights) for statistic, sign in terms.items()),
        *(own.num_patients, resampling.num, resampling.seed),
    )
    low, high = percentile_interval(results, resampling.level)
    return (low, high, BY_PATIENT) if high > low else (*NO_INTERVAL, NO_SPREAD)
