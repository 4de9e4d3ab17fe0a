"""The head of a tile classifier fitted on features of its frozen backbone: where its fine-tuning starts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from medi_core.data.feature_cache import FeatureCache, tile_digest
from medi_core.models.encoder_catalogue import DEFAULT_ENCODER
from medi_core.models.tile_classifier import BATCH, DEFAULT_BACKBONE, TileClassifier

MAX_ITERATIONS = 300


def pretrained_features(
    classifier: TileClassifier,
    tiles: np.ndarray,
    cache_dir: Path | None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> np.ndarray:
    """Features of tiles by a backbone as it came, each tile encoded once.

    Args:
        classifier: its backbone must not have been trained.
        tiles: uint8 `(N, H, W, 3)`.
        cache_dir: holds a folder a network; that of the default backbone is the default encoder's, for they are one.

    Returns:
        float32 `(N, D)`.

    Raises:
        StorageError: the cache cannot be written.
    """
    backbone = classifier.config.backbone
    name = DEFAULT_ENCODER if backbone == DEFAULT_BACKBONE else backbone
    cache = FeatureCache(cache_dir / name if cache_dir else None, len(classifier.centre))
    digests = [tile_digest(tile) for tile in tiles]
    missing = [i for i, digest in enumerate(digests) if cache.get(digest) is None]
    for start in range(0, len(missing), BATCH):
        on_progress(start, len(missing))
        chosen = missing[start : start + BATCH]
        for i, row in zip(chosen, classifier.features(tiles[chosen]), strict=True):
            cache.add(digests[i], row)
    cache.save()
    return np.stack([cache.get(digest) for digest in digests])


def fit_head(
    classifier: TileClassifier,
    features: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    inverse_penalty: float,
) -> None:
    """Set centre and scale, and the head to the multinomial logistic regression on standardised features.

    Args:
        features: float32 `(N, D)`.
        labels: int64 `(N,)`; each class at least once.
        probabilities: `(N,)`: how often each tile is drawn in the fine-tuning; its weight here.
        inverse_penalty: C of scikit-learn.
    """
    from sklearn.linear_model import LogisticRegression

    centre, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    model = LogisticRegression(C=inverse_penalty, max_iter=MAX_ITERATIONS)
    model.fit((features - centre) / scale, labels, sample_weight=probabilities * len(labels))
    weights, intercepts = model.coef_, model.intercept_
    if len(weights) == 1:  # two classes: one column, for the second; the first one's logit is 0
        weights, intercepts = np.vstack([0 * weights, weights]), np.append(0, intercepts)
    with torch.no_grad():
        for target, value in (
            (classifier.centre, centre),
            (classifier.scale, scale),
            (classifier.head.weight, weights),
            (classifier.head.bias, intercepts),
        ):
            target.copy_(torch.from_numpy(np.asarray(value, dtype=np.float32)))
