"""The paper's recipe in our loop: widths, loss, optimiser, resuming, and weights that come back."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from accelerate import Accelerator

from benchmarks.networks import PAPER_WIDTHS
from benchmarks.paper_training import (
    PaperTraining,
    build_paper_model,
    load_paper_model,
    paper_config,
    save_paper_model,
    scaled_widths,
)
from medi_core.data.manifest import read_manifest
from medi_core.errors import InvalidRequestError
from medi_core.training.run import load_dataset
from medi_core.training.training_state import load_state, save_state

CPU = torch.device("cpu")
TINY = replace(
    paper_config(Fraction(1, 4)), block_out_channels=(32, 32), side_px=32, global_batch=4, num_steps=4, warmup_steps=2
)
pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture
def start(toy_manifest):
    """Fresh trainings on the toy tiles."""
    dataset = load_dataset(read_manifest(toy_manifest), "train", TINY)
    return lambda: PaperTraining(TINY, dataset, Accelerator(cpu=True, mixed_precision="no"))


def test_the_whole_scale_is_the_paper_and_a_quarter_fits_the_norm():
    assert scaled_widths(Fraction(1)) == PAPER_WIDTHS
    assert scaled_widths(Fraction(1, 4)) == (32, 64, 128, 128, 256, 256)


@pytest.mark.parametrize("scale", ["1/8", "1/3", "0", "-1"])
def test_a_scale_that_does_not_fit_is_refused_with_what_would(scale):
    with pytest.raises(InvalidRequestError, match=r"multiples of 32.*use 1/4"):
        scaled_widths(Fraction(scale))


def test_what_both_share_is_shared_and_the_rest_is_the_papers():
    config = paper_config(Fraction(1, 4), global_batch=8)
    assert (config.global_batch, config.learning_rate, config.betas) == (8, 1e-4, (0.95, 0.999))
    assert config.objective.drop_each == config.objective.drop_all == 0


def test_an_untrained_network_that_says_nothing_has_the_loss_of_the_noise(start):
    training = start()
    last = training.model.denoiser.unet.conv_out
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    tiles = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    ids = torch.zeros(4, len(training.dataset.vocabulary.attributes), dtype=torch.int64)
    assert training._loss(tiles, ids).item() == pytest.approx(1.0, abs=0.05)


def test_steps_move_the_network_that_is_saved_and_not_another(start):
    training = start()
    before = training.model.denoiser.unet.conv_in.weight.detach().clone()
    steps = list(training.steps())
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert not torch.equal(training.model.denoiser.unet.conv_in.weight, before)
    assert not torch.equal(training.model.embedder.tables[0].weight[0], torch.zeros(128))
    assert {type(group["lr"]) for group in training.optimizer.param_groups} == {float}
    assert training.optimizer.param_groups[0]["lr"] == TINY.learning_rate


def test_a_training_resumes_exactly(start, tmp_path):
    whole = start()
    losses = [step.loss for step in whole.steps()]
    first, second = start(), start()
    for step in first.steps():
        if step.step == 2:
            break
    save_state(first, tmp_path / "state", 1.5)
    assert load_state(second, tmp_path / "state") == 1.5
    assert [step.loss for step in second.steps()] == pytest.approx(losses[2:], rel=1e-5)
    for mine, other in zip(whole.ema.shadow_params, second.ema.shadow_params, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_written_weights_come_back_with_their_vocabulary(start, tmp_path):
    training = start()
    save_paper_model(training, tmp_path / "snapshot", TINY.to_dict())
    model = load_paper_model(tmp_path / "snapshot", CPU, torch.float32)
    assert model.embedder.vocabulary == training.dataset.vocabulary
    for name, tensor in training.model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor.bfloat16().float(), rtol=0, atol=0)


def test_metadata_reaches_the_prediction(toy_vocabulary):
    torch.manual_seed(0)
    model = build_paper_model((32, 32), toy_vocabulary).eval()
    torch.nn.init.normal_(model.embedder.tables[0].weight)
    x_t, ids = torch.randn(1, 3, 32, 32), torch.zeros(1, 5, dtype=torch.int64)
    other = ids.clone()
    other[0, 0] = 1
    with torch.no_grad():
        assert not torch.allclose(model(x_t, torch.tensor([500]), ids), model(x_t, torch.tensor([500]), other))
