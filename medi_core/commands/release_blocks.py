"""What stands in the blocks of docs/fidelity.md and of a model card: tables with the commands that print them."""

from typing import TYPE_CHECKING

from medi_core.commands.fidelity import compared, compared_text
from medi_core.commands.parsing import markdown_table
from medi_core.commands.release_targets import copy_rows, distance_rows, probe_rows, targets_text
from medi_core.errors import ReferenceSetError, TooFewTilesError

if TYPE_CHECKING:
    import pandas as pd

    from medi_core.bootstrap import Services

MIN_PATIENTS = 5
"""Held out, for a value to be listed; the command lists all."""
PAIRS_SHOWN = 5
PAIR_COLUMNS = ["window_similarity", "cancer_type", "center", "group", "seed", "window_image"]


def made_from(services: "Services") -> str:
    """What the tables are made of, and the command that made it."""
    reference = services.reference.load()
    bank = reference.facts["bank"]
    pair, focus = bank["tiles_a_pair"], bank.get("tiles_a_focus_pair", 0)
    command = f"python -m medi_core build-reference --manifest manifest.csv --tiles-a-pair {pair}"
    more = f", at least {focus} a pair with a target of its own" if focus else ""
    return (
        f"{compared_text(compared(reference))}\n\n"
        f"The set was made by `{command}{f' --tiles-a-focus-pair {focus}' if focus else ''}`: {pair} tiles\n"
        f"a seen or never-seen (cancer type, center) pair, {max(1, pair // 4)} a rare one{more}, class-only tiles in "
        "the number\nof the pairs that held-out tiles exist for, and sweeps of stain bins and preparations."
    )


def distance(services: "Services") -> str:
    """A table a kind of subgroup, without the rows that had too few tiles."""
    kinds = ("overall", "cancer_type", "center")
    title = {"fd": f"FD-{services.fidelity.encoder}"}
    tables = [services.fidelity.fidelity(by).dropna(subset="kid").rename(columns=title) for by in kinds]
    return _printed(f"python -m medi_core fidelity --by {' '.join(kinds)}", services, *map(markdown_table, tables))


def probe(services: "Services") -> str:
    """A table an attribute, of values that the probe learnt, and one of stains."""
    tables = {name: services.fidelity.asked_versus_got(name) for name in ("cancer_type", "center", "preparation")}
    tables = {name: table.dropna(subset="ratio") for name, table in tables.items()}
    for name in ("cancer_type", "center"):
        tables[name] = tables[name][tables[name]["real_patients"] >= MIN_PATIENTS]
    stains = "Stain strength asked for against measured, Spearman's rank correlation:"
    shown = [*map(markdown_table, tables.values()), stains, markdown_table(services.fidelity.stains())]
    return _printed("python -m medi_core probe", services, *shown)


def copies(services: "Services") -> str:
    """What the audit flags, and the most similar pairs."""
    try:
        report = services.copies.report()
    except (ReferenceSetError, TooFewTilesError) as error:
        return f"{_of(services)} Copies are not looked for: {error}."
    line = (
        f"{len(report.pairs):,} synthetic tiles, beside them {len(report.baseline):,} held-out real ones. Flagged from "
        f"a similarity of {1 - report.threshold:.3f} on, where\nthe nearest {report.percentile:g} % of the real ones "
        "begin. Below the counts, the most similar pairs, whether flagged or not:"
    )
    pairs = report.pairs.head(PAIRS_SHOWN)[[*PAIR_COLUMNS, "flagged"]].astype({"seed": int})
    return "\n\n".join([_of(services), line, markdown_table(report.table), markdown_table(pairs)])


def robustness(services: "Services") -> str:
    """The index of the encoder on real tiles."""
    facts = services.reference.load().facts
    if (found := facts["robustness"]) is None:
        return f"{_of(services)} The robustness index of {facts['encoder']} is not measured: too few tiles."
    return (
        f"{_of(services)} Robustness index of {facts['encoder']} on the real tiles (PathoROB's definition, "
        f"{found['k']} neighbours):\n{found['value']:.3f}, by chance {found['chance']:.3f}, from "
        f"{found['num_tiles']:,} tiles of {found['num_patients']:,} patients (`build-reference --json`)."
    )


def target_rows(services: "Services") -> "pd.DataFrame":
    """Every target, in one table."""
    import pandas as pd

    return pd.concat([distance_rows(services), probe_rows(services), copy_rows(services)], ignore_index=True)


def targets(services: "Services", rows: "pd.DataFrame") -> str:
    """The rows of `target_rows` as a section."""
    commands = "python -m medi_core fidelity --targets\npython -m medi_core probe --targets"
    return _printed(commands, services, targets_text(rows))


def measured(services: "Services", rows: "pd.DataFrame") -> str:
    """The same, short, for a model card."""
    line = f"Goals of {services.checkpoint.id} on test patients; what they mean: docs/fidelity.md of the project."
    return f"{line}\n\n{targets_text(rows, with_notes=False)}"


def _printed(commands: str, services: "Services", *parts: str) -> str:
    return "\n\n".join([f"```\n{commands}\n```", _of(services), *parts])


def _of(services: "Services") -> str:
    return f"Of {services.checkpoint.id}."
