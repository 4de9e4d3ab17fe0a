"""The tables of docs/experiment.md: every preset with every arm, on the shipped reference set.

    python -m benchmarks.experiment_tables [--seeds 5] [--reference assets/reference] [--into docs/experiment.md]

Prints Markdown: of each run its command, what it found over real only, the accuracy of each arm with intervals, and the
robustness index of the tested tiles by their features and by what each arm's probe makes of them.
"""

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks.tables import log
from medi_core.commands.experiment import SHORT_PRESETS
from medi_core.commands.parsing import markdown_table
from medi_core.data.reference_set import ReferenceSet, read_reference
from medi_core.errors import MediError
from medi_core.services.experiment import run_experiment
from medi_core.services.experiment_config import (
    CHOSEN_CENTERS,
    CORRELATION,
    LEAVE_ONE_OUT,
    LOW_DATA,
    MEDI,
    RANDOM_CENTERS,
    RARE_CENTER,
    REAL,
    SHORTCUT,
    ExperimentConfig,
)
from medi_core.services.experiment_result import OVERALL, WORST, ExperimentResult
from medi_core.services.experiment_robustness import FEATURES, robustness_by_arm
from medi_core.services.release import EXPERIMENT, write_block

COLON = ("Colorectal_adenocarcinoma", "Colorectal_benign")
PROSTATE = ("Prostate_adenocarcinoma", "Prostate_benign")
ORGANS = ("Breast_invasive_carcinoma", "Prostate_adenocarcinoma")
RUNS = (
    ExperimentConfig(ORGANS, LEAVE_ONE_OUT),
    ExperimentConfig(COLON, LEAVE_ONE_OUT),
    ExperimentConfig(COLON, SHORTCUT),
    ExperimentConfig(COLON, SHORTCUT, held_out_only=True),
    ExperimentConfig(PROSTATE, RARE_CENTER, size=1),
    ExperimentConfig(COLON, RARE_CENTER, size=1),
    ExperimentConfig(PROSTATE, LOW_DATA, size=20),
    ExperimentConfig(PROSTATE, LOW_DATA, size=20, held_out_only=True),
    ExperimentConfig(ORGANS, LOW_DATA, size=20, held_out_only=True),
    ExperimentConfig(ORGANS, RANDOM_CENTERS, size=3),
    ExperimentConfig(ORGANS, CHOSEN_CENTERS, training_centers=("Indivumed", "Roswell Park")),
    ExperimentConfig(COLON, CORRELATION, correlation=1.0),
    ExperimentConfig(ORGANS, CORRELATION, correlation=0.0),
    ExperimentConfig(ORGANS, CORRELATION, correlation=0.5),
    ExperimentConfig(ORGANS, CORRELATION, correlation=1.0),
)
"""What docs/experiment.md reports; a run that the tiles do not allow is printed with the reason."""
FLAG_OF_PRESET = {preset: flag for flag, preset in SHORT_PRESETS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--reference", type=Path, default=Path("assets/reference"))
    parser.add_argument("--into", type=Path, help="a page: its block 'experiment' is written anew")
    args = parser.parse_args()
    text = "\n".join(sections(read_reference(args.reference), args.seeds))
    if args.into is None:
        print(text)
    else:
        write_block(args.into, EXPERIMENT, text)


def sections(reference: ReferenceSet, num_seeds: int) -> Iterator[str]:
    """What the tables are made of, then a section a run."""
    groups = reference.synthetic.tiles["group"].value_counts().to_dict()
    bank = ", ".join(f"{num:,} {group}" for group, num in groups.items())
    yield f"Printed by `python -m benchmarks.experiment_tables --seeds {num_seeds}`; each run has its own command."
    yield f"Synthetic tiles of {reference.facts['checkpoint']}: {bank}. Features of {reference.facts['encoder']}."
    for config in (replace(run, num_seeds=num_seeds) for run in RUNS):
        log(command_of(config))
        yield f"\n### {title_of(config)}\n\n```\n{command_of(config)}\n```\n"
        yield section_of(reference, config)


def title_of(config: ExperimentConfig) -> str:
    """`one center a class: Colorectal adenocarcinoma, Colorectal benign, held-out patients`"""
    types = ", ".join(name.replace("_", " ") for name in config.cancer_types)
    level = f" {config.correlation:g}" if config.preset == CORRELATION else ""
    return f"{config.preset}{level}: {types}{', held-out patients' if config.held_out_only else ''}"


def command_of(config: ExperimentConfig) -> str:
    """The command that gives the same numbers."""
    parts = ["python -m medi_core experiment --types", *config.cancer_types]
    parts += ["--preset", FLAG_OF_PRESET[config.preset], "--seeds", str(config.num_seeds)]
    if config.training_centers:
        parts += ["--centers", *map(shlex.quote, config.training_centers)]
    parts += ["--size", str(config.size)] if config.size is not None else []
    parts += ["--correlation", f"{config.correlation:g}"] if config.preset == CORRELATION else []
    return " ".join(parts + (["--held-out"] if config.held_out_only else []))


def section_of(reference: ReferenceSet, config: ExperimentConfig) -> str:
    """What came out, or why nothing could."""
    try:
        result = run_experiment(reference, config)
    except MediError as error:
        return f"Not possible on these tiles: {error}."
    notes = [line for line in result.sentences() if f"over {REAL}" in line or line.startswith("No arm")]
    notes += [line for line in result.limits() if "is not tested: fewer" not in line]
    robustness = robustness_by_arm(reference, result.config).set_index("space")
    if len(robustness):
        notes.append(index_of_features(robustness))
    return "\n".join([markdown_table(summary(result, robustness)), "", *(f"- {line}" for line in notes)])


def index_of_features(robustness: pd.DataFrame) -> str:
    """What to read the arms' robustness indices against."""
    row = robustness.loc[FEATURES]
    return (
        f"Robustness index of the features of the tested tiles {row['value']:.2f}, by chance {row['chance']:.2f} "
        f"({int(row['n']):,} tiles of {int(row['n_patients'])} patients, seed 0)."
    )


def summary(result: ExperimentResult, robustness: pd.DataFrame) -> pd.DataFrame:
    """A row an arm: its tiles, both accuracies and their differences to real only, with intervals, and robustness."""
    accuracy = result.accuracy.set_index(["arm", "subgroup"])
    changes = result.differences[result.differences["reference"] == REAL].set_index(["arm", "subgroup"])
    records = []
    for arm, real, added, _ in result.training.itertuples(index=False):
        row = {"arm": f"**{arm}**" if arm == MEDI else arm, "real tiles": round(real), "added": round(added)}
        for subgroup in (OVERALL, WORST):
            row[subgroup] = _with_interval(accuracy.loc[(arm, subgroup)], ".2f")
            row[f"{subgroup}, change"] = _with_interval(changes.loc[(arm, subgroup)], "+.2f") if arm != REAL else "–"
        row["robustness index"] = f"{robustness.loc[arm, 'value']:.2f}" if arm in robustness.index else "n/a"
        records.append(row)
    return pd.DataFrame(records)


def _with_interval(row: pd.Series, form: str) -> str:
    if row["value"] != row["value"]:
        return "n/a"  # no center tests every class
    value, low, high = (f"{round(row[name], 2) + 0.0:{form}}" for name in ("value", "ci_low", "ci_high"))
    return value if row["ci_low"] != row["ci_low"] else f"{value} [{low}, {high}]"


if __name__ == "__main__":
    main()
