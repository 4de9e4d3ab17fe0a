"""Tiles → features: what similarity of two tiles means everywhere in the app. Knows no metadata.

Features of one encoder are never comparable with those of another: the name of the encoder belongs
beside every number made from them. Real and synthetic tiles come here as the same uint8 pixels and go one way.
"""

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional as F

from medi_core.errors import InvalidRequestError
from medi_core.models.encoder_catalogue import (
    DEFAULT_ENCODER,
    ENCODERS,
    STAGE_NETWORKS,
    build_network,
    build_stages,
)

ENCODE_BATCH = 64


class TileEncoder:
    """A frozen network and its own preprocessing.

    Of the default network the features are the outputs of its five stages, each averaged over the tile: early
    stages see colour and texture, late ones shapes. A histology tile differs from another in all of these, and an
    ImageNet network's last layer alone would mostly see what kind of photo it is. It takes tiles at their own
    size. A vision transformer gives its class token, at the size it was trained on.

    Args:
        name: a key of `ENCODERS`.
        device: where the network runs.

    Raises:
        InvalidRequestError: no such encoder.
        CheckpointError: its weights are not installed, or not to be had.
    """

    def __init__(self, name: str = DEFAULT_ENCODER, device: torch.device | str = "cpu") -> None:
        if name not in ENCODERS:
            raise InvalidRequestError(f"encoder {name!r} is unknown; known: {', '.join(ENCODERS)}")
        network = build_network(name)
        self.name, self.device, self._kind = name, torch.device(device), ENCODERS[name].features
        preprocessing = (
            vars(timm.get_pretrained_cfg(ENCODERS[name].architecture))
            if self._kind == "stages"
            else timm.data.resolve_model_data_config(network)
        )
        self._network = network.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        self._mean = 255 * torch.tensor(preprocessing["mean"], device=self.device)[:, None, None]
        self._std = 255 * torch.tensor(preprocessing["std"], device=self.device)[:, None, None]
        self._side_px = None if self._kind == "stages" else preprocessing["input_size"][-1]
        self.dim: int = self._dim()
        """D: channels of all stages together, or of the token."""

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
            features[chosen] = self._features(self._preprocess(tiles[chosen])).float().cpu().numpy()
        return features

    def _preprocess(self, tiles: np.ndarray) -> torch.Tensor:
        """uint8 `(B, H, W, 3)` → float32 `(B, 3, h, w)`, normalised as the network was trained."""
        pixels = torch.from_numpy(np.ascontiguousarray(tiles)).to(self.device).permute(0, 3, 1, 2).float()
        if self._side_px is not None and pixels.shape[-2:] != (self._side_px, self._side_px):
            size = (self._side_px, self._side_px)
            pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 255)
        return (pixels - self._mean) / self._std

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        """`(B, 3, h, w)` → `(B, D)`."""
        if self._kind == "stages":
            return torch.cat([stage.mean(dim=(2, 3)) for stage in self._network(pixels)], dim=1)
        tokens = self._network.forward_features(pixels)  # (B, prefix + patches, C); the class token comes first
        if self._kind == "class token":
            return tokens[:, 0]
        patches = tokens[:, self._network.num_prefix_tokens :]
        return torch.cat([tokens[:, 0], patches.mean(dim=1)], dim=1)

    def _dim(self) -> int:
        if self._kind == "stages":
            return sum(self._network.feature_info.channels())
        return self._network.num_features * (1 if self._kind == "class token" else 2)


class StageFeatures(nn.Module):
    """The stages of a frozen network as maps, with gradients to the tiles: for losses, not for measuring.

    Args:
        name: a key of `STAGE_NETWORKS`.

    Raises:
        CheckpointError: its weights are not installed.
    """

    def __init__(self, name: str = "efficientnet-lite2") -> None:
        super().__init__()
        network = build_stages(name)
        preprocessing = vars(timm.get_pretrained_cfg(STAGE_NETWORKS[name].architecture))
        self.channels: list[int] = network.feature_info.channels()
        self._network = network.eval().requires_grad_(False)
        for key in ("mean", "std"):  # of tiles in [0, 1]
            self.register_buffer(f"_{key}", torch.tensor(preprocessing[key])[:, None, None], persistent=False)

    def forward(self, tiles: torch.Tensor) -> list[torch.Tensor]:
        """`(B, 3, H, W)` in [−1, 1] → one `(B, C, H/2ⁱ, W/2ⁱ)` a stage, i from 1."""
        return self._network(((tiles + 1) / 2 - self._mean) / self._std)

    def train(self, _mode: bool = True) -> "StageFeatures":
        """Frozen: its batch statistics stay those it was trained with."""
        return super().train(False)
