"""A classifier of two classes without any training, and tiles that it can tell apart: nothing real."""

from pathlib import Path

import numpy as np
import torch

from medi_core.classifier_checkpoint import save_classifier
from medi_core.models.tile_classifier import TileClassifier, build_pretrained
from tests.toys import synthetic_tissue

CLASSES = ("Breast_invasive_carcinoma", "Lung_adenocarcinoma", "Lung_benign")
RECALL = {"value": 0.8, "ci_low": 0.6, "ci_high": 0.9, "n": 40, "n_patients": 7, "interval": "patients resampled"}
NO_RECALL = {"value": None, "ci_low": None, "ci_high": None, "n": 0, "n_patients": 0, "interval": "none: no tile"}
MEASURED = {"test": {"recall": {CLASSES[0]: RECALL, CLASSES[1]: NO_RECALL, CLASSES[2]: RECALL}}}

CARD = "---\nlicence: none\n---\n\n# A toy that has seen nothing\n"


def build_toy_classifier(classes: tuple[str, ...] = CLASSES) -> TileClassifier:
    """The ImageNet backbone under a random head: verdicts differ from tile to tile, and mean nothing."""
    classifier = build_pretrained(classes)
    features = classifier.features(np.stack([synthetic_tissue(64, seed) for seed in range(8)]))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        classifier.centre.copy_(torch.from_numpy(features.mean(axis=0)))
        classifier.scale.copy_(torch.from_numpy(features.std(axis=0) + 1e-3))
        classifier.head.weight.copy_(0.1 * torch.randn(classifier.head.weight.shape, generator=generator))
    return classifier


def save_toy_classifier(folder: Path) -> Path:
    """As a checkpoint with measures and a card."""
    save_classifier(build_toy_classifier(), folder, {"seed": 0}, MEASURED, CARD)
    return folder
