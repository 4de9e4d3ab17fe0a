"""The attributes and the record. Run: pytest tests/metadata"""

from dataclasses import fields

import pytest

from medi_core.metadata.schema import ATTRIBUTE, ATTRIBUTES, MetadataRecord, display_name


def test_record_has_one_field_for_each_attribute_in_the_same_order():
    assert [f.name for f in fields(MetadataRecord)] == [a.name for a in ATTRIBUTES]


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda a: a.name)
def test_binned_attributes_have_bins_and_bounds_and_categorical_ones_have_neither(attribute):
    is_binned = attribute.kind == "binned"
    assert (attribute.num_bins >= 2) == is_binned
    assert (attribute.bounds is not None) == is_binned
    assert bool(attribute.unit) == is_binned
    assert attribute.label
    assert attribute.description


def test_every_attribute_is_found_by_its_name():
    assert all(ATTRIBUTE[attribute.name] is attribute for attribute in ATTRIBUTES)


def test_to_dict_holds_only_what_is_set():
    assert MetadataRecord().to_dict() == {}
    assert MetadataRecord(center="Lyon", eosin="3").to_dict() == {"center": "Lyon", "eosin": "3"}


def test_records_of_equal_values_are_equal_and_hashable():
    assert len({MetadataRecord(center="Lyon"), MetadataRecord(center="Lyon"), MetadataRecord()}) == 2


def test_display_name_has_spaces_for_underscores():
    assert display_name("Breast_invasive_carcinoma") == "Breast invasive carcinoma"
