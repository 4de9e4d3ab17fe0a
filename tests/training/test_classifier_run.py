"""A training of a classifier on toy tiles: it learns, calibrates, and trains on no held-out patient."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from accelerate import Accelerator

from medi_core.classifier_checkpoint import load_classifier
from medi_core.data.balanced_tiles import AugmentationConfig, BalancedTileDataset
from medi_core.data.manifest import read_manifest, write_manifest
from medi_core.errors import InvalidRequestError, ManifestError
from medi_core.models.tile_classifier import build_pretrained
from medi_core.training import classifier_run
from medi_core.training.classifier_measure import measure_classifier
from medi_core.training.classifier_run import load_split, run_classifier_training
from medi_core.training.linear_start import fit_head, pretrained_features
from medi_core.training.train_classifier import ClassifierTraining, ClassifierTrainingConfig, freeze_stages
from medi_core.training.train_diffusion import TrainStep
from tests.toy_classifier import CLASSES, build_toy_classifier
from tests.toys import synthetic_tissue

TINY = ClassifierTrainingConfig(global_batch=4, num_steps=2, warmup_steps=1, validate_every=1)


@pytest.fixture
def trained(toy_manifest: Path, tmp_path: Path, monkeypatch) -> tuple[Path, list[pd.DataFrame]]:
    """A finished training, and the rows of every split that was read for it."""
    seen: list[pd.DataFrame] = []

    def spy(rows):
        seen.append(rows)
        return read(rows)

    read = classifier_run.read_tiles
    monkeypatch.setattr(classifier_run, "read_tiles", spy)
    return run_classifier_training(toy_manifest, tmp_path / "toy", TINY, command="as typed"), seen


def test_a_training_leaves_a_checkpoint_that_says_all_of_itself(trained, toy_manifest):
    folder, _ = trained
    checkpoint = load_classifier(folder)
    assert checkpoint.classifier.config.classes == CLASSES[:2]
    record, measured = checkpoint.training, checkpoint.measured
    assert (record["command"], record["seed"]) == ("as typed", 0)
    assert [row["step"] for row in record["history"]] == [0, 1, 2]
    best = min(record["history"], key=lambda row: row["nll"])
    assert record["step"] == best["step"]
    assert checkpoint.classifier.config.temperature == pytest.approx(best["temperature"])
    assert measured["test"]["overall"]["accuracy"]["n"] == 4
    assert measured["test"]["overall"]["accuracy"]["n_patients"] == 2
    card = (folder / "README.md").read_text()
    for text in ("`as typed`, seed 0", "4 tiles of 2 patients", "license: cc-by-nc-sa-4.0", "Must not be used"):
        assert text in card


def test_no_held_out_patient_is_trained_on(trained, toy_manifest):
    folder, seen = trained
    rows = read_manifest(toy_manifest)
    trained_on = set(seen[0]["patient_id"])
    held_out = load_classifier(folder).training["held_out_patients"]
    assert trained_on == set(rows[rows["split"] == "train"]["patient_id"])
    for split in ("val", "test"):
        assert set(held_out[split]) == set(rows[rows["split"] == split]["patient_id"])
        assert not trained_on & set(held_out[split])
    assert set(seen[1]["split"]) == {"val"}  # what decides which weights are kept


def test_fine_tuning_lowers_the_loss_and_leaves_frozen_stages_alone():
    tiles = np.stack([synthetic_tissue(32, seed) // (1 + seed % 2) for seed in range(8)])
    classifier, labels = build_pretrained(("bright", "dark")), np.arange(8) % 2
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    plain = AugmentationConfig(stain_jitter=0)
    dataset = BalancedTileDataset(tiles, labels, np.full(8, 1 / 8), plain)
    config = replace(TINY, global_batch=8, num_steps=12, learning_rate=1e-3)
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    losses = [step.loss for step in ClassifierTraining(config, classifier, dataset, accelerator).steps()]
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)  # a head of zeros knows nothing
    assert np.mean(losses[-3:]) < 0.5 * losses[0]
    changed = {name for name, tensor in classifier.state_dict().items() if (tensor != before[name]).any()}
    assert "head.weight" in changed
    assert any(name.startswith("backbone.blocks.6.") for name in changed)
    assert not any(
        name.startswith(("backbone.conv_stem", "backbone.blocks.0.", "backbone.blocks.2.")) for name in changed
    )
    assert not any("running" in name for name in changed)


def test_the_linear_start_separates_what_features_separate(tmp_path):
    tiles = np.stack([synthetic_tissue(32, seed) // (1 + seed % 3) for seed in range(12)])
    classifier, labels = build_pretrained(("a", "b", "c")), np.arange(12) % 3
    features = pretrained_features(classifier, tiles, tmp_path)
    fit_head(classifier, features, labels, np.full(12, 1 / 12), 1.0)
    np.testing.assert_array_equal(classifier.logits(tiles).argmax(axis=1), labels)
    classifier.backbone = None  # all features are in the cache now
    np.testing.assert_array_equal(pretrained_features(classifier, tiles, tmp_path), features)


def test_two_classes_get_a_head_of_two_rows():
    tiles = np.stack([synthetic_tissue(32, seed) // (1 + seed % 2) for seed in range(8)])
    classifier, labels = build_pretrained(("a", "b")), np.arange(8) % 2
    fit_head(classifier, pretrained_features(classifier, tiles, None), labels, np.full(8, 1 / 8), 1.0)
    np.testing.assert_array_equal(classifier.logits(tiles).argmax(axis=1), labels)


def test_more_frozen_stages_leave_less_to_train():
    counts = []
    for num in (0, 2, 5):
        classifier = build_pretrained(CLASSES)
        freeze_stages(classifier, num)
        counts.append(sum(p.requires_grad for p in classifier.parameters()))
    assert counts[0] == len(list(classifier.parameters()))
    assert counts[0] > counts[1] > counts[2] == 2  # the head alone
    with pytest.raises(InvalidRequestError, match="the backbone has 5 stages"):
        freeze_stages(classifier, 6)


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    config = ClassifierTrainingConfig(num_steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [config.learning_rate_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.03)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    with pytest.raises(InvalidRequestError, match="global_batch must be above 0"):
        ClassifierTrainingConfig(global_batch=0)


def test_measures_are_those_of_the_probabilities_and_what_is_not_known_is_said():
    classifier = build_toy_classifier()
    names = [CLASSES[0]] * 4 + [CLASSES[2]] * 4
    rows = pd.DataFrame({"cancer_type": names, "patient_id": [f"P{i // 2}" for i in range(8)]})
    rows["slide"] = rows["dataset"] = None
    rows["tissue"] = ["tumor"] * 4 + ["benign"] * 4
    logits = np.zeros((8, 3))
    logits[[0, 1, 2, 7], 0] = 5  # three of four, and one of the others
    logits[[3, 4, 5, 6], 2] = 5
    measured = measure_classifier(classifier, rows, logits)
    assert measured["overall"]["accuracy"]["value"] == pytest.approx(6 / 8)
    assert measured["recall"][CLASSES[0]]["value"] == pytest.approx(3 / 4)
    assert measured["recall"][CLASSES[1]] | {"interval": ""} == {
        **{"value": None, "ci_low": None, "ci_high": None, "n": 0, "n_patients": 0, "interval": ""}
    }
    assert measured["tumor_auc"]["value"] == pytest.approx(12 / 16)  # pairs won, ties half
    assert measured["overall"]["ece"] == measured["overall"]["ece_uncalibrated"]  # temperature 1


def test_a_manifest_without_validation_or_with_one_class_is_refused(toy_manifest):
    manifest = read_manifest(toy_manifest)
    with pytest.raises(ManifestError, match="no row with split 'val'"):
        load_split(manifest[manifest["split"] != "val"], "val")
    with pytest.raises(ManifestError, match="at least 2 cancer types"):
        load_split(manifest.assign(cancer_type="Lung_adenocarcinoma"), "train")


@pytest.mark.parametrize("num_asked", [3, 5])
def test_all_processes_stop_at_the_step_at_which_one_of_them_must(num_asked):
    """This process has no reason to stop; another one, in the sum over processes, has one at the third step."""
    asked: list[float] = []

    def reduce(flag, reduction):
        asked.append(flag.item())
        return flag + (len(asked) == num_asked)

    accelerator = SimpleNamespace(is_main_process=False, device="cpu", reduce=reduce)
    steps = [TrainStep(step, 1.0, 1e-3, 1.0) for step in range(1, 10)]
    config = replace(TINY, num_steps=9, validate_every=100)
    training = SimpleNamespace(config=config, accelerator=accelerator, steps=lambda: iter(steps))
    validated: list[float] = []
    classifier_run._fine_tune(training, validated.append, None, lambda _: None)
    assert asked == [0.0] * num_asked
    assert validated == [1.0]


def test_a_test_split_without_any_class_that_is_trained_on_is_not_measured(toy_manifest, tmp_path):
    manifest = read_manifest(toy_manifest)
    manifest.loc[manifest["split"] == "test", "cancer_type"] = "Mesothelioma"
    path = tmp_path / "manifest.csv"
    write_manifest(manifest, path)
    folder = run_classifier_training(path, tmp_path / "toy", replace(TINY, num_steps=0))
    assert set(load_classifier(folder).measured) == {"val"}
