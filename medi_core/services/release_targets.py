"""What a checkpoint is meant to reach, as rows: measured, with n and interval, against a goal. Measures nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from medi_core.metrics.intervals import NO_INTERVAL

AT_MOST, AT_LEAST, WITHIN = "at most", "at least", "within"
NOT_MEASURED = "not measured"
COLUMNS = ("target", "rule", "goal", "measured", "ci_low", "ci_high", "n", "n_patients", "verdict", "note")
NAN = float("nan")


@dataclass(frozen=True)
class Target:
    """One goal, and how far it is reached."""

    what: str
    rule: str
    """`at most`, `at least` or `within`: the measured value, or what it is away from 0."""
    goal: float
    value: float = NAN
    interval: tuple[float, float] = NO_INTERVAL
    """95 %, of the value."""
    n: int = 0
    """Synthetic tiles."""
    n_patients: int | None = None
    """Whose real tiles they are read against."""
    note: str = ""

    @property
    def verdict(self) -> str:
        """`met`, `missed by 0.12` or `not measured`; whether the interval holds the goal is said as well."""
        if not abs(self.value) < float("inf") or self.goal != self.goal:
            return NOT_MEASURED
        excess = {AT_MOST: self.value - self.goal, AT_LEAST: self.goal - self.value}.get(
            self.rule, abs(self.value) - self.goal
        )
        said = "met" if excess <= 0 else f"missed by {excess:.3g}"
        goals = (self.goal, -self.goal) if self.rule == WITHIN else (self.goal,)
        low, high = self.interval
        return f"{said}, but the interval holds the goal" if any(low < goal < high for goal in goals) else said


def target_table(targets: Sequence[Target]) -> pd.DataFrame:
    """A row a target: `COLUMNS`."""
    rows = [
        (t.what, t.rule, t.goal, t.value, *t.interval, t.n, t.n_patients, t.verdict, t.note or None) for t in targets
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"n_patients": "Int64"})
