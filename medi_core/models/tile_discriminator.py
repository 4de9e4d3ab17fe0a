"""Tells real from synthetic tiles, given their metadata: the adversary of a distillation. Not part of a checkpoint."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from medi_core.models.metadata_embedder import MetadataEmbedder
from medi_core.models.tile_encoder import StageFeatures


class TileDiscriminator(nn.Module):
    """Small heads on the stages of a frozen network, from texture to shape (Sauer et al. 2021, §4; 2023, §3.2).

    A network that has to learn first what tissue is made of is deceived for thousands of steps; one that sees already
    only has to learn what is wrong. The condition enters each logit as an inner product (projection, Miyato and Koyama
    2018), so that a good tile of the wrong hospital is told as well.

    Args:
        vocabulary: `Vocabulary.to_dict()`.
        features: the frozen network.
        width: channels of a head.
    """

    def __init__(self, vocabulary: dict[str, Any], features: StageFeatures, width: int = 64) -> None:
        super().__init__()
        self._features = (features,)  # in a tuple: its weights are no weights of ours
        self.embedder = MetadataEmbedder(vocabulary, width)
        for table in self.embedder.tables:  # a denoiser's are far smaller, and it has far more steps
            nn.init.normal_(table.weight)
        self.heads = nn.ModuleList(_Head(channels, width) for channels in features.channels)

    def forward(self, tiles: torch.Tensor, condition_ids: torch.Tensor) -> list[torch.Tensor]:
        """`judge` of what it sees of tiles `(B, 3, H, W)` in [−1, 1]."""
        return self.judge(self.see(tiles), condition_ids)

    def see(self, tiles: torch.Tensor) -> list[torch.Tensor]:
        """Tiles `(B, 3, H, W)` in [−1, 1] → the frozen network's stages, from texture to shape, shifted and scaled.

        One `(B, C, H/2ⁱ, W/2ⁱ)` a stage, i from 1; a channel has about mean 0 and standard deviation 1 on real tiles.
        """
        stages = self._features[0](tiles)
        return [head.normalised(stage) for head, stage in zip(self.heads, stages, strict=True)]

    def judge(self, stages: list[torch.Tensor], condition_ids: torch.Tensor) -> list[torch.Tensor]:
        """How real each place looks at each scale, as a tile of these metadata.

        Args:
            stages: what `see` returns.
            condition_ids: int64 `(B, K, A)`: each tile is judged under K metadata.

        Returns:
            One float32 `(B, K, places)` of logits a scale, from texture to shape.
        """
        conditioning = self.embedder(condition_ids.flatten(0, 1)).unflatten(0, condition_ids.shape[:2])
        return [head(stage, conditioning).float() for head, stage in zip(self.heads, stages, strict=True)]

    @torch.no_grad()
    def calibrate(self, tiles: torch.Tensor) -> None:
        """Measure on real tiles by what each channel is shifted and scaled before a head sees it."""
        for head, stage in zip(self.heads, self._features[0](tiles), strict=True):
            head.mean.copy_(stage.mean(dim=(0, 2, 3)))
            head.std.copy_(stage.std(dim=(0, 2, 3)).clamp(min=1e-3))


class _Head(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.first = nn.Conv2d(channels, width, 1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.logit = nn.Conv2d(width, 1, 1)
        self.project = nn.Linear(width, width)

    def normalised(self, stage: torch.Tensor) -> torch.Tensor:
        return (stage - self.mean[:, None, None]) / self.std[:, None, None]

    def forward(self, stage: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        """A normalised stage `(B, C, H, W)`, conditioning `(B, K, width)` → logits `(B, K, H · W)`."""
        hidden = F.leaky_relu(self.first(stage), 0.2)
        hidden = F.leaky_relu(hidden + self.second(hidden), 0.2)
        match = self.project(conditioning) @ hidden.flatten(2) / hidden.shape[1]
        return self.logit(hidden).flatten(2) + match
