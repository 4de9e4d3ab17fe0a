"""The validation loss differs by the weights alone."""

import pytest
import torch

from medi_core.training import validation
from medi_core.training.validation import ValidationSet


@pytest.fixture
def validation_set(toy_dataset, tiny_config, monkeypatch) -> ValidationSet:
    monkeypatch.setattr(validation, "NUM_TILES", 8)
    return ValidationSet.build(toy_dataset, tiny_config)


def test_it_is_the_same_each_time_and_leaves_the_training_alone(start, validation_set):
    training, undisturbed = start(num_steps=2), start(num_steps=2)
    before = validation_set.loss(training)
    assert validation_set.loss(training) == before
    assert [s.loss for s in training.steps()] == [s.loss for s in undisturbed.steps()]
    assert validation_set.loss(training) != before


def test_it_does_not_depend_on_how_it_is_split(start, validation_set, monkeypatch):
    training = start()
    whole = validation_set.loss(training)
    monkeypatch.setattr(validation, "BATCH", 3)
    assert validation_set.loss(training) == pytest.approx(whole, rel=1e-5)


def test_noise_levels_are_spread_over_the_levels_of_training(validation_set):
    logits = torch.logit(validation_set.draw.sigmas).sort().values
    assert len(logits.unique()) == 8
    assert abs(logits.mean() - 0.4) < 0.01
    assert 0.8 < logits.std() < 1.0  # eight quantiles of a unit normal


def test_nothing_is_dropped(validation_set):
    assert not validation_set.draw.is_dropped.any()
