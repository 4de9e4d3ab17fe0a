"""Linear probes: what features say a tile is, against what was asked for. Knows no images or models.

A probe is a multinomial logistic regression trained on real tiles. Asked of synthetic ones it tells how
often a prompt is kept; its agreement on held-out real tiles is the ceiling to read that against. Features
are divided by ONE number: standardising each channel would blow up those that hardly vary.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metrics.intervals import proportion_interval

MIN_PATIENTS = 2
MIN_TILES_WITHOUT_PATIENT = 20
INVERSE_PENALTY = 10.0
"""C of the regression. On 9,555 real tiles (EfficientNet-Lite0, folds by patient) 1, 10 and 100 gave an accuracy of
0.55, 0.58, 0.58 for the cancer type and 0.85, 0.89, 0.90 for the center, balanced over labels 0.54, 0.53, 0.50 and
0.43, 0.43, 0.42: 10 loses little in any."""


@dataclass(frozen=True)
class Probe:
    """A fitted linear classifier of one attribute, as plain arrays."""

    classes: tuple[str, ...]
    """The labels it can give, sorted."""
    left_out: tuple[str, ...]
    """Labels with too little support to learn, sorted: it never gives them, so they cannot be got."""
    num_tiles: int
    """Tiles it was trained on."""
    num_patients: int
    """Patients with an id among them; tiles without one add none."""
    centre: np.ndarray
    """float32 `(D,)`, mean of the training features."""
    scale: float
    """Root of the mean squared distance to the centre."""
    weights: np.ndarray
    """float32 `(D, K)`."""
    intercepts: np.ndarray
    """float32 `(K,)`."""

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Features `(N, D)` → float32 `(N, K)`, rows sum to 1, columns as `classes`."""
        logits = (features - self.centre) / self.scale @ self.weights + self.intercepts
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Features `(N, D)` → the likeliest label of each, object `(N,)`."""
        return np.array(self.classes, dtype=object)[self.predict_proba(features).argmax(axis=1)]


def fit_probe(
    features: np.ndarray,
    labels: Sequence[str | None],
    patients: Sequence[str | None],
    min_tiles: int = MIN_TILES_WITHOUT_PATIENT,
) -> Probe:
    """A probe trained on all rows that have a label with enough support; nothing is drawn at random.

    A label needs 2 patients, or `min_tiles` tiles without a patient id: from one patient it would learn the patient.

    Args:
        features: `(N, D)`, finite.
        labels: `(N,)`; rows with `None` are not used.
        patients: `(N,)`, `None` where not recorded.
        min_tiles: tiles without a patient id that stand in for 2 patients.

    Raises:
        TooFewTilesError: fewer than 2 labels with enough support.
        InvalidRequestError: features that are not finite.
    """
    _require_finite(features)
    rows = pd.DataFrame({"label": _plain(labels), "patient": _plain(patients)})
    num_patients = rows.groupby("label")["patient"].nunique()
    num_unnamed = rows["patient"].isna().groupby(rows["label"]).sum()
    kept, left_out = _split_by_support((num_patients >= MIN_PATIENTS) | (num_unnamed >= min_tiles))
    chosen = rows["label"].isin(kept).to_numpy()
    return _fit(features[chosen], rows["label"][chosen], left_out, int(rows["patient"][chosen].nunique()))


def held_out_predictions(
    features: np.ndarray, labels: Sequence[str | None], groups: Sequence[str], num_folds: int = 5, seed: int = 0
) -> np.ndarray:
    """What a probe says of each tile when it saw no tile of the same group; folds keep groups whole.

    Args:
        features: `(N, D)`, finite.
        labels: `(N,)`, `None` where unknown.
        groups: `(N,)`, the patient; a row without one gets a key for what it may share with others (its
            slide or data set), never `None`.
        num_folds: at least 2.
        seed: of the folds.

    Returns:
        object `(N,)`; `None` where the tile has no label, or one of fewer than 2 groups: no fold could tell.

    Raises:
        TooFewTilesError: fewer than 2 labels of 2 groups, or fewer groups than folds.
        InvalidRequestError: a missing group, fewer than 2 folds, or features that are not finite.
    """
    _require_finite(features)
    rows = pd.DataFrame({"label": _plain(labels), "group": _plain(groups)})
    if rows["group"].isna().any():
        raise InvalidRequestError(f"{rows['group'].isna().sum()} of {len(rows)} rows have no group: give each a key")
    kept, left_out = _split_by_support(rows.groupby("label")["group"].nunique() >= MIN_PATIENTS)
    _require_two_labels(len(kept), left_out)
    chosen = np.flatnonzero(rows["label"].isin(kept))
    used = rows.iloc[chosen]
    predicted = np.full(len(rows), None, dtype=object)
    for train, test in _folds(used["label"], used["group"], num_folds, seed):
        probe = _fit(features[chosen[train]], used["label"].iloc[train], left_out, used["group"].iloc[train].nunique())
        predicted[chosen[test]] = probe.predict(features[chosen[test]])
    return predicted


def agreement_by_label(
    asked: Sequence[str | None],
    predicted: Sequence[str | None],
    groups: Sequence[str],
    labels: Sequence[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How often each asked label was predicted, with the 95 % interval of `proportion_interval`.

    Args:
        asked, predicted: `(N,)`; rows where either is `None` (the probe cannot tell) are not counted.
        groups: `(N,)`, what tiles share: the patient of real ones, the prompt or seed of synthetic ones.
        labels: one row each, in this order; all that were asked for, sorted, if not given.
        seed: of the bootstrap.

    Returns:
        Columns label, n (tiles), n_groups, agreement (0 to 1), ci_low, ci_high; NaN where n = 0.
    """
    rows = pd.DataFrame({"asked": _plain(asked), "predicted": _plain(predicted), "group": _plain(groups)})
    names = sorted(rows["asked"].dropna().unique()) if labels is None else list(labels)
    rows = rows[rows["asked"].notna() & rows["predicted"].notna()]
    hits = (rows["asked"] == rows["predicted"]).astype(np.float64)
    table = []
    for name in names:
        own = rows["asked"] == name
        interval = proportion_interval(hits[own].to_numpy(), rows["group"][own], seed)
        table.append((name, int(own.sum()), rows["group"][own].nunique(), hits[own].mean(), *interval))
    return pd.DataFrame(table, columns=["label", "n", "n_groups", "agreement", "ci_low", "ci_high"])


