"""The audit of a classifier by its predictions: subgroups worst first, gaps, and what is behind one cell.

Predictions may be of any model; what is known of their tiles comes from the reference set, whatever checkpoint that
belongs to. Knows no model and no widgets.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.patients import patients_of
from medi_core.data.predictions import PredictionSet, read_predictions
from medi_core.data.reference_set import COLUMNS, has_reference, read_reference
from medi_core.errors import InvalidRequestError
from medi_core.metrics.classification import MAX_PAIRED_PATIENTS, MEASURES, NEEDS_PROBABILITIES
from medi_core.metrics.disparity import Gap, equalized_odds_difference, gap
from medi_core.metrics.outcomes import Outcomes, build_outcomes
from medi_core.metrics.subgroup import (
    DEFAULT,
    Resampling,
    compare_models,
    rank_subgroups,
    require_measure,
    subgroup_table,
)
from medi_core.services.subgroup_columns import subgroup_columns

NO_TILES = pd.DataFrame(columns=list(COLUMNS), dtype=object)
HELD_OUT = ("test",)
"""Splits whose patients had no part in a training on the others: validation tiles choose and calibrate a model."""


@dataclass(frozen=True)
class AuditConfig:
    """What is measured, and from which size on a subgroup can be the worst."""

    measure: str = "balanced_accuracy"
    """A key of `MEASURES`."""
    min_tiles: int = 20
    min_patients: int = 3
    resampling: Resampling = DEFAULT

    def __post_init__(self) -> None:
        require_measure(self.measure)
        for name in ("min_tiles", "min_patients"):
            if getattr(self, name) < 1:
                raise InvalidRequestError(f"{name} = {getattr(self, name)}: it must be at least 1")


DEFAULT_CONFIG = AuditConfig()


@dataclass(frozen=True)
class Audit:
    """What an audit found."""

    by: tuple[str, ...]
    config: AuditConfig
    overall: pd.Series
    """One row of a subgroup table, of all tiles."""
    subgroups: pd.DataFrame
    """Worst first; those below the minimum last, not ranked."""
    num_left_out: int
    """Tiles of no subgroup, for an attribute of theirs is not recorded."""
    gap: Gap | None
    """`None`: fewer than two subgroups are ranked."""
    equalized_odds: Gap | None
    """`None`: no rate has two subgroups that are large enough, or `odds_by` is empty."""
    odds_by: tuple[str, ...]
    """Of `by`, what equalized odds are taken over: attributes that do not merely repeat the true class."""


@dataclass(frozen=True)
class Cell:
    """What is behind one subgroup."""

    measured: pd.Series
    """Its row of the subgroup table."""
    confusions: pd.DataFrame
    """true, predicted, n, n_patients; most tiles first."""
    tiles: pd.DataFrame
    """As in the predictions, with `confidence` (NaN without probabilities); wrong ones first, then the surest."""


class AuditService:
    """Reads predictions and audits them; keeps the metadata of the reference set's real tiles."""

    def __init__(self, reference_folder: Path, shipped: Path) -> None:
        """
        Args:
            shipped: predictions that come with the app, if the file exists.
        """
        self._folder, self._shipped = reference_folder, shipped
        self._lock = threading.Lock()
        self._known: pd.DataFrame | None = None

    def read(self, path: Path, manifest: Path | None = None) -> PredictionSet:
        """`read_predictions` with the reference set's tiles, or with those of a manifest and no reference set.

        Raises:
            PredictionsError, ManifestError, ReferenceSetError: which file cannot be used, and why.
        """
        return read_predictions(path, self._tiles() if manifest is None else None, manifest)

    def shipped(self) -> PredictionSet | None:
        """The predictions that come with the app, of the test split; `None` where there are none.

        Raises:
            PredictionsError, ReferenceSetError: the file, or the reference set, cannot be used.
        """
        return held_out(self.read(self._shipped)) if self._shipped.is_file() else None

    def audit(self, predictions: PredictionSet, by: Sequence[str], config: AuditConfig = DEFAULT_CONFIG) -> Audit:
        """Subgroups made of the values of one attribute or the crossing of several.

        Raises:
            InvalidRequestError: an attribute that there is none of, one twice, or a measure without its probabilities.
        """
        outcomes, attributes = outcomes_of(predictions), self.attributes(predictions, by)
        measure, resampling = config.measure, config.resampling
        minima = (config.min_tiles, config.min_patients)
        table = subgroup_table(outcomes, attributes, measure, resampling)
        ranked = rank_subgroups(table, measure, *minima)
        odds_by = [name for name in by if not _is_label(attributes[name], predictions.tiles["true"])]
        odds = equalized_odds_difference(outcomes, attributes[odds_by], *minima, resampling) if odds_by else None
        return Audit(
            by=tuple(by),
            config=config,
            overall=subgroup_table(outcomes, attributes[[]], measure, resampling).iloc[0],
            subgroups=ranked,
            num_left_out=len(outcomes) - int(table["n"].sum()),
            gap=gap(outcomes, attributes, ranked, measure, resampling),
            equalized_odds=odds,
            odds_by=tuple(odds_by),
        )

    def cell(
        self,
        predictions: PredictionSet,
        by: Sequence[str],
        subgroup: Sequence[str],
        config: AuditConfig = DEFAULT_CONFIG,
    ) -> Cell:
        """What is behind one subgroup of `audit`; one without a tile has empty tables.

        Raises:
            InvalidRequestError: as `audit`, or not one value an attribute.
        """
        if len(subgroup) != len(by):
            raise InvalidRequestError(f"{' × '.join(subgroup)} is no subgroup by {', '.join(by)}: choose one anew")
        outcomes, attributes, name = outcomes_of(predictions), self.attributes(predictions, by), tuple(subgroup)
        table = subgroup_table(outcomes, attributes, config.measure, config.resampling, [name])
        rows = np.flatnonzero((attributes == name).all(axis=1))
        tiles = predictions.tiles.iloc[rows].assign(patient=patients_of(predictions.tiles.iloc[rows]))
        confusions = tiles.groupby(["true", "predicted"])["patient"].agg(n="size", n_patients="nunique").reset_index()
        tiles["confidence"] = _confidence(outcomes.part(rows))
        order = tiles.assign(is_right=tiles["true"] == tiles["predicted"]).sort_values(
            ["is_right", "confidence"], ascending=[True, False], kind="stable"
        )
        return Cell(
            table.iloc[0],
            confusions.sort_values("n", ascending=False, kind="stable", ignore_index=True),
            order.drop(columns=["is_right", "patient"]).reset_index(drop=True),
        )

    def compare(
        self, first: PredictionSet, second: PredictionSet, by: Sequence[str], config: AuditConfig = DEFAULT_CONFIG
    ) -> pd.DataFrame:
        """`compare_models` on the tiles that both predicted, with the metadata of the first.

        Raises:
            InvalidRequestError: no tile in common, or another true class of one.
        """
        order = pd.Series(range(len(second.tiles)), second.tiles["id"])
        is_common = first.tiles["id"].isin(order.index)
        if not is_common.any():
            raise InvalidRequestError(f"{first.model} and {second.model} have no tile in common")
        first = first.part(is_common)
        patients = patients_of(first.tiles)
        sides = outcomes_of(first), outcomes_of(second, order[first.tiles["id"]].to_numpy(), patients)
        return compare_models(*sides, self.attributes(first, by), config.measure, config.resampling)

    def attributes(self, predictions: PredictionSet, by: Sequence[str]) -> pd.DataFrame:
        """`subgroup_columns` of the predicted tiles, with the bins that `bins_of` names."""
        training = self._tiles().query("split == 'train'") if has_reference(self._folder) else NO_TILES
        return subgroup_columns(predictions.tiles, by, training)

    def bins_of(self) -> str:
        """Whose quantiles cut numbers into bins: a reference set is not needed to audit tiles of one's own."""
        return "training tiles of the reference set" if has_reference(self._folder) else "these tiles"

    def _tiles(self) -> pd.DataFrame:
        """Metadata of the real tiles of the reference set, read when first needed."""
        with self._lock:
            if self._known is None:
                self._known = read_reference(self._folder).real.tiles
            return self._known


