"""Fine-tune a classifier on some tiles and ask it about others, as an experiment does for each arm. Knows no files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from medi_core.data.balanced_tiles import BalancedTileDataset
from medi_core.models.tile_classifier import build_pretrained
from medi_core.training.linear_start import fit_head, pretrained_features
from medi_core.training.train_classifier import ClassifierTraining, ClassifierTrainingConfig


def fine_tuned_logits(
    tiles: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    test: np.ndarray,
    classes: tuple[str, ...],
    config: ClassifierTrainingConfig,
    cache_dir: Path | None = None,
) -> np.ndarray:
    """Linear start on the training tiles, fine-tuning to the last step, no look at any other tile.

    Args:
        tiles: uint8 `(N, H, W, 3)`.
        labels: int64 `(N,)`, place of the class; each class at least once.
        weights: `(N,)`, how likely each tile is drawn, sum 1.
        test: uint8 `(M, H, W, 3)`.
        classes: names, in the order of the labels.
        config: of the training; its seed is that of the draws.
        cache_dir: of features, for the linear start.

    Returns:
        float32 `(M, K)`, not calibrated.
    """
    classifier = build_pretrained(classes, config.backbone)
    features = pretrained_features(classifier, tiles, cache_dir)
    fit_head(classifier, features, labels, weights, config.inverse_penalty)
    dataset = BalancedTileDataset(tiles, labels, weights, replace(config.augmentation, seed=config.seed))
    training = ClassifierTraining(config, classifier, dataset, Accelerator(mixed_precision="no"))
    if config.num_steps:
        for _ in training.steps():
            pass
    return training.classifier.logits(test)
