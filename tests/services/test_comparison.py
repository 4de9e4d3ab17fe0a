"""The counterfactual grid and the way between two conditions. Run: pytest tests/services"""

from dataclasses import replace

import numpy as np
import pytest

from medi_core.checkpoints import Checkpoint
from medi_core.errors import InvalidRequestError, UnknownValueError
from medi_core.metadata.schema import MetadataRecord
from medi_core.services.comparison import MAX_CELLS, ComparisonRequest, ComparisonService, comparison_of
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest

BREAST, LUNG = "Breast_invasive_carcinoma", "Lung_adenocarcinoma"
HELD = MetadataRecord(preparation="FFPE", eosin="2")
CENTERS, TYPES = ("Lyon", "Paris", "Rome"), (LUNG, BREAST)


def base(*seeds: int, record: MetadataRecord = HELD, **changes) -> GenerationRequest:
    return GenerationRequest(record, seeds or (5,), num_inference_steps=2, side_px=(32, 32), **changes)


@pytest.fixture
def generation(tiny_pipeline, tmp_path) -> GenerationService:
    return GenerationService(Checkpoint("tiny", "0123456789ab", tmp_path, tiny_pipeline), batch_size=4)


@pytest.fixture
def service(generation) -> ComparisonService:
    return ComparisonService(generation)


@pytest.fixture
def reports(service):
    """Of a grid of three centers × two cancer types, two seeds."""
    return list(service.stream(ComparisonRequest(base(5, 9), "center", CENTERS, "cancer_type", TYPES)))


def test_the_whole_grid_is_that_of_the_last_report(service, reports):
    told = []
    grid = service.compare(ComparisonRequest(base(5, 9), "center", CENTERS, "cancer_type", TYPES), told.append)
    assert grid == reports[-1][1]
    assert [report.done for report in told] == [report.done for report, _ in reports]


def test_the_first_attribute_that_is_varied_goes_across_and_the_second_down():
    assert comparison_of(base(), {"center": ["Rome"]}) == ComparisonRequest(base(), "center", ("Rome",))
    both = comparison_of(base(), {"center": ["Rome", "Lyon"], "cancer_type": [LUNG]})
    assert both == ComparisonRequest(base(), "center", ("Rome", "Lyon"), "cancer_type", (LUNG,))


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({}, "vary = none: name one attribute, or two"),
        ({"center": ["Rome"], "cancer_type": [LUNG], "age": ["1"]}, "vary = center, cancer_type, age: name one"),
        ({"eosin": ["1", "2"]}, "eosin is held at one value and varied, too"),
        ({"center": []}, "choose at least one value"),
        ({"smell": ["strong"]}, "attribute 'smell' is unknown"),
    ],
)
def test_what_cannot_be_varied_is_said(vary, message):
    with pytest.raises(InvalidRequestError, match=message):
        comparison_of(base(), vary)


def test_rows_and_columns_are_in_the_order_asked_for(reports):
    grid = reports[-1][1]
    assert [[(cell.record.cancer_type, cell.record.center) for cell in row] for row in grid] == [
        [(cancer_type, center) for center in CENTERS] for cancer_type in TYPES
    ]


def test_each_cell_has_the_same_seeds_and_only_the_named_attributes_differ(reports):
    for cell in (cell for row in reports[-1][1] for cell in row):
        assert [tile.seed for tile in cell.tiles] == [5, 9]
        assert {tile.record for tile in cell.tiles} == {cell.record}
        assert replace(cell.record, center=None, cancer_type=None) == HELD


def test_each_cell_holds_what_its_condition_gives_alone(reports, generation):
    for cell in reports[-1][1][1]:
        alone = generation.generate(base(5, 9, record=cell.record))
        for tile, expected in zip(cell.tiles, alone, strict=True):
            assert np.array_equal(tile.image, expected.image)
            assert tile.id == expected.id
    first, second = (cell.tiles[0].image for cell in reports[-1][1][1][:2])
    assert not np.array_equal(first, second)


def test_the_support_of_each_cell_is_the_vocabularys(reports, toy_vocabulary):
    cells = [cell for row in reports[-1][1] for cell in row]
    assert [cell.support for cell in cells] == [toy_vocabulary.support_of(cell.record) for cell in cells]
    assert {cell.support.status for cell in cells} == {"seen", "rare", "never seen"}


