"""What a reader may see, as types: a `ReviewItem` holds pixels and an id that carries nothing. Knows no origin.

Everything that tells (origin, metadata, seed, file) lives in `ItemFacts`, which the store hands out for a study
only once it is closed, and for practice items, which are outside the study.
"""

import hashlib
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medi_core.review.study import StudyDesign
from medi_core.review.tasks import CENTER_PAIR, Prompt

PRACTICE, TILES, REPEATS, PAIRS = -1, 0, 1, 2
"""Blocks of items, shown in this order; within one, each reader has an order of his own."""


@dataclass(frozen=True)
class ReviewItem:
    """All that reaches a reader of a tile, or of two side by side."""

    id: str
    """Random; the same length for all."""
    images: tuple[bytes, ...] = field(repr=False)
    """PNGs without text, all of one size in pixels and of one size in bytes."""


@dataclass(frozen=True)
class PlacedItem:
    """What the server needs to ask about an item, still without what it is."""

    id: str
    block: int
    is_pair: bool
    prompts: Mapping[str, Prompt]
    """Task → what its question says. The same for real and synthetic tiles of a (cancer type, center)."""


@dataclass(frozen=True)
class NewItem:
    """An item as a study is made: what is shown beside what it is."""

    placed: PlacedItem
    images: tuple[bytes, ...] = field(repr=False)
    facts: Mapping[str, Any]
    """`origin`, `cancer_type`, `center`, `support`, `case` (patient or seed), `tile` (the same for a repeat), …"""


@dataclass(frozen=True)
class ExampleSet:
    """Tiles of one (cancer type, center), shown beside every pair that asks about it."""

    id: str
    """Random; the prompt of a pair names it."""
    images: tuple[bytes, ...] = field(repr=False)
    """As those of a `ReviewItem`."""
    facts: tuple[Mapping[str, Any], ...]
    """What each of them is."""


@dataclass(frozen=True)
class Step:
    """One question about one item."""

    item: PlacedItem
    task: str


def neutral_id() -> str:
    """16 hex digits from the system's randomness: no seed, count or content can be read from them."""
    return secrets.token_hex(8)


def steps_of(items: Sequence[PlacedItem], design: StudyDesign, reader: str) -> list[Step]:
    """The questions of one reader, in his order: a function of the study's seed and his id alone."""
    ordered = []
    for block in sorted({item.block for item in items}):
        members = sorted((item for item in items if item.block == block), key=lambda item: item.id)
        key = hashlib.sha256(f"{design.seed}/{block}/{reader}".encode()).digest()
        random.Random(key).shuffle(members)
        ordered += sorted(members, key=lambda item: item.is_pair)  # in practice, too, tiles come before pairs
    return [Step(item, task) for item in ordered for task in ((CENTER_PAIR,) if item.is_pair else design.tile_tasks)]
