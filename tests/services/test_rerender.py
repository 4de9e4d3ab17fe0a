"""The image to re-render, and what strength does to it. Run: pytest tests/services"""

import numpy as np
import pytest
import torch
from PIL import Image

from medi_core.checkpoints import Checkpoint
from medi_core.errors import InvalidImageError, TooLittleTissueError
from medi_core.metadata.schema import MetadataRecord
from medi_core.models.denoiser import NUM_TRAIN_TIMESTEPS
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest
from medi_core.services.rerender import prepare_base_image, read_base_image
from medi_core.stain.separation import stain_strengths
from tests.toys import synthetic_tissue

BASE = synthetic_tissue(64, 3)


def test_a_base_image_is_cut_to_what_the_model_takes_and_measured_after_that(tmp_path):
    image = np.tile(BASE, (11, 11, 1))[:700, :700]
    Image.fromarray(image).save(tmp_path / "a.png")
    base = read_base_image(tmp_path / "a.png")
    assert np.array_equal(base.image, image[94:606, 94:606])
    assert (base.hematoxylin, base.eosin) == stain_strengths(base.image)


def test_an_image_in_memory_is_treated_as_a_file_is(tmp_path):
    image = synthetic_tissue(75, 1)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert np.array_equal(prepare_base_image(image).image, read_base_image(tmp_path / "a.png").image)


@pytest.mark.parametrize("grey", [255, 240])
def test_an_image_without_tissue_is_refused(tmp_path, grey):
    Image.new("RGB", (64, 64), (grey,) * 3).save(tmp_path / "a.png")
    with pytest.raises(TooLittleTissueError, match=r"tissue covers 0\.0% of the image; at least 5%"):
        read_base_image(tmp_path / "a.png")


def test_tissue_that_lies_outside_the_part_that_is_used_does_not_count():
    image = np.full((600, 600, 3), 255, np.uint8)
    image[:44] = np.tile(BASE, (1, 10, 1))[:44, :600]
    assert (image < 200).any(axis=-1).mean() > 0.05
    with pytest.raises(TooLittleTissueError):
        prepare_base_image(image)


def test_an_image_smaller_than_a_tile_may_be_is_refused():
    with pytest.raises(InvalidImageError, match="10×10 px; at least 32 px"):
        prepare_base_image(synthetic_tissue(64, 1)[:10, :10])


def ideal_denoiser(x_t, timesteps, conditioning):
    """The best guess of the clean tile where tiles are N(0, 1) noise: what a perfect training would give."""
    sigma = (timesteps / NUM_TRAIN_TIMESTEPS)[:, None, None, None]
    return (1 - sigma) / ((1 - sigma) ** 2 + sigma**2) * x_t


@pytest.fixture
def service(tiny_pipeline, tmp_path, monkeypatch) -> GenerationService:
    monkeypatch.setattr(tiny_pipeline.denoiser, "forward", ideal_denoiser)
    return GenerationService(Checkpoint("tiny", "0123456789ab", tmp_path, tiny_pipeline), batch_size=4)


def rerendered(service: GenerationService, strength: float) -> np.ndarray:
    record = MetadataRecord(center="Rome")
    request = GenerationRequest(record, (1, 2), 10, base_image=BASE, strength=strength)
    return np.stack([tile.image for tile in service.generate(request)])


def test_the_weaker_the_closer_to_the_base(service):
    difference = [np.abs(rerendered(service, s).astype(int) - BASE).mean() for s in (0.01, 0.2, 0.4, 0.6, 0.8, 1)]
    assert difference == sorted(difference)
    assert difference[0] < 3
    assert difference[-1] > 10 * difference[0]


def test_a_rerendered_tile_has_the_size_of_its_base_and_a_seed_of_its_own(service):
    first, second = rerendered(service, 0.5)
    assert first.shape == BASE.shape
    assert not np.array_equal(first, second)


def test_at_full_strength_nothing_of_the_base_is_left(service):
    noise = torch.full((1,), float(NUM_TRAIN_TIMESTEPS))
    assert not ideal_denoiser(torch.ones(1, 3, 8, 8), noise, None).any()
    request = GenerationRequest(MetadataRecord(center="Rome"), (1, 2), 10, side_px=BASE.shape[:2])
    plain = np.stack([tile.image for tile in service.generate(request)])
    assert np.array_equal(rerendered(service, 1.0), plain)
