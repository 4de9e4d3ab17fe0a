"""A grown vocabulary says what the old one said, and the new values besides."""

from itertools import product

import pytest

from medi_core.errors import UnknownValueError
from medi_core.metadata.growth import grow, require_growable
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Support, Vocabulary

LUNG, BREAST = "Lung_adenocarcinoma", "Breast_invasive_carcinoma"
ROWS = [
    {"cancer_type": LUNG, "center": "Turin", "preparation": "FFPE"},
    {"cancer_type": LUNG, "center": "Turin", "preparation": None},
    {"cancer_type": BREAST, "center": "Bern", "preparation": "FFPE"},
]
PATIENTS = ["A", "B", None]


def test_every_old_combination_keeps_its_ids_and_an_unset_attribute_stays_unset(toy_vocabulary):
    grown = grow(toy_vocabulary, ROWS, PATIENTS, ("center",))
    for values in product(*[(None, *values) for values in toy_vocabulary.values.values()]):
        record = MetadataRecord(**dict(zip(toy_vocabulary.attributes, values, strict=True)))
        before, after = toy_vocabulary.encode(record), grown.encode(record)
        for name, old_id, new_id in zip(grown.attributes, before, after, strict=True):
            assert new_id == (old_id if getattr(record, name) else grown.null_id(name))
        assert grown.decode(after) == record
    assert grown.values["center"] == ("Lyon", "Paris", "Rome", "Bern", "Turin")
    assert grown.bin_edges == toy_vocabulary.bin_edges
    assert Vocabulary.from_dict(grown.to_dict()) == grown


def test_support_is_added_for_what_is_new_and_kept_for_what_nothing_was_learned_of(toy_vocabulary):
    grown = grow(toy_vocabulary, ROWS, PATIENTS, ("center",))
    assert grown.support["center"]["Turin"] == Support(2, 2)
    assert grown.pair_support[f"{LUNG} @ Turin"] == Support(2, 2)
    assert grown.support_of(MetadataRecord(BREAST, "Bern")).describe() == "rare (1 tile, patients not recorded)"
    assert grown.support_of(MetadataRecord(BREAST, "Turin")).status == "never seen"
    assert grown.support["cancer_type"] == toy_vocabulary.support["cancer_type"]
    assert toy_vocabulary.pair_support.items() <= grown.pair_support.items()
    assert grown.total == Support(77, 15)


def test_what_is_not_to_grow_is_refused_by_name(toy_vocabulary):
    strange = [*ROWS, {"cancer_type": "Uveal_melanoma", "center": "Bern", "preparation": "FFPE"}]
    with pytest.raises(UnknownValueError, match=r"does not know Uveal_melanoma; .* grow too: center,cancer_type$"):
        grow(toy_vocabulary, strange, [None] * 4, ("center",))
    assert (
        "Uveal_melanoma" in grow(toy_vocabulary, strange, [None] * 4, ("center", "cancer_type")).values["cancer_type"]
    )
    with pytest.raises(UnknownValueError, match="no training tile has a new center"):
        grow(toy_vocabulary, [{"cancer_type": LUNG, "center": "Rome"}], [None], ("center",))
    with pytest.raises(UnknownValueError, match=r"eosin, scanner cannot .*: cancer_type, center, preparation$"):
        require_growable(toy_vocabulary, ("center", "eosin", "scanner"))
