"""The answers of a closed study as one anonymous table, and what its columns mean. Knows no statistics.

Readers, tiles and cases get new names; ids that readers chose, patients and times of day stay in the store.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from medi_core.review.blinding import REPEATS
from medi_core.review.tasks import ORIGIN, is_right

CODEBOOK: dict[str, str] = {
    "reader": "R01, R02, …: a reader; the numbers say nothing of who or when",
    "years": "years of experience, as the reader gave them",
    "speciality": "as the reader chose it from a list",
    "tile": "T001, T002, …: the tile shown, or the pair; a repeat has the same one",
    "case": "C001, C002, …: tiles of one patient share it; a synthetic tile is a case of its own",
    "is_repeat": "1: the second showing of the tile; left out of all results but agreement within readers",
    "origin": "real or synthetic",
    "cancer_type": "recorded (real) or asked for (synthetic)",
    "center": "the hospital, recorded or asked for; of a pair, the one that is asked about",
    "other_center": "of a pair: the hospital of the other tile",
    "support": "training support of (cancer type, center): seen, rare (fewer than 3 known patients) or never seen",
    "task": "origin, realism, cancer_type, morphology, artefacts, comment or center_pair",
    "value": "the answer as JSON. origin: choice and confidence 1 (guess) to 5 (sure); realism: 1 (not at all) to 5 "
    "(as real); cancer_type: the name; morphology: features ticked; artefacts: marks as [x, y] from the upper left "
    "corner, 0 to 1; comment: text as written, so read it before you share it; center_pair: left or right",
    "right": "1 right, 0 wrong, empty where the question has no right answer",
    "seconds": "from the reader's first stored answer to this one (its last change)",
    "corrections": "how often the reader changed this answer; the last one counts",
}
_PREFIXES = {"reader": "R", "tile": "T", "case": "C"}


def answers_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row an answer: the columns of `CODEBOOK`, and `item`, `block`, `choice`, `confidence`, `options`.

    Args:
        rows: as `ReviewStore.revealed` gives them.
    """
    columns = [*CODEBOOK, "item", "block", "choice", "confidence", "options"]
    table = pd.DataFrame([_row(row) for row in rows]).reindex(columns=columns)
    if table.empty:
        return table
    times = table["seconds"].map(datetime.fromisoformat)
    since = times - times.groupby(table["reader"]).transform("min")
    table["seconds"] = since.dt.total_seconds().round(1)
    for column, prefix in _PREFIXES.items():
        table[column] = _renamed(table[column], table["item"] if column != "reader" else table["reader"], prefix)
    return table


def export_zip(results: dict[str, Any], rows: Sequence[dict[str, Any]]) -> bytes:
    """`answers.csv`, `codebook.csv` and `results.json` in one file; where the origin was asked, also `roc.csv`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("answers.csv", answers_csv(rows))
        book = pd.DataFrame(CODEBOOK.items(), columns=["column", "meaning"])
        archive.writestr("codebook.csv", book.to_csv(index=False))
        if roc := results.get(ORIGIN, {}).get("roc"):
            archive.writestr("roc.csv", pd.DataFrame(roc).to_csv(index=False))
        archive.writestr("results.json", json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False))
    return buffer.getvalue()


def answers_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The table as CSV. Every value is JSON, so no cell starts with a sign that a spreadsheet would run."""
    table = answers_table(rows)[list(CODEBOOK)]
    table["value"] = [json.dumps(value, ensure_ascii=False) for value in table["value"]]
    table["right"] = table["right"].astype("Int64")
    return table.to_csv(index=False)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    facts, value, task = row["facts"], row["value"], row["task"]
    shared = ("reader", "years", "speciality", "task", "value", "item", "block", "corrections")
    known = ("tile", "case", "origin", "cancer_type", "center", "other_center", "support")
    return {
        **{name: row[name] for name in shared},
        **{name: facts.get(name) for name in known},
        "seconds": row["answered_at"],
        "is_repeat": int(row["block"] == REPEATS),
        "right": is_right(task, value, facts),
        "choice": value["choice"] if task == ORIGIN else None,
        "confidence": value["confidence"] if task == ORIGIN else None,
        "options": row["prompts"].get(task, {}).get("options", []),
    }


def _renamed(names: pd.Series, order: pd.Series, prefix: str) -> pd.Series:
    """New names, numbered in the order of ids that were drawn at random."""
    first = order.groupby(names).min().sort_values()
    numbers = {name: f"{prefix}{i:0{2 if prefix == 'R' else 3}d}" for i, name in enumerate(first.index, 1)}
    return names.map(numbers)
