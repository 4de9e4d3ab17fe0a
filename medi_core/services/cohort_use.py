"""A cohort through the resident models: features for the map, predictions for the audit. Knows no widgets."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from medi_core.data.patients import in_turns, patients_of
from medi_core.data.predictions import PredictionSet, join_predictions
from medi_core.services.classification import ClassificationService
from medi_core.services.cohort import Cohort
from medi_core.services.encoding import EncodingService
from medi_core.services.manifest_predictions import predict_manifest

MAX_ON_MAP = 2000
"""Of a larger cohort so many tiles are placed, one of each patient in turn."""
SEED = 0
"""Of the tiles that are placed."""
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class OwnTiles:
    """Tiles of a cohort, ready for the map."""

    tiles: pd.DataFrame = field(repr=False)
    """Rows of a manifest."""
    features: np.ndarray = field(repr=False)
    """float32 `(N, D)`."""


def encode_cohort(encoding: EncodingService, cohort: Cohort, on_progress: OnProgress = lambda *_: None) -> OwnTiles:
    """Features of at most `MAX_ON_MAP` tiles; an error that `on_progress` raises ends it.

    Raises:
        CheckpointError: the encoder cannot be loaded.
        ManifestError: an image is gone.
    """
    keyed = cohort.tiles.assign(whom=patients_of(cohort.tiles))
    chosen = in_turns(keyed, ["whom"], SEED).head(MAX_ON_MAP).sort_index().drop(columns="whom")
    rows, features = encoding.features_of_rows(chosen, on_progress)
    return OwnTiles(rows.reset_index(drop=True), features)


def classify_cohort(
    classification: ClassificationService, cohort: Cohort, on_progress: OnProgress = lambda *_: None
) -> PredictionSet:
    """What the resident classifier says of the tiles whose class it knows.

    Raises:
        CheckpointError: there is no classifier.
        ManifestError: no tile has a class that it knows, or an image is gone.
    """
    table = predict_manifest(classification, cohort.tiles, on_progress)
    table.attrs["model"] = f"{classification.model_id} on {cohort.name}"
    places = cohort.tiles[["x", "y"]].assign(id=cohort.digests, image=cohort.tiles["path"].map(os.path.basename))
    return join_predictions(table, cohort.name, places)
