"""A run leaves everything in its folder, stops when it should and goes on where it stopped."""

import csv
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from medi_core.checkpoints import load_checkpoint
from medi_core.data.manifest import read_manifest
from medi_core.errors import CheckpointError, ManifestError, StorageError
from medi_core.metadata.schema import ATTRIBUTES, MetadataRecord
from medi_core.pipelines.guidance import GuidanceTerm
from medi_core.training import run, run_loop
from medi_core.training.run import LOG_COLUMNS, ema_weights, run_training
from medi_core.training.sample_grid import grid_records
from medi_core.training.train_diffusion import TrainStep


def train(manifest, out, config, **arguments) -> int:
    return run_training(manifest, out, config, **({"mixed_precision": "no"} | arguments))


def read_log(out) -> list[dict[str, str]]:
    with open(out / "log.csv") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_state_checkpoint_samples_and_log(toy_manifest, tmp_path, tiny_config):
    steps: list[TrainStep] = []
    assert train(toy_manifest, tmp_path / "run", tiny_config, on_step=steps.append) == 4
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint", "log.csv", "samples", "state"]
    (row,) = read_log(tmp_path / "run")
    assert tuple(row) == LOG_COLUMNS
    assert int(row["step"]) == 4
    assert float(row["loss"]) == pytest.approx(np.mean([step.loss for step in steps]), rel=1e-4)
    assert float(row["validation_loss"]) > 0
    assert float(row["learning_rate"]) == tiny_config.learning_rate
    grid = np.asarray(Image.open(tmp_path / "run" / "samples" / "step-0000004.png"))
    assert grid.shape == (2 * 32, 2 * 32, 3)
    facts = load_checkpoint("checkpoint", tmp_path / "run", torch.device("cpu"), torch.float32).training_config
    assert facts["step"] == 4
    assert facts["block_out_channels"] == [16, 24]


def test_the_checkpoint_says_whom_it_was_not_trained_on(toy_manifest, tmp_path, tiny_config):
    train(toy_manifest, tmp_path / "run", replace(tiny_config, num_steps=1))
    checkpoint = load_checkpoint("checkpoint", tmp_path / "run", torch.device("cpu"), torch.float32)
    table = pd.read_csv(toy_manifest)
    assert checkpoint.held_out_patients == set(table.loc[table["split"] != "train", "patient_id"])
    assert checkpoint.held_out_patients.isdisjoint(table.loc[table["split"] == "train", "patient_id"])


