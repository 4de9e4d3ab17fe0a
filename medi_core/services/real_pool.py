"""Real tiles to draw a study from, by (cancer type, center). Knows rows of a manifest and opens no image."""

import random
from collections.abc import Iterable

import pandas as pd

from medi_core.data.patients import in_turns
from medi_core.data.reference_set import is_train_split
from medi_core.errors import InvalidRequestError, TooFewTilesError

Cell = tuple[str, str]
"""(cancer type, center)."""


class RealPool:
    """Rows by cell, each given out once: one of each patient before a second of any, held-out splits first.

    Args:
        real: rows of a manifest; `None` or empty where no tile is attached.
        rng: of the order.

    Raises:
        InvalidRequestError: no tile is attached.
    """

    def __init__(self, real: pd.DataFrame | None, rng: random.Random) -> None:
        if real is None or real.empty:
            raise InvalidRequestError(
                "real tiles are wanted but none is attached: start with --tiles manifest.csv, or set their share to 0"
            )
        known = real.reset_index(drop=True).dropna(subset=["cancer_type", "center"])
        known = known[known["origin"] != "synthetic"]
        # tiles of one slide, or of one image, are neighbours where nobody wrote down of whom they are
        self._patient = known["patient_id"].fillna(known["slide"]).fillna(known["path"])
        self._rows: dict[Cell, list[int]] = {
            cell: _by_patient(rows, self._patient[rows.index], rng)
            for cell, rows in known.groupby(["cancer_type", "center"])
        }

    def size(self, cell: Cell) -> int:
        """How many rows are left."""
        return len(self._rows.get(cell, ()))

    def take(self, cell: Cell) -> int:
        """The next row, as its position in the manifest.

        Raises:
            TooFewTilesError: none is left.
        """
        if not self.size(cell):
            raise TooFewTilesError(
                f"there are not enough real tiles of {cell[0]} from {cell[1]}: ask for fewer tiles, or attach more"
            )
        return self._rows[cell].pop(0)

    def leave_out_patients_of(self, shown: Iterable[int]) -> None:
        """Give out no more tiles of patients of whom one of these rows is."""
        patients = {self._patient[row] for row in shown}
        for cell, rows in self._rows.items():
            self._rows[cell] = [row for row in rows if self._patient[row] not in patients]


def _by_patient(rows: pd.DataFrame, patients: pd.Series, rng: random.Random) -> list[int]:
    ordered = in_turns(rows.assign(like=patients), ["like"], rng.randrange(2**32))
    return list(is_train_split(ordered).sort_values(kind="stable").index)
