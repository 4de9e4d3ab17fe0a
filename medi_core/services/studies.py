"""Make and close studies: design in, a study with all its tiles rendered out. Knows no reader and no widget."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medi_core.data.feature_cache import tile_digest
from medi_core.data.tile_dataset import read_grid_tile, read_image
from medi_core.data.tile_files import encode_blind
from medi_core.metadata.schema import MetadataRecord, display_name
from medi_core.review.blinding import ExampleSet, NewItem, PlacedItem, neutral_id
from medi_core.review.checklists import checklist_of
from medi_core.review.review_store import ReviewStore, Study, now
from medi_core.review.study import StudyDesign
from medi_core.review.tasks import CANCER_TYPE, CENTER_PAIR, MORPHOLOGY, TASKS, Prompt
from medi_core.services.attached_tiles import AttachedTiles
from medi_core.services.generation import GenerationProgress, GenerationService
from medi_core.services.generation_request import GenerationRequest
from medi_core.services.real_pool import Cell
from medi_core.services.study_examples import plan_examples
from medi_core.services.study_plan import PlannedItem, PlannedTile, plan_study

NO_REAL_TILES = "needs real tiles: start the app with --tiles manifest.csv"

OnProgress = Callable[[int, int], None]
"""Called with (tiles rendered, tiles in all); what it raises ends the work, and nothing is stored."""
Rendered = Mapping[PlannedTile, tuple[np.ndarray, dict[str, Any]]]
"""Planned tile → uint8 `(H, W, 3)` and what it is."""


class StudyService:
    """Studies in a store, made with the loaded checkpoint and the attached real tiles."""

    def __init__(self, store: ReviewStore, generation: GenerationService, attached: AttachedTiles) -> None:
        self.store = store
        self._generation, self._attached = generation, attached

    @property
    def has_real_tiles(self) -> bool:
        return len(self._attached) > 0

    def unavailable_tasks(self) -> dict[str, str]:
        """Task → why it cannot be asked now."""
        needing = [] if self.has_real_tiles else [name for name, task in TASKS.items() if task.needs_real]
        return dict.fromkeys(needing, NO_REAL_TILES)

    def create(self, design: StudyDesign, on_progress: OnProgress = lambda *_: None) -> Study:
        """Draw, render and store all tiles of a study; the study is there whole or not at all.

        Raises:
            InvalidRequestError, TooFewTilesError: as `plan_study`.
            ManifestError: a real tile cannot be read.
            StorageError: the study cannot be stored.
        """
        real = self._attached.rows() if self.has_real_tiles else None
        plan = plan_study(design, self._generation.vocabulary, real)
        shown = plan_examples(design, plan, real)
        tiles = [tile for item in plan for tile in item.tiles]
        rendered = self._render([*tiles, *chain.from_iterable(shown.values())], real, on_progress)
        examples = {cell: _example_set([rendered[tile] for tile in its]) for cell, its in shown.items()}
        types = sorted({tile.cell[0] for tile in tiles})
        items = [_new_item(item, design, types, rendered, examples) for item in plan]
        made_with = {"checkpoint": self._generation.checkpoint.id, "real_tiles_attached": len(self._attached)}
        if examples:
            made_with["examples"] = next(iter(examples.values())).facts[0]["origin"]
        study = Study(neutral_id(), design, made_with, now(), None)
        self.store.add_study(study, items, list(examples.values()))
        return study

    def studies(self) -> list[Study]:
        return self.store.studies()

    def close(self, study_id: str) -> None:
        """No more answers; results are revealed from now on. It cannot be undone."""
        self.store.close_study(study_id)

    def progress(self, study_id: str) -> list[dict[str, Any]]:
        """Readers and how many answers each gave; nothing of what they say."""
        return self.store.progress(study_id)

    def delete_reader(self, study_id: str, name: str) -> int:
        """Delete a reader and all answers of his; returns how many there were. It cannot be undone."""
        return self.store.delete_reader(study_id, name.strip())

    def backup(self, target: Path) -> None:
        """A copy of all studies in one file."""
        self.store.backup(target)

    def _render(self, tiles: Sequence[PlannedTile], real: pd.DataFrame | None, on_progress: OnProgress) -> Rendered:
        wanted = list(dict.fromkeys(tiles))
        rendered: dict[PlannedTile, tuple[np.ndarray, dict[str, Any]]] = {}
        of_cell: dict[tuple[str, str], list[PlannedTile]] = defaultdict(list)
        for tile in wanted:
            if tile.row is None:
                of_cell[tile.cell].append(tile)
            else:
                rendered[tile] = self._real(tile, real.iloc[tile.row])
        on_progress(len(rendered), len(wanted))
        for (cancer_type, center), planned in of_cell.items():
            record = MetadataRecord(cancer_type=cancer_type, center=center)
            request = GenerationRequest(record, tuple(tile.seed for tile in planned))
            before, num = len(rendered), len(planned)

            def report(progress: GenerationProgress, before: int = before, num: int = num) -> None:
                on_progress(before + num * progress.done // progress.total, len(wanted))

            made = self._generation.generate(request, report)
            for tile, synthetic in zip(planned, made, strict=True):
                facts = {"case": f"seed {tile.seed}", "tile": synthetic.id, "provenance": synthetic.provenance()}
                rendered[tile] = synthetic.image, self._facts(tile) | facts
        return rendered

    def _real(self, tile: PlannedTile, row: pd.Series) -> tuple[np.ndarray, dict[str, Any]]:
        pixels = read_grid_tile(row, read_image(row["path"]))
        digest = tile_digest(pixels)
        case = digest if pd.isna(row["patient_id"]) else row["patient_id"]
        facts = {"case": case, "tile": digest, "split": row["split"], "dataset": row["dataset"]}
        return pixels, self._facts(tile) | {name: None if pd.isna(v) else v for name, v in facts.items()}

    def _facts(self, tile: PlannedTile) -> dict[str, Any]:
        cancer_type, center = tile.cell
        support = self._generation.vocabulary.support_of(MetadataRecord(cancer_type=cancer_type, center=center))
        return {
            "origin": tile.origin,
            "cancer_type": cancer_type,
            "center": center,
            "support": support.status,
        }


def _example_set(tiles: Sequence[tuple[np.ndarray, dict[str, Any]]]) -> ExampleSet:
    images, facts = zip(*tiles, strict=True)
    return ExampleSet(neutral_id(), tuple(map(_encode, images)), facts)


def _encode(image: np.ndarray) -> bytes:
    return encode_blind(np.ascontiguousarray(image))


def _new_item(
    item: PlannedItem,
    design: StudyDesign,
    types: Sequence[str],
    rendered: Rendered,
    examples: Mapping[Cell, ExampleSet],
) -> NewItem:
    images, facts = zip(*(rendered[tile] for tile in item.tiles), strict=True)
    is_pair = item.asked_side is not None
    if is_pair:
        sides = ("left", "right")
        asked = facts[item.asked_side]
        whole = {**asked, "tile": "|".join(f["tile"] for f in facts), "side": sides[item.asked_side]}
        whole["other_center"] = facts[1 - item.asked_side]["center"]
        prompts = {CENTER_PAIR: {"options": list(sides), "center": display_name(asked["center"])}}
        if beside := examples.get(item.tiles[item.asked_side].cell):
            prompts[CENTER_PAIR] |= {"examples": beside.id, "examples_are": beside.facts[0]["origin"]}
    else:
        (whole,) = facts
        prompts = {
            task: prompt for task, prompt in _prompts(whole["cancer_type"], types).items() if task in design.tasks
        }
    placed = PlacedItem(neutral_id(), item.block, is_pair, prompts)
    return NewItem(placed, tuple(map(_encode, images)), whole)


def _prompts(cancer_type: str, types: Sequence[str]) -> dict[str, Prompt]:
    return {
        CANCER_TYPE: {"options": list(types)},
        MORPHOLOGY: {"options": list(checklist_of(cancer_type)), "cancer_type": display_name(cancer_type)},
    }
