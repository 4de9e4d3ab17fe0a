"""The pipeline does what its formulas say: each is written out here a second time, by hand."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from medi_core.errors import InvalidRequestError
from medi_core.pipelines.guidance import GuidanceTerm
from medi_core.pipelines.medi_pipeline import MediPipeline, seeded_noise, to_model_range, to_uint8
from medi_core.pipelines.schedulers import SCHEDULERS, build_scheduler

SIDE = 32
STEPS = 4
IDS = torch.tensor([[0, 1, 0, 2, 4], [1, 2, 1, 0, 1]])
NULL_IDS = torch.tensor([2, 3, 2, 5, 5])
SEEDS = (3, 4)
ALL_COLUMNS = (0, 1, 2, 3, 4)


class FakeDenoiser(torch.nn.Module):
    """Any function (x_t, σ) → clean tile in place of the network; hears no condition."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.predict = predict

    def forward(self, x_t: torch.Tensor, timesteps: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        return self.predict(x_t, timesteps[:, None, None, None] / 1000)


def gaussian_posterior(x_t: torch.Tensor, sigma: torch.Tensor, spread: float = 0.4) -> torch.Tensor:
    """The exact denoiser of tiles that are normal noise of this spread."""
    return x_t * (1 - sigma) * spread**2 / ((1 - sigma) ** 2 * spread**2 + sigma**2)


@pytest.fixture
def with_denoiser(tiny_pipeline) -> Callable[..., MediPipeline]:
    """The tiny pipeline around a fake denoiser."""

    def build(predict, scheduler: str = "euler") -> MediPipeline:
        pipeline = MediPipeline(FakeDenoiser(predict), tiny_pipeline.metadata_embedder, build_scheduler(scheduler))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return build


@pytest.fixture
def evaluations(tiny_pipeline) -> list[int]:
    """How many different inputs went through the network, one entry a forward pass."""
    passes: list[int] = []

    def count(module, inputs: tuple[torch.Tensor, ...], output) -> None:
        rows = torch.cat([tensor.flatten(1) if tensor.ndim > 1 else tensor[:, None] for tensor in inputs], dim=1)
        passes.append(len(rows.unique(dim=0)))  # a batch may be filled up with copies

    tiny_pipeline.denoiser.register_forward_hook(count)
    return passes


def sample(pipeline: MediPipeline, ids=IDS, seeds=SEEDS, **arguments) -> torch.Tensor:
    """The clean tiles `(B, 3, H, W)` before rounding: the last estimate, which is where σ reaches 0."""
    estimates = []
    sizes = {"num_inference_steps": STEPS, "height_px": SIDE, "width_px": SIDE}
    images = pipeline(ids, seeds, on_step=lambda _, clean: estimates.append(clean), **(sizes | arguments))
    # the scheduler's last step ends on the estimate but for rounding, which may tip a value between two grey levels
    assert np.abs(images.astype(int) - to_uint8(estimates[-1])).max() <= 1
    return estimates[-1]


@torch.inference_mode()
def predict_clean(pipeline: MediPipeline, x_t: torch.Tensor, sigma: float, ids: torch.Tensor) -> torch.Tensor:
    timesteps = torch.full((len(x_t),), 1000 * sigma)
    return pipeline.denoiser(x_t, timesteps, pipeline.metadata_embedder(ids))


def follow_flow(predict: Callable[[torch.Tensor, float], torch.Tensor], seeds=SEEDS) -> torch.Tensor:
    """Euler's method on dx/dσ = (x − clean) / σ from σ = 1 to 0, written without diffusers."""
    x_t = torch.stack([torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(s)) for s in seeds])
    sigmas = [1 - i / STEPS for i in range(STEPS + 1)]
    for sigma, next_sigma in pairwise(sigmas):
        velocity = (x_t - predict(x_t, sigma)) / sigma
        x_t = x_t + (next_sigma - sigma) * velocity
    return x_t


def dropped(columns: tuple[int, ...]) -> torch.Tensor:
    ids = IDS.clone()
    ids[:, columns] = NULL_IDS[list(columns)]
    return ids


