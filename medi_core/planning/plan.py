"""An augmentation plan: how many synthetic tiles each cell of a data set gets. Knows no model, no tile and no table.

A cell is one combination of metadata values; a plan says what was counted, what was decided and for which checkpoint,
and is all that bulk generation needs: tile `k` of a cell is a function of checkpoint, cell, sampling and `seed`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from medi_core.errors import PlanError
from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord
from medi_core.storage import translate_write_errors, whole_file

FORMAT = 1
MAX_PLAN_BYTES = 20_000_000
MAX_TILES_A_CELL = 10_000_000
MAX_SEED = 2**53 - 1
MAX_STEPS, MAX_GUIDANCE = 200, 10.0
"""As of a request to generate tiles."""


@dataclass(frozen=True)
class PlannedCell:
    """One combination of metadata values, what is there of it and what is to be made."""

    record: MetadataRecord
    real_tiles: int
    real_patients: int
    """What the data set holds of it."""
    support_tiles: int
    support_patients: int
    """What the checkpoint was trained on: of the rarest of the values, and of (cancer type, center) as a pair. 0 = it
    never saw one of them; other combinations are not counted."""
    trust: float | None
    """0 to 1, as the reference set measured it; `None` = not measured."""
    planned_tiles: int
    left_out: str = ""
    """Why nothing is planned although the target asks for tiles; empty = nothing was left out."""

    @property
    def key(self) -> str:
        """16 hex digits that name the cell by what it is, whatever stands beside it in a plan."""
        return sha256(json.dumps(self.record.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def seed_of(self, k: int, plan_seed: int) -> int:
        """The seed of tile number `k`: below 2^53, and free of the other cells and of their order."""
        digest = sha256(f"{plan_seed}/{self.key}/{k}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 11


@dataclass(frozen=True)
class AugmentationPlan:
    """Cells with their numbers, and what decided them. Checked when made."""

    checkpoint: str
    """Id of the checkpoint that it was made for."""
    by: tuple[str, ...]
    """Attributes that are crossed."""
    target: Mapping[str, Any]
    """How the numbers were decided, as plain JSON."""
    cells: tuple[PlannedCell, ...]
    seed: int = 0
    num_inference_steps: int = 12
    guidance_scale: float = 2.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.by if name not in ATTRIBUTE]
        if unknown or not self.by:
            raise PlanError(f"by = {list(self.by)}: name one or more of {', '.join(ATTRIBUTE)}")
        _count("seed", self.seed, MAX_SEED)
        _count("num_inference_steps", self.num_inference_steps, MAX_STEPS)
        if not 0 <= _number("guidance_scale", self.guidance_scale) <= MAX_GUIDANCE or not self.num_inference_steps:
            raise PlanError(
                f"steps = {self.num_inference_steps}, guidance = {self.guidance_scale}: they must be from 1 to "
                f"{MAX_STEPS} and from 0 to {MAX_GUIDANCE:g}"
            )
        for cell in self.cells:
            _count(f"planned tiles of {' | '.join(cell.record.to_dict().values())}", cell.planned_tiles)
        if len({cell.key for cell in self.cells}) < len(self.cells):
            raise PlanError("two cells of the plan hold the same values; join them")

    @property
    def num_tiles(self) -> int:
        return sum(cell.planned_tiles for cell in self.cells)

    @property
    def id(self) -> str:
        """12 hex digits of all that decides the tiles: a data set is continued under the same id only."""
        facts = {
            "checkpoint": self.checkpoint,
            "seed": self.seed,
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": float(self.guidance_scale),
            "cells": {cell.key: cell.planned_tiles for cell in self.cells if cell.planned_tiles},
        }
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, the inverse of `from_dict`."""
        cells = [asdict(cell) | {"record": cell.record.to_dict()} for cell in self.cells]
        settings = {"seed": self.seed, "num_inference_steps": self.num_inference_steps}
        return {
            "format": FORMAT,
            "checkpoint": self.checkpoint,
            "by": list(self.by),
            "target": dict(self.target),
            **settings,
            "guidance_scale": self.guidance_scale,
            "cells": cells,
        }

    @classmethod
    def from_dict(cls, plain: Any) -> "AugmentationPlan":
        """Read what `to_dict` gave, by hand or by another program.

        Raises:
            PlanError: of another format, or something is missing or absurd; says what.
        """
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            given = plain.get("format") if isinstance(plain, dict) else type(plain).__name__
            raise PlanError(f"this is no plan of format {FORMAT} (given: {given!r}); make one with `plan`")
        try:
            cells = tuple(_cell(place, cell) for place, cell in enumerate(plain["cells"]))
            return cls(
                checkpoint=str(plain["checkpoint"]),
                by=tuple(plain["by"]),
                target=dict(plain["target"]),
                cells=cells,
                seed=plain["seed"],
                num_inference_steps=plain["num_inference_steps"],
                guidance_scale=_number("guidance_scale", plain["guidance_scale"]),
            )
        except KeyError as error:
            raise PlanError(f"the plan has no {error}; make one with `plan`") from error
        except (TypeError, ValueError) as error:
            raise PlanError(f"the plan cannot be read: {error}; make one with `plan`") from error


def require_tiles(plan: AugmentationPlan) -> None:
    """Raises: PlanError: there is nothing to make."""
    if not plan.num_tiles:
        raise PlanError("the plan asks for no tile: choose another target, or a lower threshold of trust")


def plan_json(plan: AugmentationPlan) -> str:
    """What a file of a plan holds: cells that get tiles, and those that are left out, with the reason.

    Of the others, which with empty combinations can be thousands, nothing is made and nothing is to be explained; the
    table of the plan counts them.
    """
    kept = tuple(cell for cell in plan.cells if cell.planned_tiles or cell.left_out)
    return json.dumps(replace(plan, cells=kept).to_dict(), indent=1, ensure_ascii=False) + "\n"


def write_plan(plan: AugmentationPlan, path: Path) -> None:
    """As JSON, without its idle cells.

    Raises:
        StorageError: it cannot be written.
    """
    with translate_write_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as unfinished:  # a plan that was there stays until the new one is whole
            unfinished.write_text(plan_json(plan), encoding="utf-8")


def read_plan(path: Path) -> AugmentationPlan:
    """What `write_plan` wrote.

    Raises:
        PlanError: no such file, too large, not JSON or not a plan.
    """
    try:
        if path.stat().st_size > MAX_PLAN_BYTES:
            raise PlanError(f"{path} is larger than {MAX_PLAN_BYTES / 1e6:.0f} MB; that is no plan")
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{path} is not JSON: {error}; make a plan with `plan`") from error
    return AugmentationPlan.from_dict(plain)


def _cell(place: int, plain: Any) -> PlannedCell:
    counts = ("real_tiles", "real_patients", "support_tiles", "support_patients", "planned_tiles")
    record = plain["record"]
    if not isinstance(record, dict) or not all(isinstance(value, str) for value in record.values()):
        raise PlanError(f"cell {place}: record = {record!r}; it must map attributes to values")
    trust = plain.get("trust")
    return PlannedCell(
        record=MetadataRecord(**record),
        trust=None if trust is None else _number("trust", trust),
        left_out=str(plain.get("left_out", "")),
        **{name: _count(f"cell {place}: {name}", plain[name]) for name in counts},
    )


def _count(name: str, value: Any, most: int = MAX_TILES_A_CELL) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise PlanError(f"{name} = {value!r}: it must be a whole number from 0 to {most:,}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PlanError(f"{name} = {value!r}: it must be a number")
    return float(value)
