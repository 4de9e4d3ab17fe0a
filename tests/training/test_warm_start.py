"""A training that starts from a checkpoint goes on from its weights and counts; one that cannot says why."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from medi_core.checkpoints import load_checkpoint
from medi_core.data.manifest import read_manifest
from medi_core.errors import CheckpointError
from medi_core.training.run import load_dataset, run_training
from medi_core.training.warm_start import warm_start


@pytest.fixture
def trained(toy_manifest, tmp_path, tiny_config):
    """A run of four steps."""
    run_training(toy_manifest, tmp_path / "first", tiny_config, mixed_precision="no")
    return tmp_path / "first" / "checkpoint"


def test_weights_average_and_counts_are_taken_over(start, trained):
    training = start(seed=5, num_steps=9)
    minutes = warm_start(training, trained)
    checkpoint = load_checkpoint(str(trained), trained.parent, torch.device("cpu"), torch.float32)
    expected = {f"denoiser.{k}": v for k, v in checkpoint.pipeline.denoiser.state_dict().items()}
    expected |= {f"embedder.{k}": v for k, v in checkpoint.pipeline.metadata_embedder.state_dict().items()}
    actual = training.model.state_dict()
    assert actual.keys() == expected.keys()
    assert [name for name in actual if not torch.equal(actual[name], expected[name])] == []
    parameters = zip(training.model.parameters(), training.ema.shadow_params, strict=True)
    assert all(torch.equal(parameter, shadow) for parameter, shadow in parameters)
    assert (training.step, training.first_step, training.tiles_seen) == (4, 4, 16)
    assert minutes == checkpoint.training_config["minutes"] > 0
    assert training.initial_checkpoint == checkpoint.id


def test_a_warm_start_warms_up_goes_on_and_says_where_it_came_from(toy_manifest, tmp_path, tiny_config, trained):
    config = replace(tiny_config, num_steps=8, warmup_steps=4)
    rates = []
    arguments = {
        "mixed_precision": "no",
        "initial_checkpoint": trained,
        "on_step": lambda step: rates.append(step.learning_rate),
    }
    run_training(toy_manifest, tmp_path / "second", replace(config, num_steps=6), **arguments)
    run_training(toy_manifest, tmp_path / "second", config, **arguments)  # resumes: the state wins
    assert rates == [config.learning_rate * share for share in (0.25, 0.5, 0.75, 1.0)]
    second = tmp_path / "second" / "checkpoint"
    record = json.loads((second / "training_config.json").read_text())
    assert (record["step"], record["tiles_seen"]) == (8, 32)
    first_id = load_checkpoint(str(trained), trained.parent, torch.device("cpu"), torch.float32).id
    assert record["initial_checkpoint"] == first_id
    assert f"Trained on from the weights of {first_id}" in (second / "README.md").read_text()
    shards = "denoiser/diffusion_pytorch_model.safetensors"
    before, after = load_file(trained / shards), load_file(second / shards)
    assert any(not torch.equal(before[name], after[name]) for name in before), "nothing was learned"


def test_another_network_or_vocabulary_is_refused(start, trained, toy_manifest, tiny_config):
    with pytest.raises(CheckpointError, match=r"checkpoint@\w+ is another network: size mismatch.*same attributes"):
        warm_start(start(head_channels=8, num_steps=9), trained)
    manifest = read_manifest(toy_manifest)
    manifest["center"] = manifest["center"].replace("Rome", "Roma")
    with pytest.raises(CheckpointError, match=r"center: 1 values are not in it \(Rome\), 1 are new \(Roma\)"):
        warm_start(start(load_dataset(manifest, "train", tiny_config)), trained)
    attributes = ("cancer_type", "center")
    fewer = replace(tiny_config, attributes=attributes)
    with pytest.raises(CheckpointError, match=r"attributes cancer_type, .*, eosin, here cancer_type, center;"):
        warm_start(start(load_dataset(read_manifest(toy_manifest), "train", fewer), attributes=attributes), trained)
    manifest = read_manifest(toy_manifest)
    manifest["eosin"] = [0.1 * i for i in range(len(manifest))]
    with pytest.raises(CheckpointError, match=r"bin edges of eosin \(.*\), here \("):
        warm_start(start(load_dataset(manifest, "train", tiny_config)), trained)


def test_a_checkpoint_that_is_already_at_the_last_step_is_refused(start, trained):
    with pytest.raises(CheckpointError, match=r"is at step 4 and num_steps, .*, is 4: nothing is left to train"):
        warm_start(start(num_steps=4), trained)


def test_what_is_no_checkpoint_is_refused(start, tmp_path):
    with pytest.raises(CheckpointError, match="was not found"):
        warm_start(start(), tmp_path / "nothing")
