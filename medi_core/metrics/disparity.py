"""How far subgroups are apart: the gap of a measure, and equalized odds. Knows no models or images.

The two subgroups that are farthest apart are chosen by looking at the same tiles: what chance adds to one and takes
from the other is part of the difference. It is too large on average, the more so the more subgroups are small
(Lum, Zhang & Bower 2022, "De-biasing 'bias' measurement"). The interval is that of the difference between these two.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from medi_core.metrics.classification import MEASURES, Statistic, rate, value_of
from medi_core.metrics.intervals import NO_INTERVAL, bootstrap_results, percentile_interval
from medi_core.metrics.outcomes import Outcomes
from medi_core.metrics.subgroup import DEFAULT, RECALL, SEPARATOR, Resampling, measure_name, members

TRUE_POSITIVE, FALSE_POSITIVE = "true positive rate", "false positive rate"


@dataclass(frozen=True)
class Gap:
    """The largest difference between two subgroups."""

    of: str
    """What differs: a measure, a rate with its class, or, where one end has one true class only and the other has
    more, `recall of lung against balanced_accuracy`."""
    lowest: str
    highest: str
    """Subgroups."""
    value: float
    """Highest − lowest; for a measure where more is better, best − worst."""
    ci_low: float
    ci_high: float
    """NaN where patients do not differ. Not bounded by 0: both subgroups stay the same in every resample."""


def gap(
    outcomes: Outcomes,
    attributes: pd.DataFrame,
    ranked: pd.DataFrame,
    measure: str,
    resampling: Resampling = DEFAULT,
) -> Gap | None:
    """Best − worst of the subgroups that have enough tiles and patients; `None` for fewer than two of them.

    Args:
        outcomes, attributes, measure, resampling: as `subgroup_table`; here the patients of all subgroups are drawn
            at once, so that one with tiles in both counts in both.
        ranked: of `rank_subgroups`.
    """
    candidates = ranked[ranked["is_ranked"]].sort_values("value", kind="stable")
    if len(candidates) < 2:
        return None
    keys = [tuple(candidates.iloc[i][list(attributes.columns)]) for i in (0, -1)]
    rows_of = members(attributes)
    low, high = (_within(outcomes, rows_of[key], measure) for key in keys)
    of = _measured_at(*(outcomes.part(rows_of[key]) for key in keys), measure)
    return _between(outcomes, of, (keys[0], low), (keys[1], high), resampling)


def equalized_odds_difference(
    outcomes: Outcomes,
    attributes: pd.DataFrame,
    min_tiles: int,
    min_patients: int,
    resampling: Resampling = DEFAULT,
) -> Gap | None:
    """The largest difference of a true or false positive rate between two subgroups, over all classes.

    Each class is taken against the rest. A rate counts where the tiles that it is a share of, and their patients,
    reach the minimum; `None` where no rate has two such subgroups. For two classes it is fairlearn's.

    Source: Hardt, Price & Srebro 2016, "Equality of opportunity in supervised learning".
    """
    rows_of, widest = members(attributes), None
    for place, name in enumerate(outcomes.classes):
        for kind, is_counted in ((TRUE_POSITIVE, outcomes.true == place), (FALSE_POSITIVE, outcomes.true != place)):
            shares = {}
            for key, rows in rows_of.items():
                own = rows[is_counted[rows]]
                is_enough = len(own) >= max(min_tiles, 1) and len(np.unique(outcomes.patients[own])) >= min_patients
                if is_enough:
                    shares[key] = float((outcomes.predicted[own] == place).mean())
            if len(shares) < 2:
                continue
            low, high = min(shares, key=shares.get), max(shares, key=shares.get)
            if widest is None or shares[high] - shares[low] > widest[0]:
                widest = (shares[high] - shares[low], f"{kind} of {name}", place, is_counted, low, high)
    if widest is None:
        return None
    _, of, place, is_counted, *keys = widest
    sides = [(key, _rate_within(outcomes, rows_of[key], is_counted, place)) for key in keys]
    return _between(outcomes, of, *sides, resampling)


def _between(
    outcomes: Outcomes,
    of: str,
    low: tuple[tuple[str, ...], Statistic],
    high: tuple[tuple[str, ...], Statistic],
    resampling: Resampling,
) -> Gap:
    """The gap of two subgroups, each a name and a statistic of the weights of all patients."""
    value = value_of(high[1], outcomes.num_patients) - value_of(low[1], outcomes.num_patients)
    results = bootstrap_results(
        lambda weights: high[1](weights) - low[1](weights), outcomes.num_patients, resampling.num, resampling.seed
    )
    ends = percentile_interval(results, resampling.level)
    names = (SEPARATOR.join(key) for key, _ in (low, high))
    return Gap(of, *names, value, *(ends if ends[1] > ends[0] else NO_INTERVAL))


def _measured_at(low: Outcomes, high: Outcomes, measure: str) -> str:
    """What the measure is called in both subgroups, or in each where it differs."""
    low_name, high_name = measure_name(low, measure), measure_name(high, measure)
    if low_name == high_name:
        return low_name
    alone = low if low_name == RECALL else high
    return f"{RECALL} of {alone.classes[alone.true_classes[0]]} against {measure}"


def _within(outcomes: Outcomes, rows: np.ndarray, measure: str) -> Statistic:
    """The measure in a subgroup as a function of the weights of all patients."""
    patients, statistic = pd.unique(outcomes.patients[rows]), MEASURES[measure](outcomes.part(rows))
    return lambda weights: statistic(weights[:, patients])


def _rate_within(outcomes: Outcomes, rows: np.ndarray, is_counted: np.ndarray, place: int) -> Statistic:
    patients, own = pd.unique(outcomes.patients[rows]), outcomes.part(rows)
    statistic = rate(own.predicted == place, is_counted[rows], own)
    return lambda weights: statistic(weights[:, patients])
