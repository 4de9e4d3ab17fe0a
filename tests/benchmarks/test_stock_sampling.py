"""Stock loops: the right answer where it is known, and the same conditions and noise as our pipeline."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from benchmarks.paper_training import NOISE, build_paper_model
from benchmarks.stock_sampling import PAPER_SAMPLERS, PaperPipeline, StockPipeline
from medi_core.pipelines.guidance import GuidanceTerm
from medi_core.pipelines.medi_pipeline import to_uint8
from tests.toys import build_tiny_pipeline

SIDE = 32
IDS = torch.tensor([[0, 0, 0, 1, 2], [1, 2, 0, 3, 3]])
ALL = tuple(range(5))


@pytest.fixture
def pipeline(toy_vocabulary):
    return build_tiny_pipeline(toy_vocabulary)


@pytest.mark.parametrize("sampler", PAPER_SAMPLERS)
def test_a_network_that_knows_the_noise_gives_the_tile(toy_vocabulary, sampler):
    """Grey 0.5 everywhere: ε = (x_t − √ᾱ · 0.5) / √(1 − ᾱ)."""
    model = build_paper_model((32, 32), toy_vocabulary).eval()
    alphas = DDPMScheduler(**NOISE).alphas_cumprod

    def knows(x_t, timestep, conditioning):
        alpha = alphas[timestep.long()]
        return (x_t - alpha.sqrt() * 0.5) / (1 - alpha).sqrt()

    model.denoiser.forward = knows
    tiles = PaperPipeline(model, sampler, SIDE)(IDS, [3, 4], 20)
    assert tiles.shape == (2, SIDE, SIDE, 3)
    assert abs(tiles.astype(int) - round(1.5 * 127.5)).max() <= 2


def test_the_papers_training_knows_no_guidance(toy_vocabulary):
    with pytest.raises(AssertionError, match="null condition"):
        PaperPipeline(build_paper_model((32, 32), toy_vocabulary), side_px=SIDE)(IDS, [0, 1], 1, [GuidanceTerm(ALL, 2)])


def test_the_stock_loop_counts_every_condition_of_every_tile(pipeline):
    rows = []
    pipeline.denoiser.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    StockPipeline(pipeline, SIDE)(IDS, [0, 1], 3, [GuidanceTerm(ALL, 2.0)])
    assert rows == [1] * (2 * 3 * 2)


def test_in_one_step_the_stock_loop_and_ours_are_the_same(pipeline):
    """With more, their noise levels differ slightly; one step shows noise, metadata and guidance to be alike."""
    guidance = [GuidanceTerm(ALL, 1.5)]
    ours = pipeline(IDS, [5, 6], 1, guidance, height_px=SIDE, width_px=SIDE).astype(int)
    stock = StockPipeline(pipeline, SIDE)(IDS, [5, 6], 1, guidance).astype(int)
    assert np.abs(ours - stock).max() <= 1
    assert ours.std() > 5, "a flat tile would prove nothing"


def test_a_stock_loop_around_a_network_that_knows_the_tile_ends_at_it(pipeline):
    tile = torch.linspace(-0.9, 0.9, 3 * SIDE * SIDE).reshape(1, 3, SIDE, SIDE)
    pipeline.denoiser.forward = lambda x_t, timesteps, conditioning: tile
    (made,) = StockPipeline(pipeline, SIDE)(IDS[:1], [0], 7, [GuidanceTerm(ALL, 2.0)])
    assert np.abs(made - to_uint8(tile)[0].astype(int)).max() <= 1


def test_tiles_are_a_function_of_seed_and_condition(pipeline):
    sample = StockPipeline(pipeline, SIDE)
    both = sample(IDS, [5, 6], 2)
    assert np.array_equal(sample(IDS[1:], [6], 2)[0], both[1])
    assert not np.array_equal(sample(IDS[1:], [7], 2)[0], both[1])
    assert not np.array_equal(sample(IDS[:1], [6], 2)[0], both[1])
