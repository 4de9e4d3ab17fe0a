"""Guidance by attribute: functions of tensors. Knows no attribute names and no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class GuidanceTerm:
    """How strongly to push towards what a group of attributes adds."""

    columns: tuple[int, ...]
    """Columns of the condition ids that are dropped together; all of them = ordinary guidance."""
    scale: float
    """w: 1 = plain conditional sampling and no cost, above 1 = stronger, 0 = without these attributes."""


def active_terms(terms: Sequence[GuidanceTerm]) -> tuple[GuidanceTerm, ...]:
    """The terms that change anything; only these cost a forward pass."""
    return tuple(term for term in terms if term.scale != 1.0 and term.columns)


def drop_columns(condition_ids: torch.Tensor, columns: Sequence[int], null_ids: torch.Tensor) -> torch.Tensor:
    """Condition ids `(B, A)` with the given columns set to their null ids `(A,)`."""
    dropped = condition_ids.clone()
    dropped[:, list(columns)] = null_ids[list(columns)]
    return dropped


def combine(full: torch.Tensor, without: Sequence[torch.Tensor], scales: Sequence[float]) -> torch.Tensor:
    """x = x_full + Σ_g (w_g − 1)(x_full − x_without_g).

    One term over all attributes is classifier-free guidance (Ho and Salimans 2022, eq. 6, with
    their 1 + w written w); several terms are compositional guidance (Liu et al. 2022, eq. 11).

    Args:
        full: prediction under all attributes, `(B, 3, H, W)`.
        without: predictions with each term's columns dropped, same shape.
        scales: w_g of each.
    """
    guided = full
    for dropped, scale in zip(without, scales, strict=True):
        guided = guided + (scale - 1.0) * (full - dropped)
    return guided
