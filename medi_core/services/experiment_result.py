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
DIFFERENCE_COLUMNS = ("arm", "reference", "subgroup", "value", "ci_low", "ci_high", "n", "n_patients", "n_changed")
"""n_changed: tiles that one of the two arms, but not both, names rightly in some seed."""
TRAINING_COLUMNS = ("arm", "real", "added", "total")
CELLS_NAMED = 3
"""In a sentence; the table has all."""
TOO_FEW_TO_TELL = 20
"""Test patients of the smallest compared center below which the reader is warned of the intervals."""


@dataclass(frozen=True)
class ExperimentResult:
    """Tables of one experiment; intervals are 95 %, over patients and seeds."""

    config: ExperimentConfig
    accuracy: pd.DataFrame
    """A row a (arm, subgroup): `ACCURACY_COLUMNS`. measure: balanced accuracy, recall where a center has one class,
    or gap; is_compared: whether the center could be the worst one; n of the worst one and the gap: compared centers."""
    differences: pd.DataFrame
    """A row a (arm, reference, subgroup), paired: `DIFFERENCE_COLUMNS`."""
    training: pd.DataFrame
    """Tiles that each arm is trained on, mean over folds: `TRAINING_COLUMNS`."""
    cells: pd.DataFrame
    """Cells to fill, mean over the folds that fill them: cancer_type, center, asked, bank, drawn."""
    left_out: tuple[str, ...]
    """Arms, cells and centers that could not take part, and why."""
    facts: Mapping[str, Any]
    """checkpoint, encoder, num_tiles and num_patients (tested), num_in_generator (of these), num_undeclared (held
    out by the reference set, not by the checkpoint; `None`: it declares nobody), num_folds, num_seeds (that
    could be tested), num_splits (different ones), num_compared (centers), smallest_patients (of these centers; `None`:
    there is none), chance (balanced accuracy of a constant answer), num_bootstraps."""

    @property
    def is_clean(self) -> bool:
        """Whether the generator saw none of the test patients, by its checkpoint's word where that is given."""
        return self.facts["num_in_generator"] == 0 and not self.facts["num_undeclared"]

    @property
    def mark(self) -> str:
        """Whether claims about synthetic tiles hold for patients the generator never saw."""
        num, inside = self.facts["num_patients"], self.facts["num_in_generator"]
        if self.is_clean:
            by = "the reference set's split; its checkpoint declares nobody"
            if self.facts["num_undeclared"] is not None:
                by = "its checkpoint's own list of held-out patients"
            return f"Clean: the generator was trained on none of the {num} test patients, by {by}."
        if inside == 0:
            return (
                f"Not shown to be clean: {self.facts['num_undeclared']} of the {num} test patients are held out by the "
                "reference set, but not in the checkpoint's own list of held-out patients."
            )
        return (
            f"In-sample generator: it was trained on {inside} of the {num} test patients, so gains from synthetic "
            "tiles may be memory of them."
        )

    def sentences(self) -> tuple[str, ...]:
        """What the numbers allow one to say: of each arm over real only, and of MeDi over each other arm."""
        pairs = self.differences[["arm", "reference"]].drop_duplicates().itertuples(index=False, name=None)
        said = [self._sentence(*pair) for pair in pairs]
        return tuple(said) or ("No arm but real only could be trained: there is nothing to compare.",)

    def limits(self) -> tuple[str, ...]:
        """What a reader must know beside the sentences."""
        notes = [self.mark]
        if (line := self._shortfall()) is not None:
            notes.append(line)
        of_real = self.accuracy[self.accuracy["arm"] == REAL]
        centers = of_real[~of_real["subgroup"].isin((OVERALL, WORST, GAP))]
        if num_others := int((~centers["is_compared"]).sum()):
            num_recalls = int(centers["measure"].str.startswith("recall").sum())
            notes.append(
                f"{num_others} of {len(centers)} tested centers cannot be the worst one: too few tiles, or a class "
                f"that is not tested there. {num_recalls} of them have one class, and in their own row recall of it."
            )
        smallest = self.facts["smallest_patients"]
        if smallest is not None:
            notes.append("The worst center is a minimum over centers, which is biased downwards.")
            if smallest < TOO_FEW_TO_TELL:
                text = f"The smallest compared center has {count(smallest, 'test patient')}"
                notes.append(f"{text}: its intervals are too narrow for so few.")
        if num := len(self.differences[["arm", "reference"]].drop_duplicates()):
            notes.append(f"{count(num, 'comparison')}: of 20 without any effect, one would exclude 0.")
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

    def _sentence(self, arm: str, reference: str) -> str:
        name = {MEDI: "MeDi tiles", SYNTHETIC: "Synthetic tiles alone"}.get(arm, arm.capitalize())
        subgroup = WORST if self.facts["num_compared"] else OVERALL
        levels = self.accuracy[self.accuracy["subgroup"] == subgroup].set_index("arm")
        change, overall = (self._change(arm, reference, which) for which in (subgroup, OVERALL))
        measure, why, more = "balanced accuracy of all centers", "no center tests every class with enough tiles; ", ""
        if subgroup == WORST:
            measure, why, more = "worst-center balanced accuracy", "", f"; all centers {_with_interval(overall)}"
        before, after = (levels.loc[which, "value"] for which in (reference, arm))
        return (
            f"{name} changed {measure} by {_with_interval(change)} over {reference}, from {before:.2f} to {after:.2f} "
            f"(chance {self.facts['chance']:.2f}){more} ({why}{self._counts(subgroup)}); "
            f"{_verdict(change, levels.loc[arm], self.facts['chance'])}."
        )

    def _change(self, arm: str, reference: str, subgroup: str) -> Mapping[str, Any]:
        rows = self.differences.set_index(["arm", "reference", "subgroup"])
        return rows.loc[(arm, reference, subgroup)]

    def _counts(self, subgroup: str) -> str:
        seeds, splits = self.facts["num_seeds"], self.facts["num_splits"]
        drawn = count(seeds, "seed")
        if splits < seeds:  # what a split decides does not vary between such seeds
            drawn = f"{count(splits, 'split')}, training tiles drawn {seeds} times"
        patients = count(self.facts["num_patients"], "test patient")
        if subgroup == OVERALL:
            return f"{drawn}, {patients}"
        centers, smallest = self.facts["num_compared"], count(self.facts["smallest_patients"], "patient")
        return f"worst of {count(centers, 'center')}, the smallest of {smallest}; {drawn}, {patients}"

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


def _verdict(change: Mapping[str, Any], level: Mapping[str, Any], chance: float) -> str:
    """What one change allows one to say, given what the arm reaches."""
    low, high = change["ci_low"], change["ci_high"]
    if low != low:
        if change["n_changed"] == 0:
            return "no tested tile changed"
        return "there is no interval, for resamples show no spread or lack a class, so no difference is shown"
    if low <= 0 <= high:
        return "the interval holds 0, so no difference is shown"
    least = level["value"] if level["ci_low"] != level["ci_low"] else level["ci_low"]
    if low > 0 and least <= chance:
        return "what it reaches is not shown to be better than chance, so no gain is shown"
    return "the interval excludes 0"


def _with_interval(row: Mapping[str, Any]) -> str:
    """`+0.041 [+0.010, +0.081]`, or without the ends where there are none."""
    value, low, high = (_signed(row[name]) for name in ("value", "ci_low", "ci_high"))
    return value if row["ci_low"] != row["ci_low"] else f"{value} [{low}, {high}]"


def _signed(value: float) -> str:
    rounded = round(value, 3) + 0.0  # no negative zero
    return f"{rounded:+.3f}".replace("-", "−")


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.astype(object)
    return plain.where(plain.notna(), None).to_dict("records")
