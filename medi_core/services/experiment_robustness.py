"""Robustness index of tested tiles: by their features, and by what each arm's probe makes of them. Slow: docs only.

A probe turns features into logits; where it goes by the center, its logits bring together tiles of one center.
"""

import numpy as np
import pandas as pd

from medi_core.data.reference_set import ReferenceSet
from medi_core.errors import TooFewTilesError
from medi_core.metrics.robustness import RobustnessIndex, robustness_index
from medi_core.services.arm_predictions import pool_of, regression_logits, tested_places, training_counts
from medi_core.services.experiment_config import ExperimentConfig
from medi_core.services.experiment_design import draw_design, eligible_rows
from medi_core.services.training_arms import arms_of_fold, stock_of

FEATURES = "features"
NUM_NEIGHBOURS = 10


def robustness_by_arm(reference: ReferenceSet, config: ExperimentConfig) -> pd.DataFrame:
    """Robustness index of the test tiles of the first fold, with seed 0.

    Args:
        reference: real tiles, and those to add.
        config: of the experiment; its arms and ratio count, its probe does not: logits are the regression's.

    Returns:
        Columns space (`features`, then an arm each), value, chance, n (tiles), n_patients. Empty where no test tile
        can have both kinds of neighbours, e.g. all come from one center.
    """
    rows = eligible_rows(reference.tiles, config)
    fold = draw_design(rows, config).folds[0]
    ids = reference.tiles["id"].to_numpy(dtype=object)
    of_fold = arms_of_fold(rows, ids, stock_of(reference.tiles), fold, config)
    pool, arms = pool_of(reference, rows, [of_fold], config), tuple(of_fold.sets)
    test, counts = tested_places(pool, rows, fold), training_counts(pool, of_fold, arms)
    tested = rows.iloc[fold.test]
    columns = tested[["cancer_type", "center", "patient_id"]].to_numpy(dtype=object).T
    spaces = {FEATURES: reference.features[tested["tile"]]}
    spaces |= dict(zip(arms, map(_directions, regression_logits(pool, counts, test, len(fold.train))), strict=True))
    try:
        found = {name: robustness_index(points, *columns, k=NUM_NEIGHBOURS) for name, points in spaces.items()}
    except TooFewTilesError:
        found = {}
    records = [_record(name, index) for name, index in found.items()]
    return pd.DataFrame(records, columns=["space", "value", "chance", "n", "n_patients"])


def _directions(logits: np.ndarray) -> np.ndarray:
    """Logits `(m, K)` → probabilities: of two classes, cosines of logits would know only which is the larger."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _record(name: str, index: RobustnessIndex) -> tuple:
    return name, index.value, index.chance, index.num_tiles, index.num_patients
