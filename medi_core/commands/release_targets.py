"""Goals of a checkpoint and whether it reaches them, as `fidelity` and `probe` print them."""

import argparse
from typing import TYPE_CHECKING

from medi_core.commands.parsing import NOT_MEASURED, is_missing, markdown_table

if TYPE_CHECKING:
    import pandas as pd

    from medi_core.bootstrap import Services

# Heavy imports stand inside the functions that need them: `--help` answers at once.
SIGNS = {"at most": "≤", "at least": "≥", "within": "within ±"}
CLASS_ONLY_FOLDER = "class-only"
"""Below the assets: tiles of a class-only checkpoint."""


def add_targets(command: argparse.ArgumentParser) -> None:
    """Whether the goals are printed as well."""
    command.add_argument("--targets", action="store_true", help="also each goal, measured on test patients: a minute")


def distance_rows(services: "Services") -> "pd.DataFrame":
    """`target_table` of distances, precision and coverage, and of a probe for what is synthetic."""
    from medi_core.services.class_only import read_class_only
    from medi_core.services.distance_targets import distance_targets
    from medi_core.services.release_targets import target_table

    reference = services.reference.load()
    baseline = read_class_only(services.settings.assets_dir / CLASS_ONLY_FOLDER, reference.facts["encoder"])
    return target_table(distance_targets(reference, baseline))


def probe_rows(services: "Services") -> "pd.DataFrame":
    """`target_table` of what probes see of what was asked for, stains among it."""
    from medi_core.services.probe_targets import probe_targets
    from medi_core.services.release_targets import target_table

    return target_table(probe_targets(services.reference.load()))


def copy_rows(services: "Services") -> "pd.DataFrame":
    """`target_table` of the audit for copies."""
    from medi_core.services.probe_targets import copy_targets
    from medi_core.services.release_targets import target_table

    return target_table(copy_targets(services.reference.load()))


def targets_text(targets: "pd.DataFrame", with_notes: bool = True) -> str:
    """A Markdown table, a row a target."""
    import pandas as pd

    rows = [
        {
            "target": row["target"],
            "goal": NOT_MEASURED if is_missing(row["goal"]) else f"{SIGNS[row['rule']]} {row['goal']:.4g}",
            "measured [95 %]": _with_interval(row),
            "n": row["n"],
            "patients": NOT_MEASURED if is_missing(row["n_patients"]) else row["n_patients"],
            "verdict": row["verdict"],
        }
        | ({"note": row["note"] or ""} if with_notes else {})
        for row in targets.astype(object).where(targets.notna(), None).to_dict("records")
    ]
    return markdown_table(pd.DataFrame(rows))


def _with_interval(row: dict[str, object]) -> str:
    value, low, high = (row[name] for name in ("measured", "ci_low", "ci_high"))
    if is_missing(value):
        return NOT_MEASURED
    return f"{value:.4g}" if is_missing(low) else f"{value:.4g} [{low:.4g}, {high:.4g}]"