def test_two_runs_that_add_up_equal_one(toy_manifest, tmp_path, tiny_config):
    train(toy_manifest, tmp_path / "one", tiny_config)
    train(toy_manifest, tmp_path / "two", replace(tiny_config, num_steps=2))
    train(toy_manifest, tmp_path / "two", tiny_config)
    one, two = (load_file(tmp_path / name / "state" / "state.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert [int(row["step"]) for row in read_log(tmp_path / "two")] == [2, 4]
    assert read_log(tmp_path / "one")[-1]["validation_loss"] == read_log(tmp_path / "two")[-1]["validation_loss"]


def test_sigterm_finishes_the_step_saves_and_ends(toy_manifest, tmp_path, tiny_config):
    handler = signal.getsignal(signal.SIGTERM)

    def terminate(step: TrainStep) -> None:
        if step.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    assert train(toy_manifest, tmp_path / "run", tiny_config, on_step=terminate) == 2
    assert (tmp_path / "run" / "state" / "state.safetensors").is_file()
    assert [row["step"] for row in read_log(tmp_path / "run")] == ["2"]
    assert signal.getsignal(signal.SIGTERM) == handler


def test_the_minutes_are_kept_and_add_up(toy_manifest, tmp_path, tiny_config, monkeypatch):
    clock = iter(range(0, 100_000, 30))  # each look at the clock is half a minute after the one before
    monkeypatch.setattr(run_loop.time, "monotonic", lambda: float(next(clock)))
    config = replace(tiny_config, num_steps=100)
    assert train(toy_manifest, tmp_path / "run", config, minutes=1.0) == 2
    assert train(toy_manifest, tmp_path / "run", config, minutes=0.5) == 3
    assert [float(row["minutes"]) for row in read_log(tmp_path / "run")] == [1.0, 1.5]


def test_it_saves_in_between(toy_manifest, tmp_path, tiny_config):
    train(toy_manifest, tmp_path / "run", replace(tiny_config, num_steps=2), save_every_minutes=0)
    assert [row["step"] for row in read_log(tmp_path / "run")] == ["1", "2"]


def test_a_finished_run_is_left_as_it_is(toy_manifest, tmp_path, tiny_config):
    config = replace(tiny_config, num_steps=1)
    for _ in range(2):
        assert train(toy_manifest, tmp_path / "run", config) == 1
    assert len(read_log(tmp_path / "run")) == 1


def test_a_run_is_not_resumed_with_other_settings(toy_manifest, tmp_path, tiny_config):
    config = replace(tiny_config, num_steps=1)
    train(toy_manifest, tmp_path / "run", config)
    for changes in ({"attributes": ("center",)}, {"block_out_channels": (24, 32)}):
        with pytest.raises(CheckpointError, match=r"was started with other settings .*another folder"):
            train(toy_manifest, tmp_path / "run", replace(config, **changes))


def test_an_attribute_that_no_row_has_is_refused_before_the_training(toy_manifest, tmp_path, tiny_config):
    toy_manifest.write_text(toy_manifest.read_text().replace(",asian,", ",,").replace(",white,", ",,"))
    with pytest.raises(ManifestError, match="no two training rows differ in race"):
        train(toy_manifest, tmp_path / "run", replace(tiny_config, attributes=("cancer_type", "race")))
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_every_attribute_of_the_schema_trains_and_conditions_a_tile(toy_manifest, tmp_path, tiny_config):
    names = tuple(attribute.name for attribute in ATTRIBUTES)
    assert {"scanner", "gender", "race", "age"} <= set(names)
    config = replace(tiny_config, attributes=names, learning_rate=0.05, num_steps=3, ema_decay=0.0)
    train(toy_manifest, tmp_path / "run", config)
    checkpoint = load_checkpoint("checkpoint", tmp_path / "run", torch.device("cpu"), torch.float32)
    assert checkpoint.vocabulary.attributes == names
    values = {name: checkpoint.vocabulary.values[name][-1] for name in names}
    ids = torch.tensor([checkpoint.vocabulary.encode(MetadataRecord(**values))])
    assert (ids == torch.tensor([len(v) - 1 for v in checkpoint.vocabulary.values.values()])).all()
    terms = [GuidanceTerm((column,), 1.5) for column in range(len(names))]
    tile = checkpoint.pipeline(ids, [0], num_inference_steps=2, guidance=terms, height_px=32, width_px=32)
    assert tile.shape == (1, 32, 32, 3)
    embedder = checkpoint.pipeline.metadata_embedder
    for column, name in enumerate(names):  # each was trained, so each changes the condition
        other = ids.clone()
        other[0, column] = 0
        assert not torch.equal(embedder(ids), embedder(other)), name


def test_a_manifest_without_validation_rows_has_no_validation_loss(toy_manifest, tmp_path, tiny_config):
    table = pd.read_csv(toy_manifest)
    table[table["split"] == "train"].to_csv(toy_manifest, index=False)
    train(toy_manifest, tmp_path / "run", replace(tiny_config, num_steps=1))
    assert read_log(tmp_path / "run")[0]["validation_loss"] == "nan"


def test_a_manifest_without_training_rows_is_refused(toy_manifest, tmp_path, tiny_config):
    table = pd.read_csv(toy_manifest)
    table[table["split"] == "val"].to_csv(toy_manifest, index=False)
    with pytest.raises(ManifestError, match="no row with split 'train'"):
        train(toy_manifest, tmp_path / "run", tiny_config)


def test_a_full_disk_ends_the_run_with_a_message(toy_manifest, tmp_path, tiny_config, monkeypatch):
    (tmp_path / "run" / "log.csv").mkdir(parents=True)  # a folder in the way: the log cannot be written
    with pytest.raises(StorageError, match=r"could not write .*log\.csv: Is a directory"):
        train(toy_manifest, tmp_path / "run", replace(tiny_config, num_steps=1))
    assert (tmp_path / "run" / "state" / "state.safetensors").is_file()


def test_the_model_holds_the_average_inside_the_block_only(start):
    training = start()
    list(training.steps())
    (before,) = [p.detach().clone() for name, p in training.model.named_parameters() if name == "denoiser.head.0.bias"]
    with ema_weights(training):
        assert not training.model.training
        assert not torch.equal(training.model.denoiser.head[0].bias, before)
    assert training.model.training
    assert torch.equal(training.model.denoiser.head[0].bias, before)


def test_the_grid_shows_the_best_supported_pairs(toy_vocabulary):
    records = grid_records(toy_vocabulary, 2)
    assert [(record.cancer_type, record.center) for record in records] == [
        ("Breast_invasive_carcinoma", "Lyon"),
        ("Lung_adenocarcinoma", "Rome"),
    ]


def test_the_grid_does_without_cancer_types_and_centers(toy_vocabulary):
    only_stain = replace(toy_vocabulary, values={"eosin": toy_vocabulary.values["eosin"]})
    assert grid_records(only_stain, 2) == [MetadataRecord(eosin="1"), MetadataRecord(eosin="2")]


def test_a_folder_that_cannot_be_made_is_refused_before_the_training(toy_manifest, tmp_path, tiny_config):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        train(toy_manifest, tmp_path / "file" / "run", tiny_config)


def test_whom_earlier_weights_may_have_seen_is_not_declared_held_out(toy_manifest, tmp_path):
    manifest = read_manifest(toy_manifest)
    now = run._still_held_out(manifest, None)
    some = {split: patients[:1] for split, patients in now.items()}
    (tmp_path / "training_config.json").write_text(json.dumps({"held_out_patients": some}))
    assert run._still_held_out(manifest, tmp_path) == some
    (tmp_path / "training_config.json").write_text("{}")
    assert run._still_held_out(manifest, tmp_path) is None, "it declared nobody, so nobody is known to be held out"
