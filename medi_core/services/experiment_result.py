"""What came out of an experiment: tables, and the sentences that the numbers allow. Computes nothing but words."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from medi_core.metadata.vocabulary import count
from medi_core.services.experiment_config import ADDING, MEDI, REAL, SYNTHETIC, ExperimentConfig

OVERALL, WORST, GAP = "all centers", "worst center", "gap between centers"
"""Subgroups that are no center."""
ACCURACY_COLUMNS = ("arm", "subgroup", "measure", "value", "ci_low", "ci_high", "n", "n_patients", "is_compared")
DIFFERENCE_COLUMNS = ("arm", "reference", "subgroup", "value", "ci_low", "ci_high", "n", "n_patients")
TRAINING_COLUMNS = ("arm", "real", "added", "total")
CELLS_NAMED = 3
"""In a sentence; the table has all."""
TOO_FEW_TO_TELL = 20
"""Test patients below which a sentence warns of its own interval."""


@dataclass(frozen=True)
class ExperimentResult:
    """Tables of one experiment; intervals are 95 %, over patients and seeds."""

    config: ExperimentConfig
    accuracy: pd.DataFrame
    """A row a (arm, subgroup): `ACCURACY_COLUMNS`. measure: balanced accuracy, recall where a center has one class,
    or gap; is_compared: whether the center could be the worst one."""
    differences: pd.DataFrame
    """A row a (arm, reference, subgroup), paired: `DIFFERENCE_COLUMNS`."""
    training: pd.DataFrame
    """Tiles that each arm is trained on, mean over folds: `TRAINING_COLUMNS`."""
    cells: pd.DataFrame
    """Cells to fill, mean over the folds that fill them: cancer_type, center, asked, bank, drawn."""
    left_out: tuple[str, ...]
    """Arms, cells and centers that could not take part, and why."""
    facts: Mapping[str, Any]
    """checkpoint, encoder, num_tiles and num_patients (tested), num_in_generator (of these), num_folds, num_seeds (that
    could be tested), num_bootstraps."""

    @property
    def is_clean(self) -> bool:
        """Whether the generator saw none of the test patients."""
        return self.facts["num_in_generator"] == 0

    @property
    def mark(self) -> str:
        """Whether claims about synthetic tiles hold for patients the generator never saw."""
        num, inside = self.facts["num_patients"], self.facts["num_in_generator"]
        if self.is_clean:
            return f"Clean: the generator was trained on none of the {num} test patients."
        return (
            f"In-sample generator: it was trained on {inside} of the {num} test patients, so gains from synthetic "
            "tiles may be memory of them."
        )

    def sentences(self) -> tuple[str, ...]:
        """What the numbers allow one to say: of each arm over real only, and of MeDi over each other arm."""
        of_worst = self.differences[self.differences["subgroup"] == WORST]
        said = [self._sentence(row) for row in of_worst.to_dict("records")]
        return tuple(said) or ("No arm but real only could be trained: there is nothing to compare.",)

    def limits(self) -> tuple[str, ...]:
        """What a reader must know beside the sentences."""
        notes = [self.mark]
        if (line := self._shortfall()) is not None:
            notes.append(line)
        centers = self.accuracy[(self.accuracy["arm"] == REAL) & self.accuracy["is_compared"]]
        if num_recalls := int((centers["measure"] != "balanced accuracy").sum()):
            notes.append(f"In {num_recalls} of {len(centers)} compared centers one class is tested: recall of it.")
        if self.facts["num_patients"] < TOO_FEW_TO_TELL:
            notes.append(f"Only {self.facts['num_patients']} test patients: the intervals are too narrow for so few.")
        return (*notes, *self.left_out)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; what was not measured is null."""
        tables = {name: getattr(self, name) for name in ("accuracy", "differences", "training", "cells")}
        return {
            "config": asdict(self.config),
            "facts": dict(self.facts),
            "is_clean": self.is_clean,
            "sentences": list(self.sentences()),
            "limits": list(self.limits()),
            **{name: _plain(table) for name, table in tables.items()},
        }

    def _sentence(self, row: Mapping[str, Any]) -> str:
        name = {MEDI: "MeDi tiles", SYNTHETIC: "Synthetic tiles alone"}.get(row["arm"], row["arm"].capitalize())
        value, low, high = row["value"], row["ci_low"], row["ci_high"]
        if value != value:
            return f"{name} against {row['reference']}: no center has enough test tiles to be compared."
        counts = f"{count(self.facts['num_seeds'], 'seed')}, {count(self.facts['num_patients'], 'test patient')}"
        change = f"{_signed(value)} [{_signed(low)}, {_signed(high)}]"
        verdict = "the interval holds 0, so no difference is shown" if low <= 0 <= high else "the interval excludes 0"
        return (
            f"{name} changed worst-center balanced accuracy by {change} over {row['reference']} ({counts}); {verdict}."
        )

    def _shortfall(self) -> str | None:
        """How many tiles were asked for and how many each arm added."""
        adding = self.training[self.training["arm"].isin(ADDING)]
        asked = float(self.training.attrs["asked"])
        if adding.empty or adding["added"].iloc[0] >= 0.99 * asked:
            return None
        added = adding["added"].iloc[0]
        short = self.cells[self.cells["drawn"] < 0.99 * self.cells["asked"]].sort_values("bank", kind="stable")
        named = "; ".join(
            f"{row.cancer_type} at {row.center}: asked {row.asked:.0f}, bank has {row.bank:.0f}"
            for row in short.head(CELLS_NAMED).itertuples()
        )
        more = f" and {len(short) - CELLS_NAMED} more cells" if len(short) > CELLS_NAMED else ""
        return (
            f"Every adding arm added {added:.0f} of {asked:.0f} tiles asked for, as many as the poorest of them has"
            + (f" ({named}{more})." if named else ".")
        )


def _signed(value: float) -> str:
    rounded = round(value, 2) + 0.0  # no negative zero
    return f"{rounded:+.2f}".replace("-", "−")


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.astype(object)
    return plain.where(plain.notna(), None).to_dict("records")
