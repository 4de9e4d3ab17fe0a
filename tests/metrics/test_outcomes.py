"""Labels become codes; a part of them is as if it were all there is."""

import numpy as np
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.metrics.outcomes import build_outcomes


def test_labels_become_places_in_the_classes_and_patients_numbers():
    outcomes = build_outcomes(["b", "a", "b"], ["a", "a", "b"], ["P", "Q", "P"], ["b", "a"])
    assert outcomes.classes == ("b", "a")
    assert outcomes.true.tolist() == [0, 1, 0]
    assert outcomes.predicted.tolist() == [1, 1, 0]
    assert outcomes.patients.tolist() == [0, 1, 0]
    assert (len(outcomes), outcomes.num_patients, outcomes.is_one_tile_a_patient) == (3, 2, False)
    assert build_outcomes(["b"], ["a"], [1]).classes == ("a", "b")


def test_a_part_keeps_its_classes_and_counts_its_own_patients():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    outcomes = build_outcomes(["a", "b", "b"], ["a", "b", "b"], ["P", "Q", "R"], ["a", "b"], probabilities)
    for rows in (np.array([False, True, True]), np.array([1, 2])):
        part = outcomes.part(rows)
        assert part.patients.tolist() == [0, 1]
        assert (part.num_patients, part.true_classes.tolist(), part.classes) == (2, [1], ("a", "b"))
        assert np.array_equal(part.probabilities, probabilities[1:])
    assert (len(outcomes.part(np.array([], int))), outcomes.part(np.array([], int)).num_patients) == (0, 0)


def test_labels_patients_and_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InvalidRequestError, match="labels c are none of the classes a, b"):
        build_outcomes(["a", "c"], ["a", "a"], [1, 2], ["a", "b"])
    with pytest.raises(InvalidRequestError, match="1 of 2 tiles have no patient"):
        build_outcomes(["a", "b"], ["a", "a"], [1, None])
    with pytest.raises(InvalidRequestError, match=r"probabilities are \(2, 3\): \(2, 2\) is needed"):
        build_outcomes(["a", "b"], ["a", "a"], [1, 2], ["a", "b"], np.ones((2, 3)))
