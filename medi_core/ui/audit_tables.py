"""What the audit view says in words and tables: overall, the ranking, and what is behind a cell. HTML."""

from collections.abc import Callable
from html import escape

import numpy as np
import pandas as pd

from medi_core.data.predictions import PredictionSet
from medi_core.data.tile_files import encode_image
from medi_core.figures.labels import interval_text, title_of
from medi_core.metadata.schema import display_name
from medi_core.metadata.vocabulary import count
from medi_core.services.audit import Audit, Cell
from medi_core.ui.handlers import data_uri
from medi_core.ui.tables import scroll_html

MEASURES = {
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "f1": "F1, mean over classes",
    "auc": "AUC, each class against the rest",
    "ece": "Calibration error (ECE)",
}
NO_IMAGE = "Images are not part of this app: <code>python app.py --tiles manifest.csv</code> shows those that you have."
CHOSEN_NOTE = "The two subgroups farthest apart were found by looking, so a difference is too large on average."
NUM_TILES = 12
"""Of a cell, shown one by one."""
CONFUSIONS = 8
"""Kinds of confusion shown of a cell."""


def minimum_text(audit: Audit) -> str:
    """What a subgroup that is not ranked lacks."""
    return f"fewer than {audit.config.min_tiles} tiles or {audit.config.min_patients} patients"


def measure_title(audit: Audit) -> str:
    """What the values of the subgroups are: `Recall`, `Balanced accuracy`, or `Recall or balanced accuracy`."""
    measured = audit.subgroups.loc[audit.subgroups["value"].notna(), "measure"].unique()
    names = sorted((measure_label(name) for name in measured), reverse=True) or [measure_label(audit.config.measure)]
    return " or ".join([names[0], *(name.lower() for name in names[1:])])


def measure_label(measure: str) -> str:
    """A measure, or the recall that it is in a subgroup of one class, for people."""
    return MEASURES.get(measure, display_name(measure).capitalize())


def overall_html(predictions: PredictionSet, audit: Audit) -> str:
    """The measure of all tiles, the worst subgroup, and how far subgroups are apart."""
    resampling = audit.config.resampling
    lines = [
        f"<b>{escape(predictions.model)}</b>: {_measured(audit.overall)}. "
        f"<span class='medi-note'>{resampling.level:.0%} interval, patients resampled {resampling.num:,} times, seed "
        f"{resampling.seed}; the fewer patients, the more it is too narrow.</span>"
    ]
    ranked = audit.subgroups[audit.subgroups["is_ranked"]]
    if ranked.empty:
        lines.append(f"No subgroup is large enough to be ranked: each has {minimum_text(audit)}, or no value.")
    else:
        lines.append(f"<b>Worst of {len(ranked)}:</b> {_name(ranked.iloc[0])}. {_measured(ranked.iloc[0])}.")
    if ranked["measure"].nunique() > 1:
        lines.append(f"Recalls of one class stand beside values of {display_name(audit.config.measure)}.")
    lines += _differences(audit)
    if audit.num_left_out:
        what = " or ".join(title_of(name).lower() for name in audit.by)
        lines.append(f"{count(audit.num_left_out, 'tile')} in no subgroup: {what} not recorded.")
    return "".join(f"<p>{line}</p>" for line in lines)


def _differences(audit: Audit) -> list[str]:
    """The gap and equalized odds, or why there are none."""
    lines = []
    if audit.gap is None:
        lines.append("Gap: none, for fewer than two subgroups are ranked.")
    over = "" if audit.odds_by == audit.by else f" over {' × '.join(title_of(name).lower() for name in audit.odds_by)}"
    for title, gap in (("Gap", audit.gap), (f"Equalized-odds difference{over}", audit.equalized_odds)):
        if gap is not None:
            between = f"{display_name(gap.lowest)} and {display_name(gap.highest)}"
            value = interval_text(gap.value, gap.ci_low, gap.ci_high)
            of = MEASURES.get(gap.of, display_name(gap.of))
            lines.append(f"<b>{title}:</b> {value} in {escape(of)}, between {escape(between)}.")
    if not audit.odds_by:
        lines.append("Equalized-odds difference: none, for the subgroups are the true classes themselves.")
    if audit.gap is not None or audit.equalized_odds is not None:
        lines.append(f"<span class='medi-note'>{CHOSEN_NOTE}</span>")
    return lines