def assert_same_tiles(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal up to float32 rounding over a few steps: a hundredth of a grey level."""
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def test_the_loop_is_eulers_method_on_the_flow(tiny_pipeline):
    expected = follow_flow(lambda x_t, sigma: predict_clean(tiny_pipeline, x_t, sigma, IDS))
    assert_same_tiles(sample(tiny_pipeline), expected)


def test_all_scales_one_is_no_guidance(tiny_pipeline, evaluations):
    neutral = [GuidanceTerm(ALL_COLUMNS, 1.0), *(GuidanceTerm((i,), 1.0) for i in ALL_COLUMNS)]
    assert torch.equal(sample(tiny_pipeline, guidance=neutral), sample(tiny_pipeline))
    assert sum(evaluations) == 2 * STEPS * len(SEEDS)


def test_one_term_over_all_attributes_is_classifier_free_guidance(tiny_pipeline):
    def guided(x_t, sigma):
        conditional = predict_clean(tiny_pipeline, x_t, sigma, IDS)
        unconditional = predict_clean(tiny_pipeline, x_t, sigma, NULL_IDS.expand(2, -1))
        return unconditional + 2.5 * (conditional - unconditional)

    actual = sample(tiny_pipeline, guidance=[GuidanceTerm(ALL_COLUMNS, 2.5)])
    assert_same_tiles(actual, follow_flow(guided))
    assert (actual - sample(tiny_pipeline)).abs().max() > 0.01


def test_several_terms_follow_the_sum_formula(tiny_pipeline, evaluations):
    terms = [GuidanceTerm((0,), 3.0), GuidanceTerm((1, 4), 0.5), GuidanceTerm((3,), 1.0)]

    def guided(x_t, sigma):
        full = predict_clean(tiny_pipeline, x_t, sigma, IDS)
        parts = [(t.scale - 1) * (full - predict_clean(tiny_pipeline, x_t, sigma, dropped(t.columns))) for t in terms]
        return full + sum(parts)

    actual = sample(tiny_pipeline, guidance=terms)
    assert sum(evaluations) == 3 * STEPS * len(SEEDS)  # the term of scale 1 costs nothing
    assert_same_tiles(actual, follow_flow(guided))


def test_guidance_outside_its_interval_costs_nothing_and_does_nothing(tiny_pipeline, evaluations):
    term = [GuidanceTerm(ALL_COLUMNS, 4.0)]
    never = sample(tiny_pipeline, guidance=term, guidance_interval=(0.8, 0.9))  # σ is 1, 3/4, 1/2, 1/4
    assert sum(evaluations) == STEPS * len(SEEDS)
    assert torch.equal(never, sample(tiny_pipeline))
    evaluations.clear()
    twice = sample(tiny_pipeline, guidance=term, guidance_interval=(0.4, 0.8))
    assert sum(evaluations) == (STEPS + 2) * len(SEEDS)
    assert not torch.equal(twice, never)


@pytest.mark.parametrize("num_steps", [1, 5, 20])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_denoiser_that_knows_the_tile_recovers_it(with_denoiser, scheduler, num_steps):
    truth = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    pipeline = with_denoiser(lambda x_t, sigma: to_model_range(truth[: len(x_t)]), scheduler)
    found = pipeline(IDS, SEEDS, num_steps, height_px=SIDE, width_px=SIDE)
    assert np.abs(found.astype(int) - truth).max() <= 1


def in_batches_of(batch_size: int, pipeline: MediPipeline) -> torch.Tensor:
    """Eight guided tiles, a few at a time."""
    ids, seeds = IDS.repeat(4, 1), torch.arange(8)
    guidance = [GuidanceTerm(ALL_COLUMNS, 2.0)]
    parts = zip(ids.split(batch_size), seeds.split(batch_size), strict=True)
    return torch.cat([sample(pipeline, i, s.tolist(), guidance=guidance) for i, s in parts])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_a_tile_is_the_same_in_any_company_to_the_last_bit(tiny_pipeline, batch_size):
    assert torch.equal(in_batches_of(batch_size, tiny_pipeline), in_batches_of(8, tiny_pipeline))


def test_the_seed_and_the_condition_decide_the_tile(tiny_pipeline):
    tiles = sample(tiny_pipeline, IDS[[0, 0, 0, 1]], (7, 7, 8, 7))
    assert torch.equal(tiles[0], tiles[1])
    assert (tiles[0] - tiles[2]).abs().max() > 0.01
    assert (tiles[0] - tiles[3]).abs().max() > 0.01
    assert torch.equal(sample(tiny_pipeline, IDS[[0, 0, 0, 1]], (7, 7, 8, 7)), tiles)


def test_noise_is_standard_normal_and_made_of_the_seed():
    noise = seeded_noise(5, 128, 128)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert torch.equal(noise, seeded_noise(5, 128, 128))
    assert not torch.equal(noise, seeded_noise(6, 128, 128))


def test_a_call_within_a_call_does_not_disturb_it(tiny_pipeline):
    """Schedulers hold state: each call must have its own."""
    tiny_pipeline.scheduler = build_scheduler("unipc")
    arguments = {"num_inference_steps": STEPS, "height_px": SIDE, "width_px": SIDE}
    undisturbed = tiny_pipeline(IDS, SEEDS, **arguments)
    disturbed = tiny_pipeline(IDS, SEEDS, on_step=lambda *_: tiny_pipeline(IDS[:1], [9], 2, height_px=32), **arguments)
    assert np.array_equal(undisturbed, disturbed)


def test_progress_counts_every_step(tiny_pipeline):
    done = []
    tiny_pipeline(IDS, SEEDS, 5, height_px=64, width_px=32, on_step=lambda i, clean: done.append((i, clean.shape)))
    assert done == [(i, (2, 3, 64, 32)) for i in range(1, 6)]


def test_rerendering_at_little_strength_gives_the_base_tile_back(with_denoiser):
    pipeline = with_denoiser(gaussian_posterior)
    base = to_uint8(0.4 * torch.stack([seeded_noise(seed, SIDE, SIDE) for seed in (10, 11)]))
    strengths = (0.01, 0.1, 0.4, 0.8)
    changes = [np.abs(sample_rerendered(pipeline, base, strength).astype(int) - base).mean() for strength in strengths]
    assert changes[0] < 1.5  # grey levels
    assert changes == sorted(changes)
    assert changes[-1] > 20


def sample_rerendered(pipeline: MediPipeline, base: np.ndarray, strength: float) -> np.ndarray:
    return pipeline(IDS, SEEDS, 20, height_px=SIDE, width_px=SIDE, base_tiles=base, strength=strength)


def test_rerendering_starts_from_the_base_tile_under_noise(with_denoiser):
    shown = []
    pipeline = with_denoiser(lambda x_t, sigma: shown.append((x_t, sigma)) or x_t)
    base = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    sample_rerendered(pipeline, base, 0.3)
    x_t, sigma = (rows[: len(SEEDS)] for rows in shown[0])  # the rest fills the micro-batch
    noise = torch.stack([seeded_noise(seed, SIDE, SIDE) for seed in SEEDS])
    torch.testing.assert_close(sigma, torch.full((2, 1, 1, 1), 0.3))
    torch.testing.assert_close(x_t, 0.7 * to_model_range(base) + 0.3 * noise)


def test_rerendering_at_full_strength_is_generation_from_noise(tiny_pipeline):
    base = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    assert torch.equal(sample(tiny_pipeline, base_tiles=base, strength=1.0), sample(tiny_pipeline))


def test_interpolation_ends_at_its_two_conditions(tiny_pipeline):
    other = IDS.flip(0)
    guidance = [GuidanceTerm((0,), 2.0)]
    start, end = sample(tiny_pipeline, guidance=guidance), sample(tiny_pipeline, other, guidance=guidance)
    tiles = {
        weight: sample(tiny_pipeline, other_ids=other, other_weights=[weight] * 2, guidance=guidance)
        for weight in (0.0, 0.5, 1.0)
    }
    assert torch.equal(tiles[0.0], start)
    assert torch.equal(tiles[1.0], end)
    assert (tiles[0.5] - start).abs().max() > 0.01
    assert (tiles[0.5] - end).abs().max() > 0.01


def test_each_tile_has_its_own_share_of_the_second_condition(tiny_pipeline):
    tiles = sample(tiny_pipeline, other_ids=IDS.flip(0), other_weights=[0.0, 1.0])
    assert_same_tiles(tiles[0], sample(tiny_pipeline)[0])
    assert_same_tiles(tiles[1], sample(tiny_pipeline, IDS.flip(0))[1])


def test_windows_equal_one_pass_where_neighbours_do_not_matter(with_denoiser):
    pipeline = with_denoiser(gaussian_posterior)
    size = {"height_px": 64, "width_px": 96}
    assert_same_tiles(sample(pipeline, window_px=32, **size), sample(pipeline, **size))


def test_windows_matter_to_a_network_that_sees_neighbours(tiny_pipeline):
    size = {"height_px": 64, "width_px": 96}
    assert (sample(tiny_pipeline, window_px=32, **size) - sample(tiny_pipeline, **size)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height_px": 100}, "height_px = 100: it must be a multiple of 32 from 32 to 512"),
        ({"width_px": 544}, "width_px = 544: it must be a multiple of 32"),
        ({"width_px": 0}, "width_px = 0"),
        ({"height_px": -32}, "height_px = -32"),
        ({"num_inference_steps": 0}, "num_inference_steps = 0: at least 1 is needed"),
        ({"num_inference_steps": -3}, "num_inference_steps = -3"),
        ({"strength": 0.0}, "strength = 0.0: it must be above 0 and at most 1"),
        ({"strength": 1.5}, "strength = 1.5"),
        ({"strength": -0.1}, "strength = -0.1"),
        ({"strength": float("nan")}, "strength = nan"),
    ],
)
def test_a_number_out_of_range_is_refused_and_named(tiny_pipeline, evaluations, arguments, message):
    with pytest.raises(InvalidRequestError, match=message):
        tiny_pipeline(IDS, SEEDS, **arguments)
    assert evaluations == []


def test_numbers_beyond_the_format_are_an_error_and_no_black_tile(with_denoiser):
    pipeline = with_denoiser(lambda x_t, sigma: x_t / 0)
    with pytest.raises(InvalidRequestError, match="leaves the range of float32 here: start with --dtype float32"):
        pipeline(IDS, SEEDS, 2, height_px=SIDE, width_px=SIDE)


def test_pixels_survive_the_way_to_the_model_and_back():
    every_level = np.arange(256, dtype=np.uint8).repeat(3 * 4).reshape(1, 32, 32, 3)
    assert np.array_equal(to_uint8(to_model_range(every_level)), every_level)
    assert to_uint8(torch.tensor([-9.0, 9.0, 0.0]).reshape(1, 3, 1, 1)).tolist() == [[[[0, 255, 128]]]]
