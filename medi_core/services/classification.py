"""Tile → verdict: the resident classifier behind a lock and a cache. Knows no widgets.

A verdict says what the classifier sees, not what is there: it was trained on real tiles of certain hospitals.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medi_core.classifier_checkpoint import ClassifierCheckpoint, load_classifier, read_classifier_card
from medi_core.data.feature_cache import tile_digest
from medi_core.errors import InvalidRequestError
from medi_core.models.tile_classifier import BATCH, tumor_probability

CACHED_VERDICTS = 20_000


@dataclass(frozen=True)
class Verdict:
    """What the classifier says of one tile."""

    probabilities: Mapping[str, float] = field(repr=False)
    """Class → calibrated probability; they sum to 1."""
    model: str
    """`name@digest` of the classifier."""

    @property
    def top(self) -> str:
        """The most likely class."""
        return max(self.probabilities, key=self.probabilities.get)

    @property
    def tumor(self) -> float | None:
        """Probability of tumor: one minus the benign classes; `None` where the classifier has none, or only such."""
        numbers = np.array(list(self.probabilities.values()))
        found = tumor_probability(tuple(self.probabilities), numbers)
        return None if found is None else float(found)

    def ranked(self, num: int) -> list[tuple[str, float]]:
        """The most likely classes, most likely first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:num]


class ClassificationService:
    """One classifier on one device, loaded when it is first needed.

    Args:
        folder: of the classifier's checkpoint; it may be missing until it is needed.
        device: where it runs.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder, self._device = folder, device
        self._lock = threading.RLock()
        self._checkpoint: ClassifierCheckpoint | None = None
        self._cache: OrderedDict[str, np.ndarray] = OrderedDict()

    @property
    def model_id(self) -> str:
        """`name@digest`. Raises as `verdicts`."""
        return self._loaded().id

    @property
    def model_card(self) -> str:
        """Markdown; empty where the classifier has none. Loads no weights."""
        return read_classifier_card(self.folder)

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the probabilities. Raises as `verdicts`."""
        return self._loaded().classifier.config.classes

    @property
    def measured(self) -> Mapping[str, Any]:
        """What it was worth on held-out patients (`measured.json`); empty where not measured. Raises as `verdicts`."""
        return self._loaded().measured

    def verdicts(self, tiles: Sequence[np.ndarray]) -> list[Verdict]:
        """What the classifier says of tiles of any origin, each tile looked at once.

        Args:
            tiles: uint8 `(H, W, 3)`, RGB; sizes may differ.

        Raises:
            CheckpointError: there is no classifier, or it cannot be used.
        """
        digests = [tile_digest(tile) for tile in tiles]
        with self._lock:
            checkpoint = self._loaded()
            found = {digest: self._cache[digest] for digest in digests if digest in self._cache}
            missing = {digest: tile for digest, tile in zip(digests, tiles, strict=True) if digest not in found}
            for batch in _batches_of_one_shape(missing):
                rows = checkpoint.classifier.probabilities(np.stack([missing[digest] for digest in batch]))
                found |= zip(batch, rows, strict=True)
            self._remember(found)
        names = checkpoint.classifier.config.classes
        return [Verdict(dict(zip(names, map(float, found[d]), strict=True)), checkpoint.id) for d in digests]

    def saliency(self, tile: np.ndarray, label: str) -> np.ndarray:
        """Where in a tile the evidence for a class lies, by HiResCAM (`TileClassifier.evidence`).

        Args:
            tile: uint8 `(H, W, 3)`, RGB.
            label: one of the classes.

        Returns:
            float32 `(H, W)` in [0, 1]: the positive evidence over its maximum; 0 everywhere where nothing speaks for
            the class.

        Raises:
            CheckpointError: there is no classifier, or it cannot be used.
            InvalidRequestError: no such class.
        """
        with self._lock:
            if label not in self.classes:
                raise InvalidRequestError(f"class {label!r} is unknown; known: {', '.join(self.classes)}")
            evidence = self._loaded().classifier.evidence(tile, label)
        positive = np.maximum(evidence, 0)
        most = positive.max()
        return positive / most if most > 0 else positive

    def _loaded(self) -> ClassifierCheckpoint:
        with self._lock:
            if self._checkpoint is None:
                self._checkpoint = load_classifier(self.folder, self._device)
            return self._checkpoint

    def _remember(self, found: Mapping[str, np.ndarray]) -> None:
        for digest, row in found.items():
            self._cache[digest] = row
            self._cache.move_to_end(digest)
        while len(self._cache) > CACHED_VERDICTS:
            self._cache.popitem(last=False)


def _batches_of_one_shape(tiles: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Digests of tiles that can be stacked, at most `BATCH` each."""
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for digest, tile in tiles.items():
        by_shape.setdefault(tile.shape, []).append(digest)
    return [group[i : i + BATCH] for group in by_shape.values() for i in range(0, len(group), BATCH)]
