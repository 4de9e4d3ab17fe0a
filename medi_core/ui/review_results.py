"""What an administrator reads of a study, as HTML: who answered how much, and after closing the numbers."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from medi_core.metadata.schema import display_name
from medi_core.review.review_store import Study
from medi_core.review.tasks import TASKS
from medi_core.ui.handlers import data_uri
from medi_core.ui.tables import scroll_html

NOTE = (
    "Positive = synthetic: sensitivity is the share of synthetic tiles called synthetic. n: answers; then readers and "
    "cases (patients; a synthetic tile is its own). 95 % intervals draw readers and cases anew (seed 0), of one reader "
    "Wilson's. Few readers make them uncertain themselves."
)
LABELS = {
    "auc": "ROC AUC, mean over readers",
    "auc_pooled": "ROC AUC, answers pooled",
    "d_prime": "d′, mean over readers",
    "d_prime_pooled": "d′, answers pooled",
    "real_minus_synthetic": "Real less synthetic",
}
BY_READER = {
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "auc": "ROC AUC",
    "d_prime": "d′",
}


def progress_table(study: Study, readers: Sequence[dict[str, Any]]) -> str:
    """State, link and readers with their number of answers."""
    link = f"?tab=review&amp;study={escape(study.id)}"
    state = f"closed {study.closed_at[:16]} UTC" if study.closed_at else "open"
    head = f'<p>{escape(study.design.name)}: {state}. Link for readers: <a href="{link}">{link}</a></p>'
    rows = [
        (r["name"], f"{r['years']:g}", r["speciality"], str(r["answers"]), (r["last_answer"] or "–")[:16])
        for r in readers
    ]
    if not rows:
        return f'{head}<p class="medi-note">No reader yet.</p>'
    return head + _table(("Reader", "Years", "Speciality", "Answers", "Last (UTC)"), rows)


def results_html(results: dict[str, Any], images_of: Callable[[str], tuple[bytes, ...]]) -> str:
    """All tables of a closed study.

    Args:
        results: as `study_results` gives them.
        images_of: item id → its PNGs.
    """
    readers = results["readers"]
    parts = [f"<h3>{escape(results['study']['name'])}</h3>", f"<p>{_readers(readers)}</p>"]
    parts += [f'<p class="medi-note">{NOTE}</p>', _numbers(results)]
    if results["by_subgroup"]:
        rows = [
            (TASKS[r["task"]].label, r["measure"].capitalize(), display_name(str(r["subgroup"])), *_cells(r))
            for r in results["by_subgroup"]
        ]
        parts += ["<h4>By subgroup</h4>", _table(("Task", "Number", "Subgroup", *HEAD), rows)]
    if results["agreement"]:
        rows = [(TASKS[r["task"]].label, r["of"], r["statistic"], *_cells(r)) for r in results["agreement"]]
        parts += ["<h4>Agreement</h4>", _table(("Task", "Of", "Statistic", *HEAD), rows)]
    if "origin" in results:
        by_reader = [(r["reader"], *(_value(r[name]) for name in BY_READER)) for r in results["origin"]["by_reader"]]
        parts += ["<h4>By reader</h4>", _table(("Reader", *BY_READER.values()), by_reader)]
        for name, title in (("most", "Fooled the most readers"), ("nobody", "Fooled nobody")):
            parts += [f"<h4>{title}</h4>", _tiles(results["origin"]["fooled"][name], images_of)]
    if results.get("morphology"):
        rows = [(display_name(r["cancer_type"]), r["feature"], r["origin"], *_cells(r)) for r in results["morphology"]]
        parts += ["<h4>Morphology</h4>", _table(("Cancer type", "Feature", "Origin", *HEAD), rows)]
    if results.get("comment"):
        rows = [(r["reader"], r["tile"], r["comment"]) for r in results["comment"]]
        parts += ["<h4>Comments</h4>", _table(("Reader", "Tile", "Comment"), rows)]
    return "".join(parts)


HEAD = ("Value", "95 % interval", "n (readers, cases)")


def _readers(readers: dict[str, Any]) -> str:
    if not readers["n"]:
        return "No reader has answered."
    kinds = ", ".join(f"{n} × {escape(kind)}" for kind, n in readers["specialities"].items())
    return f"{readers['n']} readers ({kinds}), median {readers['median_years']:g} years of experience."


def _numbers(results: dict[str, Any]) -> str:
    rows = []
    for name, estimate in results.get("origin", {}).get("overall", {}).items():
        rows.append(("Real or synthetic", LABELS.get(name, name.capitalize()), *_cells(estimate)))
    for task in ("cancer_type", "center_pair"):
        if task in results:
            parts = {"all": results[task]["accuracy"]} | results[task]["by_origin"]
            rows += [(TASKS[task].label, f"Accuracy, {kind}", *_cells(e)) for kind, e in parts.items() if e["n"]]
    if "realism" in results:
        realism = results["realism"]
        parts = {f"Mean, {kind}": e for kind, e in realism["mean"].items()}
        parts[LABELS["real_minus_synthetic"]] = realism["real_minus_synthetic"]
        rows += [(TASKS["realism"].label, name, *_cells(e)) for name, e in parts.items() if e["n"]]
    for kind, part in results.get("artefacts", {}).items():
        rows.append((TASKS["artefacts"].label, f"Tiles marked, {kind}", *_cells(part["marked"])))
    return _table(("Task", "Number", *HEAD), rows) if rows else ""


def _cells(estimate: dict[str, Any]) -> tuple[str, str, str]:
    interval = f"{_number(estimate['ci_low'])} to {_number(estimate['ci_high'])}"
    n = f"{estimate['n']} ({estimate['num_readers']}, {estimate['num_cases']})"
    return _number(estimate["value"]), interval if estimate["ci_low"] is not None else "n/a", n


def _value(estimate: dict[str, Any]) -> str:
    value, interval, n = _cells(estimate)
    return f"{value} ({interval}; n = {n})"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def _tiles(rows: Sequence[dict[str, Any]], images_of: Callable[[str], tuple[bytes, ...]]) -> str:
    if not rows:
        return '<p class="medi-note">None.</p>'
    shown = ""
    for row in rows:
        words = f"{row['origin']}, {display_name(row['cancer_type'])}, {row['center']}"
        uri = data_uri(images_of(row["item"])[0])
        image = f'<img src="{uri}" alt="{escape(words)}" width="96" height="96">'
        caption = f"{escape(row['tile'])}: {escape(words)}; wrong {row['wrong']} of {row['n']}"
        shown += f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
    return f'<div class="medi-review-gallery">{shown}</div>'


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<table class="medi-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return scroll_html(table)
