"""What a way costs and gives, measured on a toy pipeline with a stand-in for the encoder."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import fidelity, networks
from benchmarks.stock_sampling import StockPipeline
from benchmarks.ways import ALONE, TOGETHER, Way, measure
from medi_core.data.manifest import read_manifest

NUM_TILES = 4


class MeanColours:
    """Three features of a tile."""

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        return tiles.mean(axis=(1, 2)).astype(np.float32) / 255


@pytest.fixture
def real(toy_manifest) -> fidelity.RealSet:
    rows = read_manifest(toy_manifest)
    rows = rows.assign(hematoxylin=1.2, eosin=0.9)
    return fidelity.RealSet(pd.DataFrame(rows), np.random.default_rng(0).random((len(rows), 3)), ("train",))


@pytest.mark.parametrize("wrap", [lambda pipeline: pipeline, StockPipeline], ids=["ours", "stock"])
def test_evaluations_are_counted_and_cost_follows_from_them(tiny_pipeline, real, wrap):
    peak = 1e9
    way = Way("toy", "float32", lambda: wrap(tiny_pipeline), steps=2, guidance=2.0, is_reference=True)
    sampling = fidelity.Sampling(way.steps, way.guidance, NUM_TILES, NUM_TILES)
    result = measure(way, sampling, NUM_TILES, real, MeanColours(), 0.0, peak)
    flops = networks.forward_flops_of_ours(tiny_pipeline.denoiser)
    assert result.evaluations == 2 * 2
    assert result.gflop * 1e9 == pytest.approx(4 * flops)
    assert result.share_of_peak == pytest.approx(4 * flops / result.seconds[TOGETHER] / peak)
    assert result.seconds[ALONE] > 0
    assert np.isfinite(result.kid.mean)
    assert (result.num_tiles, result.is_reference) == (NUM_TILES, True)


def test_the_same_way_gives_the_same_distance(tiny_pipeline, real):
    way = Way("toy", "float32", lambda: tiny_pipeline, steps=1, guidance=1.0)
    sampling = fidelity.Sampling(way.steps, way.guidance, NUM_TILES, NUM_TILES)
    first, second = (measure(way, sampling, NUM_TILES, real, MeanColours(), 0.0, 1e9) for _ in range(2))
    assert first.evaluations == 1
    assert np.array_equal(first.kid.values, second.kid.values)
