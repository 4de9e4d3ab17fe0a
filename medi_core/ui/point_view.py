"""What a click on the map, or a lasso around some of it, shows: facts, neighbours and counts as HTML."""

from collections.abc import Callable
from html import escape

import numpy as np
import pandas as pd

from medi_core.data.tile_files import encode_image
from medi_core.metadata.schema import ATTRIBUTE, display_name
from medi_core.services.classification import ClassificationService
from medi_core.services.embedding import PointDetails
from medi_core.ui.handlers import data_uri
from medi_core.ui.tables import scroll_html
from medi_core.ui.verdict_view import verdict_html

LABELS = {
    "patient_id": "Patient",
    "dataset": "Data set",
    "image": "Image",
    "source": "Source",
    "licence": "Licence",
    "group": "Support of the pair",
    "origin": "Origin",
    "split": "Split",
    "slide": "Slide",
    "seed": "Seed",
}
NAMED = {*ATTRIBUTE, "origin", "group", "split"}
"""Columns of values with underscores for spaces; in all others an underscore means itself."""
TRAINED_NOTE = "The training split: the classifier may have been trained on this very tile. "
NEIGHBOUR_NOTE = "Distance in the features, not on the map."


def facts_html(details: PointDetails) -> str:
    """A table of what is known of a point's tile."""
    facts = dict(details.facts)
    place = ", ".join(f"{name} = {facts.pop(name):.0f}" for name in ("x", "y") if name in facts)
    if place and "image" in facts:
        facts["image"] = f"{facts['image']} at {place} px"
    rows = "".join(
        f'<tr><th scope="row">{escape(_label(name))}</th><td>{escape(_text(value, name in NAMED))}</td></tr>'
        for name, value in facts.items()
    )
    missing = ""
    if details.image is None:
        missing = (
            '<p class="medi-note">The image is not part of this app. Get it from its source, and start the app with '
            "<code>--tiles manifest.csv</code> or upload a zip in the tab Data to see it here.</p>"
        )
    return f'<table class="medi-table"><tbody>{rows}</tbody></table>{missing}'


def point_verdict_html(service: ClassificationService, details: PointDetails) -> str:
    """What the classifier sees in a point's tile, beside what was asked for or recorded; "" without its image."""
    if details.image is None:
        return ""
    is_real = details.facts.get("origin") in ("real", "own")
    note = TRAINED_NOTE if details.facts.get("origin") == "real" and details.facts.get("split") == "train" else ""
    word = "recorded" if is_real else "asked"
    return verdict_html(service, details.image, details.facts.get("cancer_type"), word, note)


def neighbours_html(details: PointDetails, image_of: Callable[[str], np.ndarray | None]) -> str:
    """The nearest real tiles.

    Args:
        image_of: point id → uint8 `(H, W, 3)`, or `None` where the image is not attached.
    """
    rows = ""
    for _, row in details.neighbours.iterrows():
        image = image_of(row["id"])
        alt = f"Real tile: {_text(row['cancer_type'])}, {_text(row['center'])}"
        uri = "" if image is None else data_uri(encode_image(image))
        shown = f'<img src="{uri}" alt="{escape(alt)}" width="64">' if uri else ""
        cells = [
            f"{row['distance']:.2f}",
            *(_text(row[name], name in NAMED) for name in ("cancer_type", "center", "patient_id")),
        ]
        rows += f"<tr><td>{shown}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
    titles = ("", "Distance", "Cancer type", "Center", "Patient")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    table = f'<table class="medi-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<b>Nearest real tiles</b>{scroll_html(table)}<p class="medi-note">{NEIGHBOUR_NOTE}</p>'


def counts_html(counts: pd.DataFrame, by: str) -> str:
    """A selection's counts by subgroup."""
    total = counts[["real", "synthetic"]].sum()
    body = "".join(
        f'<tr><th scope="row">{escape(_text(row["value"]))}</th><td>{row["real"]:,}</td><td>{row["synthetic"]:,}</td>'
        f"<td>{row['patients']:,}</td></tr>"
        for _, row in counts.iterrows()
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in (_label(by), "Real", "Synthetic", "Patients"))
    table = f'<table class="medi-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    title = f"<b>Selected: {total['real']:,} real and {total['synthetic']:,} synthetic tiles</b>"
    return f"{title}{scroll_html(table)}"


def _label(name: str) -> str:
    return ATTRIBUTE[name].label if name in ATTRIBUTE else LABELS.get(name, display_name(name).capitalize())


def _text(value: object, is_name: bool = True) -> str:
    """Readable; an identifier stays as it is at its source."""
    if value is None or value != value:  # NaN
        return "not recorded"
    if isinstance(value, float):
        return f"{value:.2f}" if value % 1 else f"{value:.0f}"
    return display_name(str(value)) if is_name else str(value)
