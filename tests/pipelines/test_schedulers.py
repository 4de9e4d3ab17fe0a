"""Each scheduler against a flow whose exact solution is known: tiles that are Gaussian noise of spread s.

The best prediction of the clean tile is then x · (1 − σ) s² / ((1 − σ)² s² + σ²), and the exact flow
only rescales: from x at σ to x · s / spread(σ) at 0.
"""

import pytest
import torch

from medi_core.errors import InvalidRequestError
from medi_core.models.denoiser import NUM_TRAIN_TIMESTEPS
from medi_core.pipelines.schedulers import SCHEDULERS, build_scheduler, set_noise_levels

SPREAD = 0.3
CPU = torch.device("cpu")


def spread_at(sigma: float) -> float:
    return ((1 - sigma) ** 2 * SPREAD**2 + sigma**2) ** 0.5


def follow(name: str, num_steps: int, strength: float = 1.0) -> tuple[float, int]:
    """Relative error of the end point of the flow, and the evaluations spent."""
    scheduler = build_scheduler(name)
    set_noise_levels(scheduler, strength, num_steps, CPU)
    start = torch.linspace(-2, 2, 8).reshape(2, 1, 2, 2)
    x_t = start * spread_at(strength)
    for timestep in scheduler.timesteps:
        sigma = float(timestep) / NUM_TRAIN_TIMESTEPS
        clean = x_t * (1 - sigma) * SPREAD**2 / spread_at(sigma) ** 2
        x_t = scheduler.step((x_t - clean) / sigma, timestep, x_t).prev_sample
    return ((x_t - SPREAD * start).abs().max() / (2 * SPREAD)).item(), len(scheduler.timesteps)


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_it_converges_to_the_exact_flow(name, strength):
    errors = [follow(name, num_steps, strength)[0] for num_steps in (20, 100, 500)]
    assert errors[0] < 0.1
    assert errors[2] < 0.005
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("name", ["heun", "dpmsolver", "unipc"])
def test_a_second_order_solver_beats_euler_at_the_same_number_of_steps(name):
    assert follow(name, 40)[0] < 0.3 * follow("euler", 40)[0]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_noise_levels_are_the_same_for_all(name):
    scheduler = build_scheduler(name)
    set_noise_levels(scheduler, 0.8, 4, CPU)
    visited = torch.unique(scheduler.timesteps / NUM_TRAIN_TIMESTEPS)
    torch.testing.assert_close(visited, torch.tensor([0.2, 0.4, 0.6, 0.8]))
    torch.testing.assert_close(scheduler.sigmas[-1], torch.tensor(0.0))
    torch.testing.assert_close(scheduler.timesteps / NUM_TRAIN_TIMESTEPS, scheduler.sigmas[:-1])


def test_heun_costs_two_evaluations_a_step_but_the_last():
    evaluations = {name: follow(name, 6)[1] for name in SCHEDULERS}
    assert evaluations == {"euler": 6, "heun": 11, "dpmsolver": 6, "unipc": 6}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_one_step_gives_the_prediction_itself(name):
    scheduler = build_scheduler(name)
    set_noise_levels(scheduler, 1.0, 1, CPU)
    (timestep,) = scheduler.timesteps
    x_t, clean = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.25, 0.5]])
    velocity = (x_t - clean) / (float(timestep) / NUM_TRAIN_TIMESTEPS)
    torch.testing.assert_close(scheduler.step(velocity, timestep, x_t).prev_sample, clean, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_it_samples_in_the_pipeline_and_batch_size_does_not_matter(name, tiny_pipeline, toy_vocabulary):
    tiny_pipeline.scheduler = build_scheduler(name)
    ids = torch.tensor([[0, 1, 0, 2, 2], [1, 2, 0, 2, 2]])
    both = tiny_pipeline(ids, [3, 4], num_inference_steps=4, height_px=32, width_px=32)
    alone = tiny_pipeline(ids[1:], [4], num_inference_steps=4, height_px=32, width_px=32)
    assert abs(both[1].astype(int) - alone[0]).max() <= 1


def test_an_unknown_scheduler_is_named_with_the_known_ones():
    with pytest.raises(InvalidRequestError, match="'ddim' is unknown; known: euler, heun, dpmsolver, unipc"):
        build_scheduler("ddim")
