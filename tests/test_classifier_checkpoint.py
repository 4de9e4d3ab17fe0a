"""A classifier comes back as it was saved; what is damaged, pickled or inconsistent is refused by name."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from medi_core.checkpoints import list_checkpoints
from medi_core.classifier_checkpoint import load_classifier, read_classifier_card, save_classifier
from medi_core.errors import CheckpointError
from tests.toy_classifier import CARD, CLASSES, MEASURED, build_toy_classifier, save_toy_classifier
from tests.toys import synthetic_tissue


@pytest.fixture
def folder(tmp_path):
    return save_toy_classifier(tmp_path / "toy")


def test_what_is_loaded_gives_the_logits_of_what_was_saved(folder, tmp_path):
    tiles = np.stack([synthetic_tissue(64, seed) for seed in range(3)])
    once = load_classifier(folder)
    np.testing.assert_allclose(once.classifier.logits(tiles), build_toy_classifier().logits(tiles), atol=0.1)  # float16
    save_classifier(once.classifier, tmp_path / "again", once.training, once.measured)
    again = load_classifier(tmp_path / "again")
    np.testing.assert_array_equal(again.classifier.logits(tiles), once.classifier.logits(tiles))
    assert again.digest == once.digest
    assert (again.classifier.config, again.training, again.measured) == (
        once.classifier.config,
        {"seed": 0},
        MEASURED,
    )
    assert not any(parameter.requires_grad for parameter in again.classifier.parameters())


def test_a_backbone_that_is_as_it_came_is_not_saved_again(tmp_path):
    tiles = np.stack([synthetic_tissue(64, seed) for seed in range(3)])
    classifier = build_toy_classifier()
    classifier.config = replace(classifier.config, is_backbone_trained=False)
    save_classifier(classifier, tmp_path / "head", {})
    assert (tmp_path / "head" / "model.safetensors").stat().st_size < 50_000
    loaded = load_classifier(tmp_path / "head").classifier
    np.testing.assert_array_equal(loaded.features(tiles), classifier.features(tiles))
    np.testing.assert_allclose(loaded.logits(tiles), classifier.logits(tiles), atol=0.05)  # the head is float16


def test_its_card_is_read_without_its_weights(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    assert read_classifier_card(folder) == CARD
    assert read_classifier_card(tmp_path / "nowhere") == ""


def test_it_is_no_diffusion_checkpoint(folder):
    assert list_checkpoints(folder.parent) == []


def test_another_temperature_is_another_classifier(folder):
    before = load_classifier(folder).id
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"temperature": 2.0}))
    assert load_classifier(folder).id != before


def shorten(path):
    path.write_bytes(path.read_bytes()[:-100])


def rewrite_config(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def spoil_number(path):
    weights = load_file(path)
    weights["head.bias"] = torch.full_like(weights["head.bias"], torch.nan)
    save_file(weights, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "toy/config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "toy/config.json is damaged, no JSON"),
        (lambda f: rewrite_config(f / "config.json", colour="red"), "toy/config.json describes no classifier"),
        (lambda f: rewrite_config(f / "config.json", classes=["a"]), "at least 2 classes"),
        (lambda f: rewrite_config(f / "config.json", temperature="hot"), "toy/config.json describes no classifier"),
        (lambda f: rewrite_config(f / "config.json", backbone="no_net"), "timm has no backbone 'no_net'"),
        (lambda f: rewrite_config(f / "config.json", classes=[*CLASSES, "d"]), "do not belong together: head.bias"),
        (lambda f: (f / "model.safetensors").unlink(), "toy/model.safetensors is missing"),
        (lambda f: shorten(f / "model.safetensors"), "toy/model.safetensors is damaged or no safetensors file"),
        (lambda f: spoil_number(f / "model.safetensors"), "head.bias is not finite"),
        (lambda f: (f / "model.pt").write_bytes(b""), r"toy holds pickled weights \(model.pt\)"),
        (lambda f: (f / "measured.json").write_text("[]"), "toy/measured.json is damaged"),
    ],
)
def test_damage_is_refused_by_name(folder, damage, message):
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        load_classifier(folder)


def test_a_missing_classifier_says_how_to_make_one(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"there is no tile classifier in .*/none/; train one: .* train-classifier"
    ):
        load_classifier(tmp_path / "none")