def test_progress_grows_to_the_total_of_the_whole_grid(reports):
    done = [progress.done for progress, _ in reports]
    assert done == sorted(done)
    assert done[0] == 1
    assert {progress.total for progress, _ in reports} == {done[-1]} == {6 * 2}


def test_without_rows_there_is_one(service):
    *_, (_, grid) = service.stream(ComparisonRequest(base(), "eosin", ("1", "5")))
    assert [[cell.record.eosin for cell in row] for row in grid] == [["1", "5"]]
    assert {cell.record.preparation for cell in grid[0]} == {"FFPE"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("smell", ("lemon",)), "'smell' is unknown; known: cancer_type, center"),
        (("center", CENTERS, "smell", ("lemon",)), "'smell' is unknown"),
        (("center", CENTERS, "center", CENTERS), "both sweep center; choose two"),
        (("center", ()), "at least one value"),
        (("center", CENTERS, "cancer_type", ()), "at least one value"),
        (("center", CENTERS, None, TYPES), "no attribute; choose one"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(InvalidRequestError, match=message):
        ComparisonRequest(base(), *arguments)


def test_a_grid_that_is_too_large_is_refused_with_its_size():
    ComparisonRequest(base(*range(4)), "center", CENTERS, "eosin", ("1", "2", "3", "4"))
    with pytest.raises(InvalidRequestError, match=f"60 tiles; at most {MAX_CELLS}"):
        ComparisonRequest(base(*range(4)), "center", CENTERS, "eosin", ("1", "2", "3", "4", "5"))


@pytest.mark.parametrize(
    ("attribute", "values", "message"),
    [
        ("center", ("Lyon", "Pariss"), "did you mean 'Paris'"),
        ("scanner", ("Aperio AT2",), "not conditioned on 'scanner'"),
    ],
)
def test_an_unknown_value_in_the_last_cell_is_refused_before_the_first_is_made(service, attribute, values, message):
    with pytest.raises(UnknownValueError, match=message):
        next(service.stream(ComparisonRequest(base(), attribute, values)))


def test_closing_a_grid_early_leaves_the_service_usable(service, generation):
    reports = service.stream(ComparisonRequest(base(), "center", CENTERS))
    next(reports)
    reports.close()
    assert len(generation.generate(base())) == 1


# ------------------------------------------------------------------ interpolation

START, END = MetadataRecord(BREAST, "Lyon", eosin="1"), MetadataRecord(LUNG, "Rome")


@pytest.mark.parametrize("guide", [(), (("center", 3.0),)])
def test_an_interpolation_begins_and_ends_with_the_plain_tiles_of_its_ends(service, generation, guide):
    tiles = service.interpolate(base(3, record=START, attribute_guidance=guide), END, [0, 0.5, 1])
    for tile, record in ((tiles[0], START), (tiles[-1], END)):
        plain = generation.generate(base(3, record=record, attribute_guidance=guide))[0]
        assert np.array_equal(tile.image, plain.image)
    assert not any(np.array_equal(tiles[1].image, end.image) for end in (tiles[0], tiles[-1]))


def test_an_interpolation_takes_the_first_seed_and_reports_each_tile(service):
    seen = []
    tiles = service.interpolate(base(3, 4, record=START), END, [0, 0.2, 0.9], lambda *counts: seen.append(counts))
    assert [(tile.seed, tile.other_weight) for tile in tiles] == [(3, 0), (3, 0.2), (3, 0.9)]
    assert {(tile.record, tile.other_record) for tile in tiles} == {(START, END)}
    assert len({tile.id for tile in tiles}) == 3
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("end", "weights", "message"),
    [
        (END, [0, 0.5, 1.5], "interpolation = 1.5"),
        (MetadataRecord(center="Room"), [0, 0.5, 1], "did you mean 'Rome'"),
    ],
)
def test_a_wrong_weight_or_end_is_refused_before_the_first_tile(service, end, weights, message):
    seen = []
    with pytest.raises((InvalidRequestError, UnknownValueError), match=message):
        service.interpolate(base(record=START), end, weights, lambda *_: seen.append(1))
    assert seen == []
