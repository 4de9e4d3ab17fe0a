"""The design of a study: what is asked of how many tiles, drawn how. Knows no tile and no reader."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medi_core.errors import InvalidRequestError
from medi_core.review.tasks import CANCER_TYPE, CENTER_PAIR, MORPHOLOGY, TASKS

MAX_ITEMS = 1000
MAX_NAME = 80
MAX_EXAMPLES = 6
DISPLAY_PX = (128, 1024)
MAX_SEED = 2**31 - 1


def draw_seed() -> int:
    """One that nobody can guess: who knows it can make the study's synthetic tiles, and so tell them."""
    return secrets.randbelow(MAX_SEED + 1)


@dataclass(frozen=True)
class StudyDesign:
    """What an admin decides. Checked when made; kept with the study. There is no time limit."""

    name: str
    tasks: tuple[str, ...]
    """Keys of `TASKS`."""
    num_tiles: int = 40
    """Shown once each; repeats and practice come on top."""
    share_real: float = 0.5
    """Of the tiles, 0 to 1, within every (cancer type, center) as nearly as whole tiles allow."""
    cancer_types: tuple[str, ...] = ()
    """Empty: the best supported ones."""
    centers: tuple[str, ...] = ()
    """Empty: those each cancer type was seen with. Given: every crossing, also pairs that were never seen."""
    num_repeats: int = 0
    """Tiles that come a second time, after all others, for the agreement of a reader with himself."""
    num_pairs: int = 10
    """Of tiles of two centers, only where the task is asked."""
    num_examples: int = 3
    """Tiles of the center that a pair asks about, shown beside it."""
    num_practice: int = 4
    """Tiles outside the study, with feedback; a pair is added where the study has some."""
    seed: int = 0
    """Of what is drawn, of the synthetic tiles, and of each reader's order."""
    display_px: int = 384
    """Largest side of a tile on the screen, CSS px."""

    def __post_init__(self) -> None:
        self._check_tasks()
        self._check_numbers()
        if not 1 <= len(self.name.strip()) <= MAX_NAME:
            raise InvalidRequestError(f"the name has {len(self.name.strip())} characters; give 1 to {MAX_NAME}")

    @property
    def tile_tasks(self) -> tuple[str, ...]:
        """Asked of single tiles, in the order of `TASKS`."""
        return tuple(name for name in TASKS if name in self.tasks and not TASKS[name].of_pairs)

    @property
    def has_pairs(self) -> bool:
        return CENTER_PAIR in self.tasks

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, the inverse of `from_dict`."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "StudyDesign":
        """Studies of older versions had no examples."""
        plain = {"num_examples": 0} | dict(plain)
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()})

    def _check_tasks(self) -> None:
        unknown = sorted(set(self.tasks) - set(TASKS))
        if unknown or not self.tasks:
            given = ", ".join(unknown) or "nothing"
            raise InvalidRequestError(f"tasks = {given}: give one or more of {', '.join(TASKS)}")
        if {CANCER_TYPE, MORPHOLOGY} <= set(self.tasks):
            raise InvalidRequestError(
                "the morphology checklist names the cancer type, which another task asks for: put them into two studies"
            )
        if self.share_real == 0 and (needing := [t for t in self.tasks if TASKS[t].needs_real]):
            raise InvalidRequestError(f"{', '.join(needing)} needs real tiles: set the share of real tiles above 0")

    def _check_numbers(self) -> None:
        bounds = {
            "num_tiles": (2, MAX_ITEMS),
            "share_real": (0, 1),
            "num_repeats": (0, self.num_tiles),
            "num_pairs": (1, MAX_ITEMS),
            "num_examples": (0, MAX_EXAMPLES),
            "num_practice": (0, 20),
            "seed": (0, MAX_SEED),
            "display_px": DISPLAY_PX,
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise InvalidRequestError(f"{name} = {getattr(self, name)}: it must be from {low} to {high}")
