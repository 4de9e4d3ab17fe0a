"""Guidance by attribute is the formula it says it is."""

import pytest
import torch

from medi_core.pipelines.guidance import GuidanceTerm, active_terms, combine, drop_columns

SHAPE = (2, 3, 4, 4)


def random_tensors(num: int) -> list[torch.Tensor]:
    return list(torch.randn(num, *SHAPE, generator=torch.Generator().manual_seed(0)))


def test_one_term_is_classifier_free_guidance():
    full, without = random_tensors(2)
    for scale in (0.0, 0.5, 1.0, 3.0):
        torch.testing.assert_close(combine(full, [without], [scale]), without + scale * (full - without))


def test_several_terms_add_up():
    full, first, second = random_tensors(3)
    expected = full + (2.0 - 1) * (full - first) + (0.5 - 1) * (full - second)
    torch.testing.assert_close(combine(full, [first, second], [2.0, 0.5]), expected)


def test_no_term_leaves_the_prediction_alone():
    (full,) = random_tensors(1)
    assert combine(full, [], []) is full


def test_a_scale_without_a_prediction_is_a_bug():
    with pytest.raises(ValueError, match="zip"):
        combine(*random_tensors(1), [], [2.0])


def test_terms_that_change_nothing_are_left_out():
    strong, neutral, empty = GuidanceTerm((0,), 2.0), GuidanceTerm((1,), 1.0), GuidanceTerm((), 3.0)
    assert active_terms([strong, neutral, empty]) == (strong,)


def test_dropping_sets_the_null_id_in_the_columns_named_and_nowhere_else():
    ids, null_ids = torch.tensor([[0, 1, 2], [1, 0, 1]]), torch.tensor([7, 8, 9])
    before = ids.clone()
    assert drop_columns(ids, (0, 2), null_ids).tolist() == [[7, 1, 9], [7, 0, 9]]
    assert drop_columns(ids, (), null_ids).tolist() == before.tolist()
    assert torch.equal(ids, before)
