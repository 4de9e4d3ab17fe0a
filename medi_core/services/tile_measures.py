"""What is measured of each synthetic tile of a data set: verdict, probes, distance, copies. No widgets, no files."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.manifest import read_manifest
from medi_core.data.reference_set import ReferenceSet, is_train_split
from medi_core.errors import ManifestError, ReferenceSetError
from medi_core.metrics.probes import Probe
from medi_core.services.asked_versus_got import training_probe
from medi_core.services.classification import ClassificationService
from medi_core.services.copy_audit import copy_report, windows_of_tiles
from medi_core.services.encoding import EncodingService
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.reference import ReferenceService

PROBED = ("cancer_type", "center")
"""Attributes that a tile must show to be recognised, where they were asked for and a probe learnt them."""


@dataclass(frozen=True)
class TileMeasures:
    """Of one tile."""

    verdict: str
    """What the classifier sees."""
    verdict_probability: float
    train_distance: float | None
    """1 − cosine similarity of its features to those of the nearest real training tile; `None` = no reference set."""
    is_recognised: bool
    """Whether the probes see each attribute that was asked for and that they learnt; true where there is none such."""


class MeasureService:
    """Classifier, encoder and probes around tiles that were just made."""

    def __init__(
        self, reference: ReferenceService, encoding: EncodingService, classification: ClassificationService
    ) -> None:
        self._reference, self._encoding, self._classification = reference, encoding, classification
        self._lock = threading.Lock()
        self._probes: dict[str, Probe | None] = {}
        self._training: np.ndarray | None = None
        self._of: ReferenceSet | None = None
        self._of_id = ""

    @property
    def classifier_id(self) -> str:
        """`name@digest` of the classifier."""
        return self._classification.model_id

    @property
    def reference_id(self) -> str | None:
        """What distances and probes come from: encoder and digest of the real training features.

        `None`: there is no set of this checkpoint and encoder, and nothing is compared.
        """
        try:
            self._prepare()
        except ReferenceSetError:
            return None
        return self._of_id

    def measure(self, tiles: Sequence[GeneratedTile]) -> list[TileMeasures]:
        """In the order of the tiles.

        Raises:
            CheckpointError: there is no classifier or encoder.
        """
        images = [tile.image for tile in tiles]
        verdicts = self._classification.verdicts(images)
        if self.reference_id is None:  # nothing to compare with
            return [TileMeasures(v.top, v.probabilities[v.top], None, True) for v in verdicts]
        features = self._encoding.features_of(images)
        distances = 1 - (_unit(features) @ self._training.T).max(axis=1)
        seen = {name: probe.predict(features) for name, probe in self._probes.items() if probe is not None}
        return [
            TileMeasures(v.top, v.probabilities[v.top], float(distances[i]), self._is_recognised(tile, seen, i))
            for i, (tile, v) in enumerate(zip(tiles, verdicts, strict=True))
        ]

    def require_probes(self) -> None:
        """Refuse, before any waiting, to filter by probes that there are not.

        Raises:
            ReferenceSetError: no reference set, or too little in it to learn a probe.
        """
        self._prepare()
        if not any(self._probes.values()):
            raise ReferenceSetError("the reference set has too few real tiles to learn a probe: do not filter by it")

    def copy_threshold(self) -> float:
        """Distance up to which a tile looks copied: that of the copy audit's 1 % most similar held-out tiles.

        Raises:
            ReferenceSetError: no reference set, or it was not audited for copies.
        """
        return copy_report(self._reference.load().tiles).threshold

    def copies(self, tiles: Sequence[GeneratedTile], training: pd.DataFrame, threshold: float) -> np.ndarray:
        """Which tiles are at least as like a training region as `copy_threshold` allows.

        Args:
            training: rows of a manifest whose images the generator was trained on.

        Returns:
            bool `(N,)`.

        Raises:
            ManifestError: an image that cannot be used.
        """
        windows = windows_of_tiles([tile.image for tile in tiles], [None] * len(tiles), training)
        return (1 - windows["window_similarity"].to_numpy(dtype=float)) <= threshold  # NaN compares as false

    def _prepare(self) -> None:
        reference = self._reference.load()
        with self._lock:
            if reference is not self._of:
                real = reference.part((reference.tiles["origin"] == "real") & is_train_split(reference.tiles))
                self._training = _unit(real.features)
                self._probes = {name: training_probe(reference, name) for name in PROBED}
                self._of_id = f"{self._encoding.name}@{sha256(self._training.tobytes()).hexdigest()[:12]}"
                self._of = reference

    def _is_recognised(self, tile: GeneratedTile, seen: dict[str, np.ndarray], i: int) -> bool:
        asked = tile.record.to_dict()
        return all(
            seen[name][i] == asked[name] for name in seen if name in asked and asked[name] in self._probes[name].classes
        )


def training_rows(manifest: Path) -> pd.DataFrame:
    """Real rows of the training split: what may have been copied.

    Raises:
        ManifestError: there is none, or the manifest cannot be used.
    """
    rows = read_manifest(manifest)
    rows = rows[(rows["origin"] != "synthetic") & is_train_split(rows)]
    if rows.empty:
        raise ManifestError(f"{manifest.name} has no real row of the training split: nothing can be copied from it")
    return rows


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
