"""What a step of distillation asks the student for, and what of it is compared with which real tile.

Functions of tensors. A batch has four quarters; distill.py says what each is for.
"""

from typing import NamedTuple

import torch


class Comparisons(NamedTuple):
    """What the discriminator compares, V times."""

    real_rows: torch.Tensor
    """int64 `(V,)`: rows of the batch whose real tiles …"""
    own_rows: torch.Tensor
    """int64 `(V,)`: … are compared with what the student made in these,"""
    ids: torch.Tensor
    """int64 `(V, A)`: as tiles of these metadata."""


def twice(batch: torch.Tensor) -> torch.Tensor:
    """The first quarter in the place of the second too: pairs of attempts at the same metadata."""
    first, _, third, last = batch.chunk(4)
    return torch.cat([first, first, third, last])


def recombined(ids: torch.Tensor) -> torch.Tensor:
    """Metadata `(B, A)` → the same, but in the third quarter all but the first attribute are of the tile before."""
    first, second, third, last = ids.chunk(4)
    return torch.cat([first, second, torch.cat([third[:, :1], third.roll(1, dims=0)[:, 1:]], dim=1), last])


def plain_comparisons(ids: torch.Tensor) -> Comparisons:
    """Each tile with the real one of its own metadata `(B, A)`."""
    everything = torch.arange(len(ids), device=ids.device)
    return Comparisons(everything, everything, ids)


def recombined_comparisons(ids: torch.Tensor, null_ids: torch.Tensor) -> Comparisons:
    """The same, where the student was asked for `recombined(ids)`.

    There may be no real tile with recombined metadata. Such an attempt is compared twice: as a tile of its first
    attribute, beside the tile that has it, and as one with the other metadata, beside the tile that has these.

    Args:
        ids: int64 `(B, A)` of the real tiles.
        null_ids: int64 `(A,)`.
    """
    first, second, third, last = torch.arange(len(ids), device=ids.device).chunk(4)
    first_alone, others = null_ids.repeat(len(third), 1), ids[third.roll(1)]
    first_alone[:, 0], others[:, 0] = ids[third, 0], null_ids[0]
    return Comparisons(
        real_rows=torch.cat([first, second, third, third.roll(1), last]),
        own_rows=torch.cat([first, second, third, third, last]),
        ids=torch.cat([ids[first], ids[second], first_alone, others, ids[last]]),
    )