def ranking_html(audit: Audit) -> str:
    """All subgroups, worst first; those that are too small are marked and come last."""
    rows = ""
    for place, (_, row) in enumerate(audit.subgroups.iterrows(), start=1):
        value = interval_text(row["value"], row["ci_low"], row["ci_high"])
        rank = str(place) if row["is_ranked"] else "not ranked"
        cells = (rank, value, display_name(row["measure"]), f"{row['n']:,}", f"{row['n_patients']:,}", row["interval"])
        rows += f'<tr><th scope="row">{_name(row)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
    heads = ("Subgroup", "Rank", "Value", "Measure", "Tiles", "Patients", "Interval")
    head = "".join(f'<th scope="col">{title}</th>' for title in heads)
    note = f"<p class='medi-note'>Not ranked: {minimum_text(audit)}, or no value.</p>"
    table = f'<table class="medi-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f"<b>Subgroups, worst first</b>{scroll_html(table)}{note}"


def cell_html(cell: Cell, image_of: Callable[[pd.Series], np.ndarray | None]) -> str:
    """A subgroup's measure, its confusions, and some of its tiles.

    Args:
        image_of: row of the tiles → uint8 `(H, W, 3)`, or `None` where the image is not attached.
    """
    head = f"<h4>{_name(cell.measured)}</h4><p>{_measured(cell.measured)}; interval: {cell.measured['interval']}.</p>"
    if cell.tiles.empty:
        return head
    return head + _confusions(cell.confusions) + _tiles(cell.tiles, image_of)


def _confusions(confusions: pd.DataFrame) -> str:
    rows = ""
    for _, row in confusions.head(CONFUSIONS).iterrows():
        is_right = row["true"] == row["predicted"]
        verdict = '<span class="medi-ok">right</span>' if is_right else '<span class="medi-off">wrong</span>'
        labels = "".join(f"<td>{escape(display_name(row[name]))}</td>" for name in ("true", "predicted"))
        rows += f"<tr>{labels}<td>{verdict}</td><td>{row['n']:,}</td><td>{row['n_patients']:,}</td></tr>"
    more = len(confusions) - CONFUSIONS
    note = f'<p class="medi-note">and {more} rarer kinds</p>' if more > 0 else ""
    head = "".join(f'<th scope="col">{title}</th>' for title in ("True", "Predicted", "", "Tiles", "Patients"))
    return f'<table class="medi-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}'


def _tiles(tiles: pd.DataFrame, image_of: Callable[[pd.Series], np.ndarray | None]) -> str:
    rows, has_image = "", False
    for _, row in tiles.head(NUM_TILES).iterrows():
        image = image_of(row)
        has_image |= image is not None
        alt = f"Real tile: {display_name(row['true'])}, taken for {display_name(row['predicted'])}"
        uri = "" if image is None else data_uri(encode_image(image))
        shown = f'<img src="{uri}" alt="{escape(alt)}" width="64">' if uri else ""
        confidence = "" if np.isnan(row["confidence"]) else f" ({row['confidence']:.2f})"
        texts = (
            display_name(row["true"]),
            display_name(row["predicted"]) + confidence,
            _known(row["patient_id"]),
            str(row["id"])[:12],
        )
        rows += f"<tr><td>{shown}</td>{''.join(f'<td>{escape(text)}</td>' for text in texts)}</tr>"
    heads = ("", "True", "Predicted", "Patient", "Tile")
    head = "".join(f'<th scope="col">{title}</th>' for title in heads)
    title = f"<b>{min(len(tiles), NUM_TILES)} of {count(len(tiles), 'tile')}, wrong ones first</b>"
    missing = "" if has_image else '<p class="medi-note">' + NO_IMAGE + "</p>"
    table = f'<table class="medi-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f"{title}{scroll_html(table)}{missing}"


def _measured(row: pd.Series) -> str:
    """`Recall 0.83 [0.71, 0.90] on 120 tiles of 8 patients`."""
    value = interval_text(row["value"], row["ci_low"], row["ci_high"])
    return (
        f"{measure_label(row['measure'])} {value} on {row['n']:,} tiles of {count(int(row['n_patients']), 'patient')}"
    )


def _name(row: pd.Series) -> str:
    return escape(display_name(row["subgroup"]))


def _known(value: object) -> str:
    return "not recorded" if value is None or value != value else str(value)
