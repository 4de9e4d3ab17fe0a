"""One way in for tiles of any origin; calibrated probabilities; evidence that adds up and lies where it was planted."""

import numpy as np
import pytest
import torch

from medi_core.errors import CheckpointError, InvalidRequestError
from medi_core.models.tile_classifier import (
    ClassifierConfig,
    TileClassifier,
    build_pretrained,
    softmax,
    tumor_probability,
)
from medi_core.models.tile_encoder import TileEncoder
from tests.toy_classifier import CLASSES, build_toy_classifier
from tests.toys import synthetic_tissue


@pytest.fixture(scope="module")
def classifier() -> TileClassifier:
    return build_toy_classifier()


@pytest.fixture(scope="module")
def tiles() -> np.ndarray:
    return np.stack([synthetic_tissue(96, seed) for seed in range(5)])


def test_its_features_are_those_of_the_default_encoder(classifier, tiles):
    np.testing.assert_allclose(classifier.features(tiles), TileEncoder().encode(tiles), rtol=1e-4, atol=1e-4)


def test_a_tile_gets_one_verdict_whatever_memory_and_company_it_comes_in(classifier, tiles):
    together = classifier.logits(tiles)
    as_view = np.flip(np.flip(tiles, axis=2).copy(), axis=2)  # the same pixels, not contiguous
    as_planes = np.ascontiguousarray(tiles.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(classifier.logits(as_view), together, atol=1e-4)
    np.testing.assert_allclose(classifier.logits(as_planes), together, atol=1e-4)
    np.testing.assert_allclose(classifier.logits(tiles, batch_size=2), together, atol=1e-4)
    pixels = [classifier.preprocess(t) for t in (tiles, torch.from_numpy(tiles.copy()))]
    torch.testing.assert_close(*pixels, rtol=0, atol=0)


def test_pixels_are_normalised_as_the_backbone_was_trained(classifier, tiles):
    pixels = classifier.preprocess(tiles)
    mean, std = (np.array(v) for v in (classifier.config.mean, classifier.config.std))
    np.testing.assert_allclose(pixels.permute(0, 2, 3, 1).numpy(), (tiles / 255 - mean) / std, atol=1e-4)


@pytest.mark.parametrize("wrong", [np.zeros((2, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8)])
def test_what_is_no_tile_is_a_bug(classifier, wrong):
    with pytest.raises(AssertionError):
        classifier.preprocess(wrong)


def test_probabilities_sum_to_one_and_the_temperature_leaves_their_order(classifier, tiles):
    warm = TileClassifier(ClassifierConfig(CLASSES, classifier.config.mean, classifier.config.std, temperature=4.0))
    warm.load_state_dict(classifier.state_dict())
    plain, flat = classifier.probabilities(tiles), warm.eval().probabilities(tiles)
    np.testing.assert_allclose(flat.sum(axis=1), 1)
    np.testing.assert_array_equal(np.argsort(plain), np.argsort(flat))
    assert (flat.max(axis=1) < plain.max(axis=1)).all()
    assert classifier.probabilities(tiles[:0]).shape == (0, 3)


def test_softmax_of_huge_logits_is_finite():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])), [[1, 0], [0.5, 0.5]])


def test_the_evidence_adds_up_to_the_margin_of_the_class(classifier):
    tile = synthetic_tissue(128, 3)
    (logits,) = classifier.logits(tile[None]) - classifier.head.bias.detach().numpy()
    others = softmax(classifier.logits(tile[None])[:, 1:])[0]
    margin = logits[0] - others @ logits[1:]
    evidence = classifier.evidence(tile, CLASSES[0])
    assert evidence.shape == (128, 128)
    assert evidence.mean() == pytest.approx(margin, rel=0.05, abs=0.02)  # up to the interpolation at the border


def test_evidence_lies_where_it_was_planted(classifier):
    plain = np.full((128, 128, 3), (225, 130, 180), np.uint8)
    planted = plain.copy()
    planted[16:48, 72:104] = synthetic_tissue(32, 1)
    learned = build_pretrained(CLASSES)
    features = learned.features(np.stack([plain, planted]))
    with torch.no_grad():  # a head that separates exactly these two
        learned.centre.copy_(torch.from_numpy(features[0]))
        learned.scale.copy_(torch.from_numpy(np.abs(features[1] - features[0]) + 1e-3))
        learned.head.weight[1] = torch.from_numpy(np.sign(features[1] - features[0]))
    evidence = learned.evidence(planted, CLASSES[1])
    inside = evidence[16:48, 72:104].mean()
    outside = (evidence.sum() - 32**2 * inside) / (128**2 - 32**2)
    assert inside > 3 * max(outside, 1e-6)  # deep stages see beyond their place, so not 0


def test_tumor_is_what_is_left_of_the_benign_classes():
    probabilities = np.array([[0.5, 0.2, 0.3], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(tumor_probability(CLASSES, probabilities), [0.7, 0.0])
    np.testing.assert_allclose(tumor_probability(CLASSES, probabilities[0]), 0.7)
    assert tumor_probability(CLASSES[:2], probabilities[:, :2]) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a",)}, "at least 2 classes"),
        ({"classes": ("a", "a")}, "each once"),
        ({"std": (0.5, 0.0, 0.5)}, "std above 0"),
        ({"temperature": 0.0}, "temperature must be above 0"),
    ],
)
def test_an_impossible_configuration_is_refused(changes, message):
    with pytest.raises(InvalidRequestError, match=message):
        ClassifierConfig(**({"classes": ("a", "b"), "mean": (0.5,) * 3, "std": (0.5,) * 3} | changes))


def test_an_unknown_backbone_is_named():
    with pytest.raises(CheckpointError, match="no pretrained backbone 'nothing50'"):
        build_pretrained(CLASSES, "nothing50")
    with pytest.raises(CheckpointError, match="timm has no backbone 'nothing50'"):
        TileClassifier(ClassifierConfig(CLASSES, (0.5,) * 3, (0.5,) * 3, "nothing50"))
