"""The words of the field in plain language, shown where they are read: on hover, focus or touch. Knows no tab."""

from html import escape

GLOSSARY = {
    "tile": "A small square cut out of a digitised tissue section.",
    "center": (
        "The hospital or laboratory that the tissue came from; TCGA calls it tissue source site (TSS). Each cuts, "
        "stains and scans in its own way, and a classifier may learn that way instead of the disease."
    ),
    "TSS": "Tissue source site: the two characters in a TCGA barcode that name the center the tissue came from.",
    "preparation": (
        "How the tissue was kept. FFPE: fixed in formalin and embedded in paraffin. Frozen: cut at once, with holes "
        "and less sharp nuclei."
    ),
    "stain": (
        "H&E: hematoxylin colours nuclei blue-violet, eosin colours the rest pink. Its strength is measured on the "
        "pixels."
    ),
    "guidance": (
        "How hard the model is pushed towards what you chose. 1: as in the training tiles. More: clearer, less varied."
    ),
    "seed": "The number that the starting noise is drawn from. The same seed with the same settings is the same tile.",
    "denoising steps": "A tile is made by taking noise away in so many steps. More steps are finer and take longer.",
    "checkpoint": "A trained model as it is stored: its weights, and the cancer types and centers that it knows.",
    "support": (
        "How many training tiles and patients stand behind a choice: ● seen, ◐ rare (fewer than 3 known patients), "
        "○ never seen together."
    ),
    "trust": (
        "How often a probe finds in synthetic tiles what was asked for, next to how often it does in real ones. "
        "1: as often. 0: never."
    ),
    "probe": "A simple classifier, trained on features of real tiles, that is asked what can be seen in a tile.",
    "features": "Numbers by which an image network describes a tile. Tiles with like numbers look alike to it.",
    "robustness index": (
        "Whether the tiles most like a tile share its cancer type rather than its center. 1: always the cancer type. "
        "0: always the center."
    ),
    "KID": (
        "Kernel inception distance: how far two sets of tiles are apart in their features. 0: they cannot be told "
        "apart. Read it beside the value of real tiles of other patients."
    ),
    "held-out": "Of patients whose tiles were not used in training.",
    "interval": ("How sure a number is: draw the patients again and again, and in 95 of 100 draws it lies in here."),
    "subgroup": "Tiles that share a value, such as a center, or several, such as a cancer type at a center.",
    "worst group": (
        "The subgroup in which a classifier is right least often, of those with enough tiles and patients. "
        "A good average can hide a bad one."
    ),
    "recall": "The share of tiles of a class that the classifier recognises as that class.",
    "balanced accuracy": "The mean recall of all classes: a rare class counts as much as a frequent one.",
    "shift": "What differs between the tiles for training and those for testing, for example their centers.",
    "arm": "One way of training in an experiment, for example with synthetic tiles or without.",
    "shortcut": "Something easy, such as a center's stain, by which a classifier guesses without seeing the disease.",
    "counterfactual": "The same starting noise under other metadata: this tile as it would look from another center.",
    "cohort": "The tiles of one study, with what is known of their patients.",
}
"""Term → what it means, in a sentence or two."""


def term(name: str, word: str | None = None) -> str:
    """HTML of a word that explains itself.

    Args:
        name: a key of `GLOSSARY`.
        word: as it stands in the sentence, if that is not the name.

    Raises:
        KeyError: the glossary does not have it.
    """
    if name not in GLOSSARY:
        raise KeyError(name)
    return f'<button type="button" class="medi-term" aria-describedby="{_id(name)}">{escape(word or name)}</button>'


def definitions_html() -> str:
    """All definitions, hidden, each with the id that `term` points to: glossary.js and screen readers take them."""
    found = "".join(f'<span id="{_id(name)}">{escape(text)}</span>' for name, text in GLOSSARY.items())
    return f"<div hidden>{found}</div>"


def glossary_html() -> str:
    """All of them, to read."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in sorted(GLOSSARY.items()))
    return f'<dl class="medi-glossary">{rows}</dl>'


def _id(name: str) -> str:
    return "term-" + name.replace(" ", "-")
