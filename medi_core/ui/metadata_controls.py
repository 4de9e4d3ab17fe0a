"""Controls made FROM the checkpoint's vocabulary: one an attribute, in its order. No tab knows attribute names."""

from dataclasses import dataclass

import gradio as gr

from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord
from medi_core.metadata.vocabulary import Support, Vocabulary

ANY = ""
"""A dropdown's value for "leave this attribute unconditioned"; a slider's is 0."""
MARKS = {"seen": "●", "rare": "◐", "never seen": "○"}
FEW_VALUES = 3
"""Up to so many values are shown as buttons, more as a dropdown."""


@dataclass(frozen=True)
class MetadataControls:
    """The components, and how their values become a record."""

    vocabulary: Vocabulary
    components: tuple[gr.components.FormComponent, ...]

    def record(self, values: tuple[str | int | None, ...]) -> MetadataRecord:
        """Widget values, in vocabulary order → record."""
        named = zip(self.vocabulary.attributes, values, strict=True)
        return MetadataRecord(**{name: str(value) for name, value in named if value not in (ANY, 0, None)})

    def values(self, record: MetadataRecord) -> list[str | int]:
        """Record → widget values."""
        given = record.to_dict()
        return [
            int(given.get(name, 0)) if _is_slider(name) else given.get(name, ANY) for name in self.vocabulary.attributes
        ]

    def __getitem__(self, attribute: str) -> gr.components.FormComponent:
        return self.components[self.vocabulary.attributes.index(attribute)]


def build_metadata_controls(vocabulary: Vocabulary, initial: MetadataRecord) -> MetadataControls:
    """One control an attribute; choosing a cancer type marks the centers that were seen with it."""
    components = tuple(_build_control(vocabulary, name, initial) for name in vocabulary.attributes)
    controls = MetadataControls(vocabulary, components)
    if {"cancer_type", "center"} <= set(vocabulary.attributes):
        controls["cancer_type"].change(
            lambda cancer_type: gr.Dropdown(choices=center_choices(vocabulary, cancer_type)),
            controls["cancer_type"],
            controls["center"],
            api_visibility="private",
            show_progress="hidden",
        )
    return controls


def center_choices(vocabulary: Vocabulary, cancer_type: str | None) -> list[tuple[str, str]]:
    """Centers as (label, value): seen with this cancer type first, each with its support."""
    ranked = []
    for center in vocabulary.values["center"]:
        support = vocabulary.support_of(MetadataRecord(cancer_type=cancer_type or None, center=center))
        ranked.append((-support.num_patients, -support.num_tiles, center, support))
    return [("Any center", ANY), *((f"{center}  {_mark(support)}", center) for _, _, center, support in sorted(ranked))]


def value_choices(vocabulary: Vocabulary, attribute: str) -> list[tuple[str, str]]:
    """Values of an attribute as (label, value)."""
    return [(vocabulary.label(attribute, value), value) for value in vocabulary.values[attribute]]


def support_badge(vocabulary: Vocabulary, record: MetadataRecord) -> str:
    """HTML: how much training data stood behind the chosen cancer type and center."""
    support = vocabulary.support_of(record)
    given = record.to_dict()
    if not given:
        what = "All training tiles"
    elif support == vocabulary.support_of(MetadataRecord(record.cancer_type, record.center)) and len(given) <= 2:
        what = {
            (True, True): "This cancer type at this center",
            (True, False): "This cancer type, any center",
            (False, True): "This center, any cancer type",
            (False, False): "This choice",
        }[bool(record.cancer_type), bool(record.center)]
    else:
        what = "The least supported part of this choice"
    kind = support.status.replace(" ", "-")
    return (
        f'<div class="medi-badge medi-{kind}" role="status"><b>{MARKS[support.status]} {what}:</b> '
        f"{support.describe()}{_advice(support)}</div>"
    )


def _advice(support: Support) -> str:
    if support.status == "never seen":
        return " in training. The model combines what it learned of each; treat the result as a hypothesis."
    if support.status == "rare":
        return ". Fewer than 3 known patients: center and patient cannot be told apart."
    return ""


def _build_control(vocabulary: Vocabulary, name: str, initial: MetadataRecord) -> gr.components.FormComponent:
    attribute, value = ATTRIBUTE[name], getattr(initial, name)
    label = attribute.label
    if name == "center":
        return gr.Dropdown(center_choices(vocabulary, initial.cancer_type), value=value or ANY, label=label)
    if _is_slider(name):
        return gr.Slider(
            0,
            len(vocabulary.values[name]),
            value=int(value or 0),
            step=1,
            label=label,
            info=f"0 = any, 1 = lowest of {len(vocabulary.values[name])} equal parts of the training tiles",
            buttons=[],
        )
    choices = [("Any", ANY), *value_choices(vocabulary, name)]
    if len(choices) <= FEW_VALUES + 1:
        return gr.Radio(choices, value=value or ANY, label=label)
    return gr.Dropdown(choices, value=value or ANY, label=label)


def _is_slider(name: str) -> bool:
    return ATTRIBUTE[name].kind == "binned"


def _mark(support: Support) -> str:
    if support.num_tiles == 0:
        return f"{MARKS[support.status]} never seen together"
    patients = f"{support.num_patients} pat." if support.num_patients else "patients n/k"
    return f"{MARKS[support.status]} {support.num_tiles} tiles, {patients}"
