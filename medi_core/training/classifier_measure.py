"""What a tile classifier is worth on patients it never saw: the numbers of its card, and beside its verdicts."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from medi_core.data.patients import patients_of
from medi_core.metrics.outcomes import Outcomes, build_outcomes
from medi_core.metrics.subgroup import DEFAULT, Resampling, subgroup_table
from medi_core.models.tile_classifier import TileClassifier, softmax, tumor_probability

MEASURED = ("accuracy", "balanced_accuracy", "f1", "ece")
TISSUES = ("benign", "tumor")


def measure_classifier(
    classifier: TileClassifier, rows: pd.DataFrame, logits: np.ndarray, resampling: Resampling = DEFAULT
) -> dict[str, Any]:
    """Measures of one split, each with its interval over patients.

    Args:
        rows: `(N,)` of a manifest, N ≥ 1, each with a `cancer_type` of the classifier.
        logits: float32 `(N, K)` of their tiles.

    Returns:
        Plain JSON: `overall` (measure → value, ci_low, ci_high, n, n_patients; `ece_uncalibrated` is that at
        temperature 1), `recall` (class → the same; n = 0 where there is no tile), `tumor_auc` (the same, or `None`
        where benign or tumor tiles are missing) and `resampling`. A number that is not known is `None`.
    """
    probabilities = softmax(logits / classifier.config.temperature)
    calibrated = _outcomes(classifier, rows, probabilities)
    uncalibrated = _outcomes(classifier, rows, softmax(logits))
    overall = {name: _one(calibrated, name, resampling) for name in MEASURED}
    return {
        "overall": overall | {"ece_uncalibrated": _one(uncalibrated, "ece", resampling)},
        "recall": _recalls(calibrated, resampling),
        "tumor_auc": _tumor_auc(classifier, rows, probabilities, resampling),
        "resampling": asdict(resampling),
    }


def _outcomes(classifier: TileClassifier, rows: pd.DataFrame, probabilities: np.ndarray) -> Outcomes:
    classes = classifier.config.classes
    predicted = np.array(classes, dtype=object)[probabilities.argmax(axis=1)]
    return build_outcomes(list(rows["cancer_type"]), list(predicted), patients_of(rows), classes, probabilities)


def _one(outcomes: Outcomes, measure: str, resampling: Resampling) -> dict[str, Any]:
    nothing = pd.DataFrame(index=range(len(outcomes)))
    return _facts(subgroup_table(outcomes, nothing, measure, resampling).iloc[0])


def _recalls(outcomes: Outcomes, resampling: Resampling) -> dict[str, dict[str, Any]]:
    true = pd.DataFrame({"true": np.array(outcomes.classes, dtype=object)[outcomes.true]})
    wanted = [(name,) for name in outcomes.classes]
    table = subgroup_table(outcomes, true, "accuracy", resampling, wanted)
    return {row["true"]: _facts(row) for _, row in table.iterrows()}


def _tumor_auc(
    classifier: TileClassifier, rows: pd.DataFrame, probabilities: np.ndarray, resampling: Resampling
) -> dict[str, Any] | None:
    tumor = tumor_probability(classifier.config.classes, probabilities)
    is_known = rows["tissue"].isin(TISSUES).to_numpy()
    if tumor is None or rows["tissue"][is_known].nunique() < len(TISSUES):
        return None
    known, tumor = rows[is_known], tumor[is_known]
    predicted = np.where(tumor >= 0.5, *reversed(TISSUES))
    both = np.column_stack([1 - tumor, tumor])
    outcomes = build_outcomes(list(known["tissue"]), list(predicted), patients_of(known), TISSUES, both)
    return _one(outcomes, "auc", resampling)


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: _or_none(row[name]) for name in ("value", "ci_low", "ci_high")}
    return numbers | {"n": int(row["n"]), "n_patients": int(row["n_patients"]), "interval": row["interval"]}


def _or_none(number: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(number) else float(number)
