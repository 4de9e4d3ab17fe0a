"""Value ↔ id, bins and support. Run: pytest tests/metadata"""

import json
from itertools import product

import pytest

from medi_core.errors import UnknownValueError
from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord
from medi_core.metadata.vocabulary import Support, Vocabulary, build_vocabulary, count, quantile_edges


def test_decoding_an_encoded_record_gives_it_back_for_every_single_value(toy_vocabulary):
    for name, values in toy_vocabulary.values.items():
        for value in values:
            record = MetadataRecord(**{name: value})
            assert toy_vocabulary.decode(toy_vocabulary.encode(record)) == record


def test_decoding_an_encoded_record_gives_it_back_for_every_combination(toy_vocabulary):
    choices = [(None, *values) for values in toy_vocabulary.values.values()]
    seen = set()
    for values in product(*choices):
        record = MetadataRecord(**dict(zip(toy_vocabulary.attributes, values, strict=True)))
        ids = toy_vocabulary.encode(record)
        assert toy_vocabulary.decode(ids) == record
        seen.add(ids)
    assert len(seen) == 3 * 4 * 3 * 6 * 6


def test_an_unset_attribute_gets_the_null_id_one_past_its_values(toy_vocabulary):
    assert toy_vocabulary.encode(MetadataRecord()) == (2, 3, 2, 5, 5)
    assert [toy_vocabulary.null_id(name) for name in toy_vocabulary.attributes] == [2, 3, 2, 5, 5]
    assert toy_vocabulary.encode(MetadataRecord(center="Rome")) == (2, 2, 2, 5, 5)


def test_unknown_center_is_named_in_the_error_with_the_nearest_known_one(toy_vocabulary):
    with pytest.raises(UnknownValueError) as caught:
        toy_vocabulary.encode(MetadataRecord(center="Pariss"))
    message = str(caught.value)
    assert "center='Pariss'" in message
    assert "did you mean 'Paris'?" in message
    assert "Lyon, Paris, Rome (3)" in message


def test_a_value_unlike_any_other_gets_no_suggestion_but_the_list(toy_vocabulary):
    with pytest.raises(UnknownValueError, match=r"known: FFPE, frozen \(2\)") as caught:
        toy_vocabulary.encode(MetadataRecord(preparation="qqq"))
    assert "did you mean" not in str(caught.value)


def test_an_attribute_without_conditioning_is_named_in_the_error(toy_vocabulary):
    with pytest.raises(UnknownValueError, match="not conditioned on 'gender'; it knows: cancer_type, center"):
        toy_vocabulary.encode(MetadataRecord(gender="female"))


@pytest.mark.parametrize("bad_id", [-1, 4])
def test_an_id_that_no_value_has_is_refused_instead_of_wrapping_around(toy_vocabulary, bad_id):
    with pytest.raises(UnknownValueError, match=f"center has no id {bad_id}; ids go from 0 to 3"):
        toy_vocabulary.decode((0, bad_id, 0, 0, 0))


def test_an_unknown_attribute_or_a_repeated_value_cannot_enter_a_vocabulary():
    with pytest.raises(UnknownValueError, match="attribute 'colour' is unknown; known: cancer_type"):
        Vocabulary(values={"colour": ("red",)})
    with pytest.raises(UnknownValueError, match="center lists a value twice"):
        Vocabulary(values={"center": ("Lyon", "Lyon")})


def test_bins_rise_with_the_number_and_an_edge_belongs_to_the_upper_bin(toy_vocabulary):
    numbers = [-1.0, 0.0, 0.49, 0.5, 0.99, 1.0, 1.7, 2.0, 99.0]
    bins = [int(toy_vocabulary.bin_of("hematoxylin", n)) for n in numbers]
    assert bins == sorted(bins)
    assert bins == [1, 1, 1, 2, 2, 3, 4, 5, 5]


def test_a_number_that_is_not_known_has_no_bin(toy_vocabulary):
    with pytest.raises(UnknownValueError, match="eosin is not known"):
        toy_vocabulary.bin_of("eosin", float("nan"))


@pytest.mark.parametrize("num_numbers", [5, 7, 100, 1003])
def test_quantile_bins_are_equally_filled(num_numbers):
    numbers = [(i * 7919 % num_numbers) / 64 for i in range(num_numbers)]  # 1/64 has six decimals, as edges do
    vocabulary = Vocabulary(values={}, bin_edges={"eosin": quantile_edges(numbers, 5)})
    bins = [vocabulary.bin_of("eosin", n) for n in numbers]
    counts = [bins.count(str(b)) for b in range(1, 6)]
    assert sum(counts) == num_numbers
    assert max(counts) - min(counts) <= 1


def test_equal_numbers_give_fewer_bins_and_no_empty_one():
    assert quantile_edges([], 5) == ()
    assert quantile_edges([3.0] * 9, 5) == ()
    assert quantile_edges([1.0] * 8 + [2.0, 2.0], 5) == (2.0,)
    assert quantile_edges([2.0], 4) == ()


def test_labels_say_the_range_of_a_bin(toy_vocabulary):
    assert toy_vocabulary.label("cancer_type", "Lung_adenocarcinoma") == "Lung adenocarcinoma"
    assert toy_vocabulary.label("eosin", "1") == "1 (below 0.40)"
    assert toy_vocabulary.label("eosin", "2") == "2 (0.40 to 0.80)"
    assert toy_vocabulary.label("eosin", "5") == "5 (1.20 and above)"


def test_a_binned_attribute_without_numbers_still_has_a_label():
    vocabulary = build_vocabulary([{"age": None}, {"age": None}], ["age"], ["P1", "P2"])
    assert vocabulary.values["age"] == ("1",)
    assert vocabulary.label("age", "1") == "1"


