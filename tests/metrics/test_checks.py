import numpy as np
import pytest

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metrics.checks import require_features, require_tiles
from medi_core.metrics.frechet import frechet_distance
from medi_core.metrics.kernel import kernel_distance
from medi_core.metrics.prdc import precision_recall_density_coverage

MEASURES = [frechet_distance, kernel_distance, precision_recall_density_coverage]


def features(num_tiles: int, dim: int = 4) -> np.ndarray:
    return np.random.default_rng(num_tiles).normal(size=(num_tiles, dim)).astype(np.float32)


def test_enough_finite_features_of_one_encoder_pass():
    require_features(features(3), features(7), 3, "a distance")


def test_a_list_of_numbers_is_no_matrix_of_features():
    with pytest.raises(InvalidRequestError, match=r"shape \(tiles, D\) on each side, given \(3, 4\) and \(4,\)"):
        require_features(features(3), features(3)[0], 2, "a distance")


@pytest.mark.parametrize("measure", MEASURES)
def test_features_of_different_encoders_are_refused(measure):
    with pytest.raises(InvalidRequestError, match=r"D=4 and D=5 are of different encoders: .*same one"):
        measure(features(9), features(9, dim=5))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_and_their_rows_counted(measure, value):
    first, second = features(8), features(9)
    second[2, :], second[5, 1] = value, value
    with pytest.raises(InvalidRequestError, match="0 of 8 rows of the first and 2 of 9 rows of the second"):
        measure(first, second)


def test_too_few_tiles_are_named_with_the_number_needed_and_the_remedy():
    with pytest.raises(TooFewTilesError, match="a distance needs at least 8 tiles on each side, given 3: add tiles"):
        require_features(features(9), features(3), 8, "a distance")
    with pytest.raises(TooFewTilesError, match="given 3: take a smaller k"):
        require_tiles(3, 8, "a distance", "take a smaller k")
