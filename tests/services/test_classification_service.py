"""Each tile is looked at once; a verdict is the classifier's own; saliency is the positive evidence, from 0 to 1."""

import numpy as np
import pytest

from medi_core.classifier_checkpoint import load_classifier
from medi_core.errors import CheckpointError, InvalidRequestError
from medi_core.models.tile_classifier import TileClassifier
from medi_core.services import classification
from medi_core.services.classification import ClassificationService
from tests.toy_classifier import CLASSES, save_toy_classifier
from tests.toys import synthetic_tissue


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_toy_classifier(tmp_path_factory.mktemp("classifiers") / "toy")


@pytest.fixture
def service(folder) -> ClassificationService:
    return ClassificationService(folder)


@pytest.fixture
def looked_at(monkeypatch) -> list[int]:
    """How many tiles each call of the network saw."""
    seen: list[int] = []
    judge = TileClassifier.probabilities

    def counted(self, tiles):
        seen.append(len(tiles))
        return judge(self, tiles)

    monkeypatch.setattr(TileClassifier, "probabilities", counted)
    return seen


def test_a_verdict_is_what_the_classifier_says(service, folder):
    tiles = [synthetic_tissue(64, 1), synthetic_tissue(96, 2), synthetic_tissue(64, 3)]
    checkpoint = load_classifier(folder)
    for tile, verdict in zip(tiles, service.verdicts(tiles), strict=True):
        (expected,) = checkpoint.classifier.probabilities(tile[None])
        np.testing.assert_allclose(list(verdict.probabilities.values()), expected, atol=1e-4)
        assert tuple(verdict.probabilities) == CLASSES
        assert verdict.top == CLASSES[expected.argmax()]
        assert verdict.tumor == pytest.approx(expected[:2].sum(), abs=1e-4)
        assert [p for _, p in verdict.ranked(2)] == sorted(verdict.probabilities.values(), reverse=True)[:2]
        assert verdict.model == checkpoint.id
    assert service.verdicts([]) == []


def test_a_tile_is_looked_at_once(service, looked_at):
    first, second = synthetic_tissue(64, 1), synthetic_tissue(64, 2)
    before = service.verdicts([first, first.copy()])
    assert service.verdicts([second, first])[1] == before[0] == before[1]
    assert looked_at == [1, 1]


def test_the_oldest_verdicts_are_forgotten_first(service, looked_at, monkeypatch):
    monkeypatch.setattr(classification, "CACHED_VERDICTS", 2)
    tiles = [synthetic_tissue(32, seed) for seed in range(3)]
    verdicts = service.verdicts(tiles)
    assert service.verdicts(tiles[1:]) == verdicts[1:]
    assert looked_at == [3]
    assert service.verdicts(tiles[:1])[0].top == verdicts[0].top
    assert looked_at == [3, 1]


@pytest.mark.parametrize("label", CLASSES)
def test_saliency_is_the_positive_evidence_over_its_maximum(service, folder, label):
    tile = synthetic_tissue(96, 4)
    saliency = service.saliency(tile, label)
    evidence = load_classifier(folder).classifier.evidence(tile, label)
    assert (saliency.shape, saliency.dtype) == ((96, 96), np.float32)
    assert saliency.min() >= 0
    assert saliency.max() == pytest.approx(1)
    np.testing.assert_allclose(saliency, np.maximum(evidence, 0) / evidence.max(), atol=1e-5)


def test_a_class_that_is_none_is_named(service):
    with pytest.raises(InvalidRequestError, match="class 'Brain' is unknown; known: Breast"):
        service.saliency(synthetic_tissue(64, 1), "Brain")


def test_a_missing_classifier_is_missed_when_it_is_needed(tmp_path):
    service = ClassificationService(tmp_path / "none")
    with pytest.raises(CheckpointError, match="there is no tile classifier"):
        service.verdicts([synthetic_tissue(32, 1)])