@pytest.mark.parametrize(
    ("support", "status"),
    [
        (Support(0, 0), "never seen"),
        (Support(243, 0), "rare"),
        (Support(500, 2), "rare"),
        (Support(3, 3), "seen"),
    ],
)
def test_support_below_three_patients_is_rare_and_without_tiles_never_seen(support, status):
    assert support.status == status
    assert support.describe().startswith(status)


def test_support_is_described_with_its_counts():
    assert Support(1, 1).describe() == "rare (1 tile, 1 patient)"
    assert Support(40, 12).describe() == "seen (40 tiles, 12 patients)"
    assert Support(243, 0).describe() == "rare (243 tiles, patients not recorded)"
    assert Support().describe() == "never seen"


def test_support_of_a_record_is_that_of_its_pair_or_of_the_value_that_is_set(toy_vocabulary):
    lung, breast = "Lung_adenocarcinoma", "Breast_invasive_carcinoma"
    status = {
        (lung, "Rome"): "seen",
        (lung, "Lyon"): "rare",
        (lung, "Paris"): "never seen",
    }
    for (cancer_type, center), expected in status.items():
        record = MetadataRecord(cancer_type=cancer_type, center=center)
        assert toy_vocabulary.support_of(record).status == expected
    assert toy_vocabulary.support_of(MetadataRecord(cancer_type=breast)) == Support(60, 9)
    assert toy_vocabulary.support_of(MetadataRecord(center="Rome")) == Support(12, 4)
    assert toy_vocabulary.support_of(MetadataRecord()) == Support(74, 13)  # a patient of both types counts once


def test_an_unconditioned_record_is_not_never_seen_where_cancer_type_is_no_attribute():
    vocabulary = build_vocabulary([{"gender": "female"}, {"gender": "male"}], ["gender"], ["P1", "P2"])
    assert vocabulary.support_of(MetadataRecord()) == Support(2, 2)
    assert Vocabulary(values={}).support_of(MetadataRecord()) == Support()


def test_a_vocabulary_survives_json(toy_vocabulary):
    plain = json.loads(json.dumps(toy_vocabulary.to_dict()))
    assert Vocabulary.from_dict(plain) == toy_vocabulary


def rows_of_three_patients() -> tuple[list[dict], list[str | None]]:
    """Six tiles; the last has neither center nor a patient."""
    rows = [
        {"cancer_type": cancer_type, "center": center, "eosin": 0.1 * i, "preparation": "FFPE"}
        for i, (cancer_type, center) in enumerate(
            [("A", "Lyon"), ("A", "Lyon"), ("A", "Rome"), ("B", "Rome"), ("B", "Rome"), ("B", None)]
        )
    ]
    return rows, ["P1", "P1", "P2", "P2", "P3", None]


def test_support_counts_tiles_and_distinct_patients_of_the_rows():
    rows, patients = rows_of_three_patients()
    vocabulary = build_vocabulary(rows, ["cancer_type", "center", "preparation", "eosin"], patients)
    assert vocabulary.support["cancer_type"] == {"A": Support(3, 2), "B": Support(3, 2)}
    assert vocabulary.support["center"] == {"Lyon": Support(2, 1), "Rome": Support(3, 2)}
    assert vocabulary.support["preparation"] == {"FFPE": Support(6, 3)}
    assert vocabulary.pair_support == {
        "A @ Lyon": Support(2, 1),
        "A @ Rome": Support(1, 1),
        "B @ Rome": Support(2, 2),
    }
    assert sum(s.num_tiles for s in vocabulary.support["eosin"].values()) == 6


def test_a_built_vocabulary_keeps_the_order_of_attributes_and_sorts_values():
    rows, patients = rows_of_three_patients()
    vocabulary = build_vocabulary(rows, ["center", "eosin", "cancer_type"], patients)
    assert vocabulary.attributes == ("center", "eosin", "cancer_type")
    assert vocabulary.values["center"] == ("Lyon", "Rome")
    assert vocabulary.values["eosin"] == tuple("12345")[: ATTRIBUTE["eosin"].num_bins]


def test_a_vocabulary_does_not_depend_on_the_order_of_the_rows():
    rows, patients = rows_of_three_patients()
    attributes = ["cancer_type", "center", "eosin"]
    assert build_vocabulary(rows, attributes, patients) == build_vocabulary(rows[::-1], attributes, patients[::-1])


def test_the_total_counts_a_patient_of_two_cancer_types_once():
    rows = [
        {"cancer_type": "A", "center": "x"},
        {"cancer_type": "B", "center": "x"},
        {"cancer_type": "B", "center": None},
    ]
    vocabulary = build_vocabulary(rows, ["cancer_type", "center"], ["p1", "p1", None])
    assert vocabulary.total == Support(3, 1)
    assert Vocabulary.from_dict(vocabulary.to_dict()).total == Support(3, 1)


def test_the_support_of_a_record_is_that_of_its_weakest_part(toy_vocabulary):
    pair = {"cancer_type": "Breast_invasive_carcinoma", "center": "Lyon"}
    assert toy_vocabulary.support_of(MetadataRecord(**pair)) == Support(40, 6)
    assert toy_vocabulary.support_of(MetadataRecord(**pair, preparation="frozen")) == Support(4, 1)
    assert toy_vocabulary.support_of(MetadataRecord(preparation="frozen")).status == "rare"


def test_large_numbers_are_counted_with_separators():
    assert [count(n, "tile") for n in (0, 1, 999, 6940)] == ["0 tiles", "1 tile", "999 tiles", "6,940 tiles"]