def held_out(predictions: PredictionSet) -> PredictionSet:
    """The tiles of the test split."""
    return of_splits(predictions, HELD_OUT)


def of_splits(predictions: PredictionSet, splits: Sequence[str]) -> PredictionSet:
    """The tiles of some splits.

    Raises:
        InvalidRequestError: there are none.
    """
    part = predictions.part(predictions.tiles["split"].isin(splits))
    if part.tiles.empty:
        raise InvalidRequestError(f"{predictions.model} has no tile of the split {' or '.join(splits)}")
    return part


def available_measures(predictions: PredictionSet) -> list[str]:
    """Keys of `MEASURES` that these predictions allow."""
    return [name for name in MEASURES if name not in unavailable_measures(predictions)]


def unavailable_measures(predictions: PredictionSet) -> dict[str, str]:
    """The other keys of `MEASURES`, each with the reason."""
    if predictions.probabilities is None:
        return {name: "there are no probabilities" for name in MEASURES if name in NEEDS_PROBABILITIES}
    if (num := patients_of(predictions.tiles).nunique()) > MAX_PAIRED_PATIENTS:
        return {"auc": f"it compares patients pair by pair, at most {MAX_PAIRED_PATIENTS:,} of them; given {num:,}"}
    return {}


def outcomes_of(
    predictions: PredictionSet, rows: np.ndarray | None = None, patients: pd.Series | None = None
) -> Outcomes:
    """Predictions as the metrics take them: all, or some rows in some order, with patients from elsewhere."""
    rows = np.arange(len(predictions.tiles)) if rows is None else rows
    tiles = predictions.tiles.iloc[rows]
    probabilities = None if predictions.probabilities is None else predictions.probabilities[rows]
    patients = patients_of(tiles) if patients is None else patients
    return build_outcomes(tiles["true"], tiles["predicted"], patients, predictions.classes, probabilities)


def _is_label(column: pd.Series, true: pd.Series) -> bool:
    """Whether an attribute is the true class, wherever it is recorded: its groups then hold one class each, and a rate
    that differs between them is a confusion of classes, not an unequal treatment of groups."""
    return bool(column.notna().any() and (column.isna() | (column == true)).all())


def _confidence(outcomes: Outcomes) -> np.ndarray:
    """Probability of what was predicted, `(N,)`."""
    if outcomes.probabilities is None:
        return np.full(len(outcomes), np.nan)
    return outcomes.probabilities[np.arange(len(outcomes)), outcomes.predicted]
