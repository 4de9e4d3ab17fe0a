"""What the classifier sees in a tile: its verdict beside what was asked, and its own accuracy beside the verdict."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from medi_core.data.tile_files import png_text
from medi_core.errors import CheckpointError
from medi_core.figures.saliency import saliency_overlay, scale_css
from medi_core.metadata.schema import display_name
from medi_core.services.classification import ClassificationService, Verdict
from medi_core.services.generated_tile import GeneratedTile

NUM_SHOWN = 3
PLAIN, SEEN, ASKED = "the tile", "evidence for what is seen", "evidence for what was asked"
VIEWS = (PLAIN, SEEN, ASKED)
CAVEAT = (
    "Where the classifier finds its evidence (HiResCAM), none to most. It explains the classifier, not the disease."
)


def verdict_html(
    service: ClassificationService, image: np.ndarray, given: str | None, word: str = "asked", note: str = ""
) -> str:
    """The three most likely classes of a tile, or why there is no verdict.

    Args:
        image: uint8 `(H, W, 3)`.
        given: cancer type that was asked for or recorded, if any.
        word: which of the two: asked, recorded.
        note: what else a reader must know of this verdict.
    """
    try:
        (verdict,) = service.verdicts([image])
        recalls = service.measured.get("test", {}).get("recall", {})
    except CheckpointError as error:
        return f'<p class="medi-note">No verdict of the classifier: {escape(str(error))}</p>'
    rows = "".join(
        f'<tr><th scope="row">{escape(display_name(label))}</th><td>{probability:.0%}</td>'
        f"<td>{escape(recall_text(recalls.get(label)))}</td></tr>"
        for label, probability in verdict.ranked(NUM_SHOWN)
    )
    titles = ("Classifier sees", "Probability", "Its recall of this class, held-out patients")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return (
        f"{_agreement(verdict, given, word)}"
        f'<table class="medi-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="medi-note">{_tumor(verdict)}{escape(note)}Calibrated probabilities of {escape(verdict.model)}; '
        "research only, not a diagnosis.</p>"
    )


def recall_text(facts: Mapping[str, Any] | None) -> str:
    """`0.83 [0.71, 0.92], 251 tiles of 30 patients`, or that it is not known."""
    if not facts or facts["value"] is None:
        return "not known: no held-out tile"
    interval = "no interval" if facts["ci_low"] is None else f"[{facts['ci_low']:.2f}, {facts['ci_high']:.2f}]"
    tiles = "1 tile" if facts["n"] == 1 else f"{facts['n']:,} tiles"
    patients = "1 patient" if facts["n_patients"] == 1 else f"{facts['n_patients']:,} patients"
    return f"{facts['value']:.2f} {interval}, {tiles} of {patients}"


def tile_image(service: ClassificationService, tile: GeneratedTile, view: str) -> Image.Image:
    """The tile as it is, or under the evidence for a class; the PNG says what it is.

    Args:
        view: one of `VIEWS`.

    Raises:
        CheckpointError: there is no classifier, or it cannot be used.
        InvalidRequestError: the classifier does not know what was asked, or nothing was.
    """
    facts = tile.provenance()
    pixels = tile.image
    if view != PLAIN:
        asked = tile.record.cancer_type or "any"
        label = asked if view == ASKED else service.verdicts([tile.image])[0].top
        pixels = saliency_overlay(tile.image, service.saliency(tile.image, label))
        facts |= {"overlay": f"HiResCAM of {service.model_id} for {label}"}
    image = Image.fromarray(pixels)
    image.info.update(png_text(facts))  # Gradio writes `info` into the PNG
    return image


def caveat_html() -> str:
    """The colour scale of the overlay, and what it does not say."""
    bar = f'<span aria-hidden="true" class="medi-scale" style="background: {scale_css()}"></span>'
    return f'<p class="medi-note">{bar} {CAVEAT}</p>'


def _agreement(verdict: Verdict, given: str | None, word: str) -> str:
    seen = f"classifier sees: {escape(display_name(verdict.top))}"
    if given is None:
        return f"<p><b>{seen[0].upper()}{seen[1:]}</b></p>"
    style = "medi-ok" if given == verdict.top else "medi-off"
    unknown = "" if given in verdict.probabilities else " (a class it does not know)"
    return (
        f"<p><b>{word.capitalize()}: {escape(display_name(given))}{unknown} · "
        f'<span class="{style}">{seen}</span></b></p>'
    )


def _tumor(verdict: Verdict) -> str:
    return "" if verdict.tumor is None else f"Tumor, one minus the benign classes: {verdict.tumor:.0%}. "
