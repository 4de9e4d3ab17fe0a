"""The training loop learns, drops attributes, follows its learning rate and depends on nothing but its seed."""

from dataclasses import replace

import pytest
import torch

from medi_core.data.tile_dataset import SamplingConfig
from medi_core.errors import InvalidRequestError
from medi_core.models.denoiser import NUM_TRAIN_TIMESTEPS
from medi_core.training.flow_matching import NoiseDraw, ObjectiveConfig, add_noise, draw_noise, velocity_loss
from medi_core.training.train_diffusion import DiffusionTraining, DiffusionTrainingConfig


def weights(training: DiffusionTraining) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in training.model.parameters()])


@torch.no_grad()
def loss_at_fixed_noise(training: DiffusionTraining) -> float:
    """The objective on 8 tiles at fixed noise: what is left between two calls is the weights' doing."""
    items = [training.dataset[i] for i in range(8)]
    tiles = torch.stack([tile for tile, _ in items]).float() / 127.5 - 1
    noise = draw_noise(ObjectiveConfig(), tiles.shape, 5, torch.Generator().manual_seed(9))
    sigmas = torch.linspace(0.2, 0.9, 8)
    x_t = add_noise(tiles, NoiseDraw(sigmas, noise.eps, noise.is_dropped))
    predicted = training.model(x_t, sigmas * NUM_TRAIN_TIMESTEPS, torch.stack([ids for _, ids in items]))
    return velocity_loss(predicted, tiles, sigmas, 0.05).mean().item()


def test_the_loss_falls_on_toy_tiles(start):
    training = start(num_steps=60, learning_rate=2e-3)
    before = loss_at_fixed_noise(training)
    losses = [step.loss for step in training.steps()]
    assert loss_at_fixed_noise(training) < 0.6 * before
    assert sum(losses[-15:]) < 0.8 * sum(losses[:15])


def test_each_step_reports_itself(start):
    training = start()
    steps = list(training.steps())
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert training.step == 4
    assert [step.learning_rate for step in steps] == [training.config.learning_rate_at(i) for i in range(4)]
    assert all(step.loss > 0 and step.tiles_per_second > 0 for step in steps)


def test_the_seed_decides_the_training_and_another_gives_another(start):
    losses, ends = {}, {}
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        training = start(num_steps=2, seed=seed)
        losses[name], ends[name] = [step.loss for step in training.steps()], weights(training)
    assert losses["one"] == losses["same"]
    assert torch.equal(ends["one"], ends["same"])
    assert losses["one"] != losses["other"]
    assert (ends["one"] - ends["other"]).abs().max() > 0.01


def test_another_sampling_seed_draws_other_tiles(start, toy_dataset):
    config = replace(toy_dataset.config, seed=5)
    assert config == SamplingConfig(seed=5)
    first = next(iter(start().batches()))
    toy_dataset.config = config
    assert not torch.equal(first[0], next(iter(start().batches()))[0])


def test_the_network_is_shown_the_null_id_exactly_where_an_attribute_is_dropped(start):
    training = start(global_batch=16, objective=ObjectiveConfig(drop_each=0.3, drop_all=0.2))
    tiles, condition_ids = next(training.batches())
    shown = []
    training.forward_model = lambda x_t, timesteps, ids: shown.append(ids) or training.model(x_t, timesteps, ids)
    training._loss(tiles, condition_ids)
    is_dropped = training._local_draw(tiles.shape).is_dropped
    vocabulary = training.dataset.vocabulary
    null_ids = torch.tensor([vocabulary.null_id(name) for name in vocabulary.attributes])
    assert 0.2 < is_dropped.float().mean() < 0.7
    assert torch.equal(shown[0][is_dropped], null_ids.expand(16, -1)[is_dropped])
    assert torch.equal(shown[0][~is_dropped], condition_ids[~is_dropped])


def test_the_average_follows_the_weights_slowly(start):
    training = start(num_steps=3, ema_decay=0.5)
    begun = weights(training)
    list(training.steps())
    average = torch.cat([p.flatten() for p in training.ema.shadow_params])
    assert 0 < (average - begun).norm() < (weights(training) - begun).norm()


def test_the_learning_rate_warms_up_stays_and_falls_to_zero(tiny_config):
    config = replace(tiny_config, learning_rate=1.0, warmup_steps=4, decay_steps=10, num_steps=100)
    rates = [config.learning_rate_at(step) for step in range(101)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert set(rates[4:91]) == {1.0}
    assert rates[90:] == pytest.approx([1 - i / 10 for i in range(11)])
    assert replace(config, decay_steps=0, warmup_steps=0).learning_rate_at(0) == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"global_batch": 0}, "global_batch must be above 0, given 0"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\)"),
        ({"attributes": ("cancer_type", "colour")}, "attributes must be some of cancer_type, .*; given .*colour"),
        ({"attributes": ("center", "center")}, "each once"),
        ({"attributes": ()}, "attributes must be some of"),
        ({"side_px": 48}, "side_px must be a multiple of 32, given 48"),
        ({"norm_num_groups": 7}, r"norm_num_groups = 7 must divide block_out_channels, given \[16, 24\]"),
        ({"attention_head_dim": 10}, r"attention_head_dim = 10 must divide block_out_channels, given \[24\]"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_once(tiny_config, changes, message):
    with pytest.raises(InvalidRequestError, match=message):
        replace(tiny_config, **changes)


def test_the_default_configuration_is_allowed():
    assert DiffusionTrainingConfig().to_dict()["block_out_channels"] == (96, 192, 288)


def test_a_precision_that_would_train_wrongly_is_refused(start, monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.mixed_precision", "fp16")
    with pytest.raises(InvalidRequestError, match="'fp16' is not supported; use one of: no, bf16"):
        start()
