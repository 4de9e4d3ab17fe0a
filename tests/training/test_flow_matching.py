"""The objective is flow matching as defined, and attributes are dropped as often as configured."""

from dataclasses import replace

import pytest
import torch

from medi_core.training.flow_matching import NoiseDraw, ObjectiveConfig, add_noise, draw_noise, velocity_loss

SHAPE = (6, 3, 8, 8)
DEFAULT = ObjectiveConfig()
FLOOR = DEFAULT.sigma_floor


def draw(config: ObjectiveConfig = DEFAULT, shape=SHAPE, num_attributes: int = 5, seed: int = 0) -> NoiseDraw:
    return draw_noise(config, shape, num_attributes, torch.Generator().manual_seed(seed))


def test_the_loss_is_the_squared_error_of_the_velocity():
    tiles, predicted = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    noise = draw()
    noise = NoiseDraw(noise.sigmas.clamp(min=FLOOR), noise.eps, noise.is_dropped)
    sigmas = noise.sigmas[:, None, None, None]
    true_velocity = noise.eps - tiles  # dx_σ/dσ of x_σ = (1 − σ) x + σ ε
    velocity = (add_noise(tiles, noise) - predicted) / sigmas
    expected = (velocity - true_velocity).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(velocity_loss(predicted, tiles, noise.sigmas, FLOOR), expected)


def test_little_noise_weighs_no_more_than_the_floor():
    tiles = torch.zeros(SHAPE)
    sigmas = torch.tensor([1e-6, FLOOR / 2, FLOOR, 2 * FLOOR, 0.5, 1.0])
    loss = velocity_loss(tiles + 0.1, tiles, sigmas, FLOOR)
    torch.testing.assert_close(loss[:3], torch.full((3,), 0.01 / FLOOR**2))
    torch.testing.assert_close(loss[3:], 0.01 / sigmas[3:] ** 2)


def test_a_perfect_prediction_costs_nothing():
    tiles = torch.randn(SHAPE)
    assert velocity_loss(tiles, tiles, draw().sigmas, FLOOR).abs().max() == 0


def test_noise_goes_from_the_tile_to_pure_noise():
    tiles, noise = torch.randn(SHAPE), draw()
    ends = NoiseDraw(torch.tensor([0.0, 1.0, 0.25, 0.0, 1.0, 0.25]), noise.eps, noise.is_dropped)
    x_t = add_noise(tiles, ends)
    assert torch.equal(x_t[0], tiles[0])
    assert torch.equal(x_t[1], noise.eps[1])
    torch.testing.assert_close(x_t[2], 0.75 * tiles[2] + 0.25 * noise.eps[2])


def test_attributes_are_dropped_at_the_configured_rates_each_and_together():
    config = ObjectiveConfig(drop_each=0.07, drop_all=0.1)
    is_dropped = draw(config, (100_000, 3, 1, 1)).is_dropped.double()
    each, pairs = is_dropped.mean(0), (is_dropped.T @ is_dropped) / len(is_dropped)
    off_diagonal = pairs[~torch.eye(5, dtype=torch.bool)]
    tolerance = {"atol": 0.005, "rtol": 0}  # 4 standard errors
    torch.testing.assert_close(each, torch.full((5,), 0.1 + 0.9 * 0.07).double(), **tolerance)
    torch.testing.assert_close(off_diagonal, torch.full((20,), 0.1 + 0.9 * 0.07**2).double(), **tolerance)
    torch.testing.assert_close(is_dropped.prod(1).mean().item(), 0.1 + 0.9 * 0.07**5, **tolerance)
    alone = ((is_dropped.sum(1) == 1).double().mean() / 5).item()
    torch.testing.assert_close(alone, 0.9 * 0.07 * 0.93**4, **tolerance)


def test_rates_of_zero_and_one_are_never_and_always():
    assert not draw(ObjectiveConfig(drop_each=0, drop_all=0)).is_dropped.any()
    assert draw(ObjectiveConfig(drop_each=0, drop_all=1)).is_dropped.all()
    assert draw(ObjectiveConfig(drop_each=1, drop_all=0)).is_dropped.all()


def test_the_tail_is_dropped_at_every_length_alike_and_nothing_else_changes():
    shape = (100_000, 3, 1, 1)
    config = ObjectiveConfig(drop_each=0, drop_all=0, drop_tail=0.4)
    plain, cut = draw(replace(config, drop_tail=0), shape), draw(config, shape)
    assert torch.equal(plain.sigmas, cut.sigmas)
    assert torch.equal(plain.eps, cut.eps)
    kept = (~cut.is_dropped).long()
    assert torch.equal(kept, kept.cummin(dim=1).values), "what is kept comes first"
    rates = [(kept.sum(1) == num).double().mean().item() for num in range(6)]
    assert rates == pytest.approx([0, 0.1, 0.1, 0.1, 0.1, 0.6], abs=0.005)
    assert not draw(config, shape, num_attributes=1).is_dropped.any(), "one attribute has no tail"
    both = draw(ObjectiveConfig(drop_tail=0.4), shape).is_dropped
    assert torch.equal(both & draw(DEFAULT, shape).is_dropped, draw(DEFAULT, shape).is_dropped), "it only adds"


def test_noise_levels_are_logit_normal():
    config = ObjectiveConfig(sigma_logit_mean=0.4, sigma_logit_std=1.5)
    logits = torch.logit(draw(config, (50_000, 3, 1, 1)).sigmas)
    assert abs(logits.mean() - 0.4) < 0.03
    assert abs(logits.std() - 1.5) < 0.03


def test_a_draw_is_a_function_of_its_seed():
    one, same, other = draw(seed=1), draw(seed=1), draw(seed=2)
    assert torch.equal(one.eps, same.eps)
    assert torch.equal(one.sigmas, same.sigmas)
    assert torch.equal(one.is_dropped, same.is_dropped)
    assert not torch.equal(one.eps, other.eps)
