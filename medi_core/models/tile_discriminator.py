"""Tells real from synthetic tiles, given their metadata: the adversary of a distillation. Not part of a checkpoint."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from medi_core.models.metadata_embedder import MetadataEmbedder


class TileDiscriminator(nn.Module):
    """Residual blocks that halve the side, with logits at the last three of them: texture, cells, layout.

    The condition enters each logit as an inner product (projection, Miyato and Koyama 2018), so that a good tile of the
    wrong hospital is told as well. No normalisation: statistics of a batch would leak between its tiles.

    Args:
        vocabulary: `Vocabulary.to_dict()`.
        widths: channels at 1/2, 1/4, 1/8 … of the tile's side.
    """

    def __init__(self, vocabulary: dict[str, Any], widths: tuple[int, ...] = (48, 96, 192, 192)) -> None:
        super().__init__()
        self.embedder = MetadataEmbedder(vocabulary, widths[-1])
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(_Halve(a, b) for a, b in zip(widths, (*widths[1:], widths[-1]), strict=True))
        self.heads = nn.ModuleList(_Head(block.out_channels, widths[-1]) for block in self.blocks[-3:])

    def forward(self, tiles: torch.Tensor, condition_ids: torch.Tensor) -> torch.Tensor:
        """How real each place looks at each of the three scales.

        Args:
            tiles: `(B, 3, H, W)` in [−1, 1].
            condition_ids: int64 `(B, A)`.

        Returns:
            `(B, L)` logits, the places of the three scales one after the other.
        """
        conditioning = self.embedder(condition_ids)
        hidden, logits = self.stem(F.pixel_unshuffle(tiles, 2)), []
        for i, block in enumerate(self.blocks, start=len(self.heads) - len(self.blocks)):
            hidden = block(hidden)
            if i >= 0:
                logits.append(self.heads[i](hidden, conditioning).flatten(1))
        return torch.cat(logits, dim=1).float()


class _Halve(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.first = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.second = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.2)), 0.2))
        return (hidden + self.skip(F.avg_pool2d(x, 2))) / 2**0.5


class _Head(nn.Module):
    def __init__(self, channels: int, conditioning_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(channels, channels, 3, padding=1)
        self.logit = nn.Conv2d(channels, 1, 1)
        self.project = nn.Linear(conditioning_dim, channels)

    def forward(self, x: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        hidden = F.leaky_relu(self.hidden(F.leaky_relu(x, 0.2)), 0.2)
        match = (hidden * self.project(conditioning)[:, :, None, None]).mean(dim=1, keepdim=True)
        return self.logit(hidden) + match
