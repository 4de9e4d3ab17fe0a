"""Examples that open by link: states of the tabs worth a look, made from what the checkpoint knows."""

from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from medi_core.metadata.schema import display_name
from medi_core.metadata.vocabulary import Vocabulary, pair_key

NUM_ACROSS = 4
"""Centers beside each other."""
SEED = 2026


@dataclass(frozen=True)
class Example:
    """One link."""

    title: str
    query: dict[str, str | int]
    """What `ui/links.py` restores, with the tab."""


def examples(vocabulary: Vocabulary, has_instant: bool = False) -> list[Example]:
    """Those that this checkpoint can show; none where it knows no pairs of cancer type and center.

    Args:
        has_instant: whether there are instant tiles.
    """
    if not {"cancer_type", "center"} <= set(vocabulary.attributes) or not vocabulary.pair_support:
        return []
    cancer_type, center = vocabulary.pairs_by_support()[0]
    pair = {"cancer_type": cancer_type, "center": center}
    found = [_tiles(f"Seen often: {_words(pair)}", pair)]
    if unseen := _never_seen(vocabulary):
        found.append(_tiles(f"Never seen together: {_words(unseen)}", unseen))
    widest = max(vocabulary.values["cancer_type"], key=lambda name: len(_centers_of(vocabulary, name)))
    centers = _centers_of(vocabulary, widest)[:NUM_ACROSS]
    if has_instant and len(centers) > 1:
        found.insert(0, _blend(widest, *centers[:2]))
    if len(centers) > 1:
        title = f"{display_name(widest)} as from {len(centers)} centers"
        found.append(_sweep(title, "center", centers, {"held_cancer_type": widest}))
    if "eosin" in vocabulary.bin_edges:
        held = {f"held_{name}": value for name, value in pair.items()}
        found.append(_sweep("From the palest eosin to the strongest", "eosin", list(vocabulary.values["eosin"]), held))
    found.append(Example("A plan that lifts small groups", {"tab": "augment", "target": "lift", "quantile": 0.5}))
    return found


def examples_html(vocabulary: Vocabulary, has_instant: bool = False) -> str:
    """The links; "" where there are none."""
    links = "".join(
        f'<li><a href="?{escape(urlencode(example.query))}">{escape(example.title)}</a></li>'
        for example in examples(vocabulary, has_instant)
    )
    return f'<div class="medi-note" id="examples">Examples to start from:<ul>{links}</ul></div>' if links else ""


def _tiles(title: str, pair: dict[str, str]) -> Example:
    return Example(title, {"tab": "generate", **pair, "num_tiles": 4, "seed": SEED})


def _blend(cancer_type: str, center: str, towards: str) -> Example:
    title = f"Instant, halfway between two centers: {display_name(cancer_type)} from {center} to {towards}"
    pair = {"cancer_type": cancer_type, "center": center}
    blend = {"instant": "true", "blend_towards": towards, "blend": 0.5}
    return Example(title, {"tab": "generate", **pair, **blend, "num_tiles": 4, "seed": SEED})


def _sweep(title: str, attribute: str, values: list[str], held: dict[str, str]) -> Example:
    across = {"column_attribute": attribute, "column_values": "|".join(values), "row_attribute": "none"}
    return Example(title, {"tab": "compare", **across, **held, "seed": SEED, "num_seeds": 1})


def _words(pair: dict[str, str]) -> str:
    return f"{display_name(pair['cancer_type'])} at {pair['center']}"


def _by_patients(vocabulary: Vocabulary, attribute: str) -> list[str]:
    support = vocabulary.support.get(attribute, {})
    known = [value for value in support if value in vocabulary.values[attribute]]
    return sorted(known, key=lambda value: -support[value].num_patients)


def _centers_of(vocabulary: Vocabulary, cancer_type: str) -> list[str]:
    """Where it was seen, most patients first."""
    return [name for name in _by_patients(vocabulary, "center") if _is_seen(vocabulary, cancer_type, name)]


def _is_seen(vocabulary: Vocabulary, cancer_type: str, center: str) -> bool:
    return pair_key(cancer_type, center) in vocabulary.pair_support


def _never_seen(vocabulary: Vocabulary) -> dict[str, str] | None:
    """The cancer type and the center with most patients of those that never came together."""
    for cancer_type in _by_patients(vocabulary, "cancer_type"):
        for center in _by_patients(vocabulary, "center"):
            if not _is_seen(vocabulary, cancer_type, center):
                return {"cancer_type": cancer_type, "center": center}
    return None
