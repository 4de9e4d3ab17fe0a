"""Condition ids → the denoiser's conditioning vector. Carries the vocabulary in its config.

The module path is recorded in checkpoints (`model_index.json`): never rename it.
"""

import functools
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from medi_core.metadata.vocabulary import Vocabulary


class MetadataEmbedder(ModelMixin, ConfigMixin):
    """One embedding table an attribute, summed, then a residual MLP that lets attributes interact.

    Each table has one row more than the attribute has values: the null id, which training puts in
    place of a dropped or unrecorded value and guidance uses as "without this attribute".

    Args:
        vocabulary: `Vocabulary.to_dict()`.
        embedding_dim: E, the width of the denoiser's time embedding.
    """

    @register_to_config
    def __init__(self, vocabulary: dict[str, Any], embedding_dim: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(
            nn.Embedding(len(values) + 1, embedding_dim) for values in Vocabulary.from_dict(vocabulary).values.values()
        )
        for table in self.tables:
            # small: a value that training rarely shows stays near "unknown" instead of somewhere random
            nn.init.normal_(table.weight, std=0.02)
        self.mlp = nn.Sequential(
            nn.Linear(embedding_dim, embedding_dim), nn.SiLU(), nn.Linear(embedding_dim, embedding_dim)
        )

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.from_dict(self.config.vocabulary)

    def forward(self, condition_ids: torch.Tensor) -> torch.Tensor:
        """int64 `(B, A)` → `(B, E)`."""
        summed = sum(table(ids) for table, ids in zip(self.tables, condition_ids.unbind(1), strict=True))
        return summed + self.mlp(summed)
