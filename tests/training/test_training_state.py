"""A training that was interrupted goes on as if it had not been; one that cannot says why."""

import resource

import pytest
import torch
from safetensors.torch import load_file, save_file

from medi_core.data.manifest import read_manifest
from medi_core.errors import CheckpointError, StorageError
from medi_core.training.run import load_dataset
from medi_core.training.train_diffusion import DiffusionTraining
from medi_core.training.training_state import has_state, load_state, save_state


def everything(training: DiffusionTraining) -> dict[str, torch.Tensor]:
    """Weights, average and both moments of the optimiser."""
    named = list(training.model.named_parameters())
    state = {f"model.{name}": p.detach() for name, p in named}
    state |= {f"ema.{name}": s for (name, _), s in zip(named, training.ema.shadow_params, strict=True)}
    for name, parameter in named:
        state |= {f"{key}.{name}": value for key, value in training.optimizer.state[parameter].items()}
    return state


def advance(training: DiffusionTraining, num: int) -> list[float]:
    """Losses of the next steps, and no step more."""
    return [step.loss for _, step in zip(range(num), training.steps(), strict=False)]


@pytest.fixture
def saved(start, tmp_path):
    """A state after two of four steps."""
    training = start()
    training_losses = advance(training, 2)
    save_state(training, tmp_path / "state", minutes=1.5)
    return tmp_path / "state", training_losses


def test_resuming_is_exact(start, saved):
    folder, first_losses = saved
    whole = start()
    whole_losses = advance(whole, 4)
    resumed = start()
    assert load_state(resumed, folder) == 1.5
    assert (resumed.step, resumed.tiles_seen) == (2, 8)
    assert first_losses + advance(resumed, 2) == whole_losses
    expected, actual = everything(whole), everything(resumed)
    assert expected.keys() == actual.keys()
    assert any(name.startswith("exp_avg_sq.denoiser.unet") for name in expected)
    assert [name for name in expected if not torch.equal(expected[name], actual[name])] == []
    assert resumed.ema.optimization_step == whole.ema.optimization_step == 4


def test_saving_does_not_disturb_the_training(start, tmp_path):
    plain, saving = start(), start()
    losses = []
    for _ in range(3):
        losses += advance(saving, 1)
        save_state(saving, tmp_path / "state", 0.0)
    assert losses == advance(plain, 3)


def test_learning_rate_and_length_may_change_on_resuming(start, saved):
    resumed = start(num_steps=3, learning_rate=1e-5, decay_steps=1)
    load_state(resumed, saved[0])
    assert len(advance(resumed, 9)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_out_channels": (24, 32)}, r"block_out_channels: 16, 24, now 24, 32"),
        ({"layers_per_block": 2}, r"layers_per_block: 1, now 2"),
        ({"norm_num_groups": 4}, r"norm_num_groups: 8, now 4"),  # same shapes, other meaning
    ],
)
def test_other_widths_are_refused_in_one_clear_message(start, saved, changes, message):
    with pytest.raises(CheckpointError, match=f"was started with other settings .*{message}.*use the configuration"):
        load_state(start(**changes), saved[0])


def test_weights_that_are_missing_or_of_another_shape_are_refused(start, saved):
    file = saved[0] / "state.safetensors"
    tensors = load_file(file)
    for wrong in ({}, {"ema.denoiser.head.0.bias": torch.zeros(1)}):  # a shape that would broadcast
        save_file({k: v for k, v in tensors.items() if k != "ema.denoiser.head.0.bias"} | wrong, file)
        with pytest.raises(CheckpointError, match=r"ema\.denoiser\.head\.0\.bias: (nothing|\[1\]), now \[8\]"):
            load_state(start(), saved[0])


def test_other_attributes_and_values_are_refused(start, saved, toy_manifest, tiny_config):
    attributes = ("center", "cancer_type", "preparation", "hematoxylin", "eosin")
    manifest = read_manifest(toy_manifest)
    swapped = load_dataset(manifest, "train", type(tiny_config)(**vars(tiny_config) | {"attributes": attributes}))
    with pytest.raises(CheckpointError, match=r"attributes: cancer_type, center, .*, now center, cancer_type, "):
        load_state(start(swapped, attributes=attributes), saved[0])
    manifest["center"] = manifest["center"].replace("Rome", "Roma")
    with pytest.raises(CheckpointError, match=r"values of center: Lyon, Paris, Rome, now Lyon, Paris, Roma\)"):
        load_state(start(load_dataset(manifest, "train", tiny_config)), saved[0])


@pytest.mark.parametrize("name", ["state.safetensors", "progress.json"])
@pytest.mark.parametrize("content", [b"", b"[1, 2]", b'{"step": 3}', None])
def test_a_damaged_state_is_refused(start, saved, name, content):
    folder, _ = saved
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"training state in {folder} is damaged .* start again from step 0"):
        load_state(start(), folder)


def test_a_disk_that_refuses_keeps_the_old_state(start, saved):
    folder, _ = saved
    before = load_file(folder / "state.safetensors")
    training = start()
    advance(training, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=f"could not write {folder}: .*File too large"):
            save_state(training, folder, 2.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    after = load_file(folder / "state.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not folder.with_name("state.tmp").exists()


def test_a_process_that_dies_between_the_renames_loses_nothing(start, saved):
    folder, _ = saved
    folder.rename(folder.with_name("state.old"))
    assert has_state(folder)
    resumed = start()
    load_state(resumed, folder)
    assert resumed.step == 2
    save_state(resumed, folder, 0.0)
    assert not folder.with_name("state.old").exists()


def test_a_new_folder_has_nothing_to_resume(tmp_path):
    assert not has_state(tmp_path / "state")
