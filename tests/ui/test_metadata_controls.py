"""Controls are made from the vocabulary and say what stood behind each choice."""

import gradio as gr

from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary, describe
from medi_core.ui.metadata_controls import build_metadata_controls, center_choices, support_badge


def test_one_control_an_attribute_of_the_checkpoint(toy_vocabulary):
    with gr.Blocks():
        controls = build_metadata_controls(toy_vocabulary, MetadataRecord())
    labels = [component.label for component in controls.components]
    assert labels == ["Cancer type", "Center", "Preparation", "Hematoxylin", "Eosin"]


def test_an_attribute_the_interface_has_never_heard_of_gets_a_control():
    vocabulary = Vocabulary(values={"scanner": ("A", "B", "C", "D"), "race": ("x", "y")})
    with gr.Blocks():
        controls = build_metadata_controls(vocabulary, MetadataRecord())
    assert [type(c) for c in controls.components] == [gr.Dropdown, gr.Radio]


def test_values_become_a_record_and_back(toy_vocabulary):
    with gr.Blocks():
        controls = build_metadata_controls(toy_vocabulary, MetadataRecord())
    record = MetadataRecord(center="Rome", eosin="4")
    assert controls.record(tuple(controls.values(record))) == record
    assert controls.record(("", "", "", 0, 0)) == MetadataRecord()


def test_centers_seen_with_the_cancer_type_come_first_and_are_marked(toy_vocabulary):
    choices = center_choices(toy_vocabulary, "Lung_adenocarcinoma")
    assert [value for _, value in choices] == ["", "Rome", "Lyon", "Paris"]
    labels = {value: label for label, value in choices}
    assert "12 tiles, 4 pat." in labels["Rome"]
    assert labels["Lyon"].startswith("Lyon  ◐")
    assert labels["Paris"] == "Paris  ○ never seen together"


def test_the_badge_follows_the_pair_not_its_parts(toy_vocabulary):
    seen = MetadataRecord(cancer_type="Breast_invasive_carcinoma", center="Lyon")
    never = MetadataRecord(cancer_type="Lung_adenocarcinoma", center="Paris")
    assert "seen (40 tiles, 6 patients)" in support_badge(toy_vocabulary, seen)
    assert "never seen" in support_badge(toy_vocabulary, never)
    assert "hypothesis" in support_badge(toy_vocabulary, never)


def test_people_read_names_not_keys(toy_vocabulary):
    record = MetadataRecord(cancer_type="Breast_invasive_carcinoma", center="Lyon", eosin="4")
    assert describe(toy_vocabulary, record) == "Breast invasive carcinoma · Lyon · Eosin 4"
    assert describe(toy_vocabulary, MetadataRecord()) == "Unconditioned"
