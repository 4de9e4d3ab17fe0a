"""Tile → calibrated probability of each class, and where in the tile the evidence lies. Knows no files or metadata.

Real, synthetic and uploaded tiles come here as the same uint8 pixels and go one way, that of the tile encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional as F

from medi_core.errors import CheckpointError, InvalidRequestError
from medi_core.models.encoder_catalogue import DEFAULT_ENCODER, ENCODERS, build_network

DEFAULT_BACKBONE = ENCODERS[DEFAULT_ENCODER].architecture
BATCH = 64
BENIGN_SUFFIX = "_benign"


@dataclass(frozen=True)
class ClassifierConfig:
    """What a classifier is made of, besides its weights; saved beside them."""

    classes: tuple[str, ...]
    """In the order of the logits; at least 2, each once."""
    mean: tuple[float, float, float]
    """Of each colour, 0 to 1, as the backbone was trained."""
    std: tuple[float, float, float]
    backbone: str = DEFAULT_BACKBONE
    """timm's name of a network with stages of features."""
    side_px: int = 128
    """Of the tiles it was trained on."""
    mpp: float = 0.5
    """µm per px of the tiles it was trained on."""
    is_backbone_trained: bool = True
    """False: the backbone has its ImageNet weights, and they are not saved again."""
    temperature: float = 1.0
    """Logits are divided by it before the softmax (Guo et al. 2017, "On calibration of modern neural networks")."""

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise InvalidRequestError(f"a classifier needs at least 2 classes, each once; given {list(self.classes)}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise InvalidRequestError(f"mean and std need 3 numbers, std above 0; given {self.mean}, {self.std}")
        if not 0 < self.temperature < float("inf"):
            raise InvalidRequestError(f"temperature must be above 0, given {self.temperature}")


class TileClassifier(nn.Module):
    """A timm backbone; its stages, each averaged over the tile; one linear layer.

    The logits are linear in the averages of all stages, early ones (colour, texture) and late ones (shapes). So the
    share of each place in a logit is known exactly, at the resolution of each stage (`evidence`).

    Args:
        config: classes, backbone and preprocessing. The weights are random.

    Raises:
        CheckpointError: timm has no such backbone, or it has no stages.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = _build_backbone(config.backbone)
        dim = sum(self.backbone.feature_info.channels())
        self.head = nn.Linear(dim, len(config.classes))
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def preprocess(self, tiles: np.ndarray | torch.Tensor) -> torch.Tensor:
        """uint8 `(B, H, W, 3)` → float32 `(B, 3, H, W)` on the model's device, normalised as the backbone was trained.

        Tiles keep their own size.
        """
        tiles = torch.as_tensor(np.array(tiles, order="C") if isinstance(tiles, np.ndarray) else tiles)
        assert tiles.dtype == torch.uint8, tiles.dtype
        assert tiles.ndim == 4, tiles.shape
        assert tiles.shape[3] == 3, tiles.shape
        pixels = tiles.to(self.centre.device).permute(0, 3, 1, 2).float()
        mean, std = (255 * pixels.new_tensor(v)[:, None, None] for v in (self.config.mean, self.config.std))
        return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 `(B, 3, H, W)` of `preprocess` → logits `(B, K)`, before the temperature."""
        return self.head((self._pooled(pixels) - self.centre) / self.scale)

    @torch.inference_mode()
    def features(self, tiles: np.ndarray) -> np.ndarray:
        """uint8 `(B, H, W, 3)` → float32 `(B, D)`: the averages of all stages.

        With the default backbone and its ImageNet weights they are the features of the default encoder.
        """
        return self._pooled(self.preprocess(tiles)).float().cpu().numpy()

    @torch.inference_mode()
    def logits(self, tiles: np.ndarray, batch_size: int = BATCH) -> np.ndarray:
        """uint8 `(N, H, W, 3)` → float32 `(N, K)`, before the temperature; N may be 0."""
        out = np.empty((len(tiles), len(self.config.classes)), dtype=np.float32)
        for start in range(0, len(tiles), batch_size):
            chosen = slice(start, start + batch_size)
            out[chosen] = self(self.preprocess(tiles[chosen])).float().cpu().numpy()
        return out

    def probabilities(self, tiles: np.ndarray) -> np.ndarray:
        """uint8 `(N, H, W, 3)` → float64 `(N, K)`, calibrated; rows sum to 1."""
        return softmax(self.logits(tiles) / self.config.temperature)

    @torch.inference_mode()
    def evidence(self, tile: np.ndarray, label: str) -> np.ndarray:
        """What each place of a tile adds to the margin of a class over the others.

        HiResCAM (Draelos & Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
        neural networks"): gradient times activation, summed over channels. Here the gradient is the head's weights,
        for behind the averages the model is linear, and all stages are used. The margin is the class' logit less the
        mean logit of the others, weighted by their probabilities: the gradient of the log-odds.

        Args:
            tile: uint8 `(H, W, 3)`.
            label: one of the classes.

        Returns:
            float32 `(H, W)`, in logits; its mean is the margin, less that of a tile with average features, up to
            the interpolation of the stages to the tile's size.
        """
        weights = self._margin_weights(tile, label) / self.scale
        stages = self.backbone(self.preprocess(tile[None]))
        splits = [stage.shape[1] for stage in stages]
        total = torch.zeros(tile.shape[:2], device=weights.device)
        for stage, w, centre in zip(stages, weights.split(splits), self.centre.split(splits), strict=True):
            share = ((stage - centre[:, None, None]) * w[:, None, None]).sum(dim=1, keepdim=True)  # (1, 1, h, w)
            total += F.interpolate(share.float(), size=tile.shape[:2], mode="bilinear")[0, 0]
        return total.cpu().numpy()

    def _pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([stage.mean(dim=(2, 3)) for stage in self.backbone(pixels)], dim=1)

    def _margin_weights(self, tile: np.ndarray, label: str) -> torch.Tensor:
        """`(D,)`: gradient of the log-odds of a class at the standardised features."""
        place = self.config.classes.index(label)
        logits = self(self.preprocess(tile[None]))[0]
        logits[place] = -torch.inf
        return self.head.weight[place] - torch.softmax(logits, dim=0) @ self.head.weight


def build_pretrained(classes: tuple[str, ...], backbone: str = DEFAULT_BACKBONE) -> TileClassifier:
    """A classifier whose backbone has its ImageNet weights; the head is zero: every class is as likely.

    The default backbone needs no download; the weights of others come from the hub.

    Raises:
        CheckpointError: timm has no such backbone, or its weights are not to be had.
    """
    facts = timm.get_pretrained_cfg(backbone)
    if facts is None:
        raise CheckpointError(f"timm has no pretrained backbone {backbone!r}; use one of timm.list_pretrained()")
    classifier = TileClassifier(ClassifierConfig(classes, tuple(facts.mean), tuple(facts.std), backbone))
    classifier.backbone.load_state_dict(pretrained_backbone(backbone).state_dict())
    nn.init.zeros_(classifier.head.weight)
    nn.init.zeros_(classifier.head.bias)
    return classifier.eval()


def softmax(logits: np.ndarray) -> np.ndarray:
    """`(N, K)` → float64 `(N, K)`, rows sum to 1."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf)
    odds = np.exp(shifted)
    return odds / odds.sum(axis=1, keepdims=True)


def tumor_probability(classes: Sequence[str], probabilities: np.ndarray) -> np.ndarray | None:
    """One minus the sum over the benign classes, those named `<Organ>_benign`.

    Args:
        classes: K names.
        probabilities: `(…, K)`.

    Returns:
        float64 `(…)`; `None` where no class, or each, is benign: then it would say nothing.
    """
    is_benign = np.array([name.endswith(BENIGN_SUFFIX) for name in classes])
    if is_benign.all() or not is_benign.any():
        return None
    return probabilities[..., ~is_benign].sum(axis=-1)


def pretrained_backbone(name: str) -> nn.Module:
    """With ImageNet weights: of the default backbone from its package, of others from the hub.

    Raises:
        CheckpointError: they are not installed, or not to be had.
    """
    if name == DEFAULT_BACKBONE:
        return build_network(DEFAULT_ENCODER)
    try:
        return timm.create_model(name, pretrained=True, features_only=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the weights of backbone {name!r} could not be fetched ({str(error).splitlines()[0]}); "
            f"without network use {DEFAULT_BACKBONE!r}"
        ) from error


def _build_backbone(name: str) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=False, features_only=True)
    except (RuntimeError, AttributeError, ValueError, AssertionError) as error:
        raise CheckpointError(
            f"timm has no backbone {name!r} with stages of features; use e.g. {DEFAULT_BACKBONE!r}"
        ) from error