def _fit(features: np.ndarray, labels: pd.Series, left_out: tuple[str, ...], num_patients: int) -> Probe:
    from sklearn.linear_model import LogisticRegression

    _require_two_labels(labels.nunique(), left_out)
    centre = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = features - centre
    scale = float(np.sqrt(np.square(centred).sum(axis=1).mean())) or 1.0
    model = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=500)
    model.fit(centred / scale, labels.to_numpy(dtype=object))
    weights, intercepts = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:  # one column, for the second label: the first one's logit is 0
        weights, intercepts = np.hstack([0 * weights, weights]), np.append(0, intercepts)
    fitted = {"weights": weights.astype(np.float32), "intercepts": intercepts.astype(np.float32)}
    return Probe(tuple(model.classes_), left_out, len(features), num_patients, centre, scale, **fitted)


def _folds(labels: pd.Series, groups: pd.Series, num_folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import StratifiedGroupKFold

    available = min(groups.nunique(), labels.value_counts().max())
    if num_folds < 2:
        raise InvalidRequestError(f"num_folds = {num_folds}: at least 2 are needed")
    if available < num_folds:
        raise TooFewTilesError(f"{num_folds} folds need as many groups, and tiles of a label; given {available}")
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # labels with fewer tiles than folds are missing in some: expected, and counted in the agreement
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(folds.split(np.zeros(len(labels)), labels, groups))


def _split_by_support(is_supported: pd.Series) -> tuple[list[str], tuple[str, ...]]:
    """Labels to learn, and those to leave out; the index holds all of them, sorted."""
    return list(is_supported.index[is_supported]), tuple(is_supported.index[~is_supported])


def _plain(values: Sequence[object]) -> pd.Series:
    """As objects with `None` for every kind of missing value, whatever index they came with."""
    given = pd.Series(np.asarray(values, dtype=object), dtype=object)
    return given.where(given.notna(), None)


def _require_two_labels(num_labels: int, left_out: tuple[str, ...]) -> None:
    if num_labels < 2:
        found = f"{num_labels} (left out: {', '.join(left_out) or 'none'})"
        raise TooFewTilesError(f"a probe needs at least 2 labels of 2 patients each, given {found}: add patients")


def _require_finite(features: np.ndarray) -> None:
    is_bad = ~np.isfinite(features).all(axis=1)
    if is_bad.any():
        raise InvalidRequestError(
            f"features of {is_bad.sum()} of {len(features)} tiles are not finite (first: row {is_bad.argmax()}): "
            "encode these tiles anew or leave them out"
        )
