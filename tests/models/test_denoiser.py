"""The denoiser takes any size it says it takes, hears its condition and is rebuilt from its config."""

import pytest
import torch

from medi_core.models.denoiser import Denoiser

TINY = {"layers_per_block": 1, "head_channels": 4, "norm_num_groups": 8, "attention_head_dim": 8}


def build(**config) -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(**({"block_out_channels": (16, 24)} | TINY | config)).eval()


@torch.inference_mode()
def predict(denoiser: Denoiser, height: int, width: int, conditioning: torch.Tensor | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn(2, 3, height, width, generator=generator)
    if conditioning is None:
        conditioning = torch.randn(2, denoiser.embedding_dim, generator=generator)
    return denoiser(x_t, torch.tensor([900.0, 100.0]), conditioning)


@pytest.mark.parametrize(
    ("config", "multiple"),
    [({}, 8), ({"patch_px": 2}, 4), ({"block_out_channels": (16, 24, 32)}, 16)],
)
def test_any_multiple_of_its_side_multiple_goes_in_and_comes_out(config, multiple):
    denoiser = build(**config)
    assert denoiser.side_multiple_px == multiple
    for height, width in ((2 * multiple, 2 * multiple), (3 * multiple, 5 * multiple), (8 * multiple, 2 * multiple)):
        predicted = predict(denoiser, height, width)
        assert predicted.shape == (2, 3, height, width)
        assert predicted.isfinite().all()


def test_a_side_between_two_multiples_is_refused_not_cut():
    denoiser = build()
    with pytest.raises(RuntimeError):
        predict(denoiser, denoiser.side_multiple_px + 4, denoiser.side_multiple_px)


def test_the_condition_changes_the_prediction():
    denoiser = build()
    zeros = torch.zeros(2, denoiser.embedding_dim)
    plain, conditioned = predict(denoiser, 32, 32, zeros), predict(denoiser, 32, 32, zeros + 1)
    assert (plain - conditioned).abs().max() > 1e-3


def test_each_tile_hears_its_own_condition_and_noise_level_only():
    denoiser = build()
    conditioning = torch.zeros(2, denoiser.embedding_dim)
    before = predict(denoiser, 32, 32, conditioning)
    conditioning[1] = 1.0
    after = predict(denoiser, 32, 32, conditioning)
    torch.testing.assert_close(after[0], before[0])
    assert (after[1] - before[1]).abs().max() > 1e-3


def test_neighbouring_blocks_overlap_in_the_output():
    """The head sees across the 4 × 4 blocks of the pixel-unshuffle: no block is drawn on its own."""
    denoiser = build()
    features = torch.zeros(1, 4 + 3, 16, 16)
    plain = denoiser.head(features)
    features[..., 8, 8] = 1.0  # the upper left pixel of a block
    reached = (denoiser.head(features) - plain).abs().amax(dim=(0, 1)) > 0
    assert reached[6:11, 6:11].all()
    assert reached.sum() == 25


def test_it_is_rebuilt_from_its_config_and_weights(tmp_path):
    denoiser = build(block_out_channels=(16, 32))
    denoiser.save_pretrained(tmp_path)
    again = Denoiser.from_pretrained(tmp_path).eval()
    assert again.embedding_dim == denoiser.embedding_dim == 64
    assert again.side_multiple_px == denoiser.side_multiple_px
    assert torch.equal(predict(again, 32, 32), predict(denoiser, 32, 32))
