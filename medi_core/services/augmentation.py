"""Plans of synthetic tiles: what a data set has of each cell, what the generator knows of it, what is to be made.

Knows no widgets and makes no tile.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Any

import pandas as pd

from medi_core.checkpoints import Checkpoint
from medi_core.data.reference_set import is_train_split
from medi_core.errors import PlanError, ReferenceSetError, UnknownValueError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.planning.plan import AugmentationPlan, PlannedCell, require_tiles
from medi_core.planning.targets import MATCH, WORST, Target, tiles_to_add
from medi_core.services.default_sampling import default_sampling
from medi_core.services.fidelity import FidelityService
from medi_core.services.reference import ReferenceService

MAX_CELLS = 5_000
CELL = ("cancer_type", "center")
Key = tuple[str, ...]
"""Values of the crossed attributes, in their order."""
TrustOf = Callable[[str | None, str | None], float | None]
"""(cancer type, center) → trust, `None` where it is not measured."""


@dataclass(frozen=True)
class PlanConfig:
    """What is wanted of which cells."""

    by: tuple[str, ...] = CELL
    """Attributes to cross."""
    target: Target = field(default_factory=Target)
    with_empty: bool = False
    """Also combinations without a tile, of values that occur: what the generator may never have seen."""
    min_trust: float = 0.0
    """Cells that are trusted less, as measured, get nothing."""
    measured_only: bool = False
    """Cells whose trust is not measured get nothing either."""
    chosen: tuple[Key, ...] = ()
    """The cells of the target `worst`."""
    shares: Mapping[Key, float] = field(default_factory=dict)
    """Of the target `match`; a cell that is not named has none."""
    seed: int = 0
    num_inference_steps: int | None = None
    """`None` = what the checkpoint is made for, as in a `GenerationRequest`; so is the guidance."""
    guidance_scale: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.min_trust <= 1:
            raise PlanError(f"min_trust = {self.min_trust}: it must be from 0 to 1")
        if not self.by or len(set(self.by)) < len(self.by):
            raise PlanError(f"by {', '.join(self.by) or 'nothing'}: name one attribute or more, each once")
        if odd := [key for key in (*self.chosen, *self.shares) if len(key) != len(self.by)]:
            raise PlanError(f"the cell {' | '.join(odd[0])} must have one value each of {', '.join(self.by)}")


class AugmentationService:
    """Plans for the loaded checkpoint, of the reference set's training tiles or of tiles of one's own."""

    def __init__(self, checkpoint: Checkpoint, reference: ReferenceService, fidelity: FidelityService) -> None:
        self._checkpoint, self._reference, self._fidelity = checkpoint, reference, fidelity

    def training_tiles(self) -> pd.DataFrame:
        """Metadata of the real tiles that the reference set has for training.

        Raises:
            ReferenceSetError: there is none.
        """
        real = self._reference.load().real.tiles
        return real[is_train_split(real)]

    def keys(self, tiles: pd.DataFrame, by: Sequence[str]) -> list[Key]:
        """The cells that have tiles, fewest first: what one would fill.

        Raises:
            PlanError: as `plan`.
        """
        self._require_conditioned(by)
        return list(count_cells(tiles, by, self._checkpoint.vocabulary).index[::-1])

    def plan(self, tiles: pd.DataFrame, config: PlanConfig) -> AugmentationPlan:
        """Count, and decide.

        Args:
            tiles: a row a tile, with the attributes to cross and `patient_id`; those that lack one of the attributes
                are in no cell, and the plan's `target` says how many they are.

        Raises:
            PlanError: attributes that the checkpoint is not conditioned on, named cells of unknown values, or too many.
        """
        vocabulary = self._checkpoint.vocabulary
        self._require_conditioned(config.by)
        if "origin" in tiles:  # what was generated before is no real tile
            tiles = tiles[tiles["origin"] != "synthetic"]
        counts = count_cells(tiles, config.by, vocabulary)
        num_in_cells = int(counts["tiles"].sum())
        if config.with_empty:
            counts = _with_empty(counts, config.by, vocabulary)
        counts = _with_named(counts, (*config.chosen, *config.shares), config.by, vocabulary)
        keys = list(counts.index)
        trusted = self._trust_by_pair(config)
        cells = [
            self._described(MetadataRecord(**dict(zip(config.by, key, strict=True))), *numbers, trusted)
            for key, *numbers in counts.itertuples(name=None)
        ]
        reasons = [self._reason(cell, config) for cell in cells]
        target, sizes = config.target, counts["tiles"].to_numpy()
        more = {
            "chosen": [key in config.chosen for key in keys] if target.kind == WORST else None,
            "shares": [config.shares.get(key, 0.0) for key in keys] if target.kind == MATCH else None,
        }
        unlimited = replace(target, cap=None, max_tiles=None, ratio=None)
        wanted = tiles_to_add(sizes, unlimited, [True] * len(keys), **more)
        numbers = tiles_to_add(sizes, target, [not reason for reason in reasons], **more)
        planned = (
            replace(cell, planned_tiles=int(num), left_out=reason if lacking else "")
            for cell, num, reason, lacking in zip(cells, numbers, reasons, wanted, strict=True)
        )
        steps, guidance = default_sampling(self._checkpoint)
        return AugmentationPlan(
            self._checkpoint.id,
            config.by,
            target.to_dict() | _limits(config) | {"tiles_without_a_cell": len(tiles) - num_in_cells},
            tuple(planned),
            config.seed,
            steps if config.num_inference_steps is None else config.num_inference_steps,
            guidance if config.guidance_scale is None else config.guidance_scale,
        )

    def require_runnable(self, plan: AugmentationPlan) -> None:
        """Refuse, before any waiting, a plan that the loaded checkpoint cannot carry out as it was meant.

        Raises:
            PlanError: made for another checkpoint, nothing to make, or values that are not known.
        """
        if plan.checkpoint != self._checkpoint.id:
            raise PlanError(
                f"the plan was made for the checkpoint {plan.checkpoint}, loaded is {self._checkpoint.id}: load that "
                "one, or make the plan anew with this one"
            )
        require_tiles(plan)
        for cell in (cell for cell in plan.cells if cell.planned_tiles):
            try:
                self._checkpoint.vocabulary.encode(cell.record)
            except UnknownValueError as error:
                raise PlanError(f"the plan cannot be run: {error}") from error

    def _require_conditioned(self, by: Sequence[str]) -> None:
        known = self._checkpoint.vocabulary.attributes
        if strange := [name for name in by if name not in known]:
            raise PlanError(
                f"this checkpoint is not conditioned on {', '.join(strange)}; cross some of: {', '.join(known)}"
            )

    def _described(
        self,
        record: MetadataRecord,
        tiles: int,
        patients: int,
        trusted: TrustOf,
    ) -> PlannedCell:
        support = self._checkpoint.vocabulary.support_of(record)
        trust = trusted(record.cancer_type, record.center)
        return PlannedCell(
            record, int(tiles), int(patients), support.num_tiles, support.num_patients, trust, planned_tiles=0
        )

    def _trust_by_pair(self, config: PlanConfig) -> TrustOf:
        """Trust in a (cancer type, center), looked up once a pair.

        Raises:
            PlanError: there is a threshold, and nothing was measured.
        """
        try:
            self._reference.load()
        except ReferenceSetError as error:
            if config.min_trust > 0 or config.measured_only:
                raise PlanError(f"trust was not measured, so it cannot decide: {error}") from error
            return lambda *_: None

        @functools.cache
        def trust_in(cancer_type: str | None, center: str | None) -> float | None:
            found = self._fidelity.trust_of(MetadataRecord(cancer_type=cancer_type, center=center))
            return None if found is None else found.value

        return trust_in

    def _reason(self, cell: PlannedCell, config: PlanConfig) -> str:
        """Why a cell is to get nothing; empty where it may."""
        try:
            self._checkpoint.vocabulary.encode(cell.record)
        except UnknownValueError as error:
            return str(error).split("; did you mean")[0].split("; known")[0]
        if cell.trust is None:
            return "its trust is not measured" if config.measured_only else ""
        if cell.trust < config.min_trust:
            return f"trust {cell.trust:.2f} is below {config.min_trust:.2f}"
        return ""


def count_cells(tiles: pd.DataFrame, by: Sequence[str], vocabulary: Vocabulary) -> pd.DataFrame:
    """Tiles and patients a cell, most tiles first; numbers of binned attributes fall into the checkpoint's bins.

    Returns:
        Columns tiles, patients; the index holds a key a cell.
    """
    columns = {}
    for name in by:
        column = tiles[name] if name in tiles else pd.Series(None, index=tiles.index, dtype=object)
        if name in vocabulary.bin_edges:
            column = column.map(lambda number, name=name: vocabulary.bin_of(name, number), na_action="ignore")
        columns[name] = column.astype(object)
    frame = pd.DataFrame(columns).assign(patient_id=tiles.get("patient_id"))
    groups = frame.dropna(subset=list(by)).groupby(list(by), sort=True)["patient_id"]
    counts = pd.DataFrame({"tiles": groups.size(), "patients": groups.nunique()})
    counts.index = pd.Index([key if isinstance(key, tuple) else (key,) for key in counts.index], tupleize_cols=False)
    _require_few(len(counts), by)
    return counts.sort_values("tiles", ascending=False, kind="stable")


def plan_table(plan: AugmentationPlan) -> pd.DataFrame:
    """A row a cell: the crossed attributes, then the numbers of `PlannedCell`; what is planned most first."""
    numbers = ("real_tiles", "real_patients", "support_tiles", "support_patients", "trust", "planned_tiles", "left_out")
    rows = [
        {name: cell.record.to_dict()[name] for name in plan.by} | {name: getattr(cell, name) for name in numbers}
        for cell in plan.cells
    ]
    frame = pd.DataFrame(rows, columns=[*plan.by, *numbers]).astype({"trust": float})
    return frame.sort_values(["planned_tiles", "real_tiles"], ascending=[False, True], kind="stable", ignore_index=True)


def _with_empty(counts: pd.DataFrame, by: Sequence[str], vocabulary: Vocabulary) -> pd.DataFrame:
    """And a row for each other combination of values that occur and that the checkpoint knows."""
    occurring = [sorted({key[i] for key in counts.index} & set(vocabulary.values[name])) for i, name in enumerate(by)]
    _require_few(prod(map(len, occurring)), by)
    present = set(counts.index)
    missing = [key for key in product(*occurring) if key not in present]
    return _with_zeros(counts, missing)


def _with_zeros(counts: pd.DataFrame, keys: Sequence[Key]) -> pd.DataFrame:
    """And a row for each of these cells, which have no tile."""
    if not keys:
        return counts
    index = pd.Index(keys, tupleize_cols=False, dtype=object)
    return pd.concat([counts, pd.DataFrame({"tiles": 0, "patients": 0}, index=index)])


def _limits(config: PlanConfig) -> dict[str, Any]:
    return {"min_trust": config.min_trust, "measured_only": config.measured_only}


def _require_few(num: int, by: Sequence[str]) -> None:
    if num > MAX_CELLS:
        what = " × ".join(by)
        raise PlanError(f"{what} has {num:,} cells, at most {MAX_CELLS:,} are planned: cross fewer attributes")


def _with_named(counts: pd.DataFrame, named: Sequence[Key], by: Sequence[str], vocabulary: Vocabulary) -> pd.DataFrame:
    """And a row for each cell that was named and has no tile, of values that the data or the checkpoint know.

    Raises:
        PlanError: a value that neither knows.
    """
    missing = list(dict.fromkeys(key for key in named if key not in set(counts.index)))
    known = [{key[i] for key in counts.index} | set(vocabulary.values[name]) for i, name in enumerate(by)]
    for key in missing:
        if odd := [name for name, value, values in zip(by, key, known, strict=True) if value not in values]:
            raise PlanError(
                f"there is no cell {' | '.join(key)}: neither the data nor the checkpoint know its {odd[0]}; correct "
                "it where the cell is named"
            )
    return _with_zeros(counts, missing)
