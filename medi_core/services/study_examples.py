"""Examples of a center, for the question which of two tiles is from it: who has never seen the center could but guess.

They are the same for real and for synthetic pairs of a (cancer type, center), all of one kind in a study, and neither
tiles of the study nor of its patients: nothing of them tells what a pair is.
"""

import random
from collections.abc import Sequence
from itertools import count

import pandas as pd

from medi_core.review.study import StudyDesign
from medi_core.services.real_pool import Cell, RealPool
from medi_core.services.study_plan import PlannedItem, PlannedTile, rows_of


def plan_examples(
    design: StudyDesign, items: Sequence[PlannedItem], real: pd.DataFrame | None
) -> dict[Cell, tuple[PlannedTile, ...]]:
    """`design.num_examples` tiles of each (cancer type, center) that a pair asks about, practice included.

    Real ones where enough tiles of patients outside the study are attached for every such cell, else synthetic ones.

    Args:
        items: the whole plan of the study; examples get seeds beyond all of its own.
        real: rows of a manifest, as `plan_study` had them; `None` where no tile is attached.
    """
    asked = dict.fromkeys(item.tiles[item.asked_side].cell for item in items if item.asked_side is not None)
    if not asked or not design.num_examples:
        return {}
    seeds = count(max(tile.seed for item in items for tile in item.tiles) + 1)
    pool = None
    if real is not None and not real.empty:
        pool = RealPool(real, random.Random(design.seed))
        pool.leave_out_patients_of(rows_of(items))
    is_real = pool is not None and all(pool.size(cell) >= design.num_examples for cell in asked)
    return {
        cell: tuple(
            PlannedTile(cell, pool.take(cell) if is_real else None, next(seeds)) for _ in range(design.num_examples)
        )
        for cell in asked
    }
