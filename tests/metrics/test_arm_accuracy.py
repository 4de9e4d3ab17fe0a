"""Point values by their definition, intervals over patients and seeds, paired differences."""

import numpy as np
import pytest

from medi_core.errors import InvalidRequestError
from medi_core.metrics.arm_accuracy import FIRST_CENTER, GAP, OVERALL, WORST, arm_accuracy, count_hits

NUM_PATIENTS, TILES_EACH = 24, 10


def predictions(chances, num_seeds: int = 1, spread: float = 0.0, seed: int = 0):
    """12 patients at each of two centers, half of each label; patients differ in difficulty by `spread`."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(NUM_PATIENTS), TILES_EACH)
    patients = np.tile(rows, num_seeds)
    seeds = np.repeat(np.arange(num_seeds), len(rows))
    own = np.clip(np.asarray(chances)[None] + rng.normal(0, spread, (NUM_PATIENTS, 1)), 0, 1)
    is_hit = rng.random((len(patients), len(chances))) < own[patients]
    return seeds, patients, patients % 2, (patients // 2) % 2, is_hit


def accuracy_of(rows, num_seeds: int = 1, **options):
    counts = count_hits(*rows, (num_seeds, NUM_PATIENTS, 2, 2))
    strata = [f"{p % 2} {(p // 2) % 2}" for p in range(NUM_PATIENTS)]
    return arm_accuracy(counts, strata, np.ones((num_seeds, 2), bool), **options)


def test_values_are_what_their_names_say():
    from sklearn.metrics import balanced_accuracy_score

    rows = predictions([0.6, 0.8])
    _, _, centers, labels, is_hit = rows
    accuracy = accuracy_of(rows)
    for arm in range(2):
        predicted = np.where(is_hit[:, arm], labels, 1 - labels)
        by_center = [balanced_accuracy_score(labels[centers == c], predicted[centers == c]) for c in (0, 1)]
        assert accuracy.value[arm, OVERALL] == pytest.approx(balanced_accuracy_score(labels, predicted))
        assert accuracy.value[arm, FIRST_CENTER:] == pytest.approx(by_center)
        assert accuracy.value[arm, WORST] == pytest.approx(min(by_center))
        assert accuracy.value[arm, GAP] == pytest.approx(max(by_center) - min(by_center), abs=1e-6)


def test_seeds_are_averaged_and_their_spread_is_in_the_interval():
    rows = predictions([0.7], num_seeds=2)
    both = accuracy_of(rows, 2)
    of_seed = [accuracy_of([(rows[0] * 0)[rows[0] == s], *(part[rows[0] == s] for part in rows[1:])]) for s in (0, 1)]
    assert both.value[0, OVERALL] == pytest.approx(np.mean([a.value[0, OVERALL] for a in of_seed]))
    seeds, patients, centers, labels, _ = rows
    apart = np.where(seeds[:, None] == 0, True, False)  # one seed knows all, one nothing
    low, high = accuracy_of((seeds, patients, centers, labels, apart), 2).interval(0, OVERALL)
    assert (low, high) == (0, 1)


def test_intervals_are_wider_where_patients_differ():
    alike, different = (accuracy_of(predictions([0.7], spread=spread)).interval(0, OVERALL) for spread in (0.0, 0.3))
    assert different[1] - different[0] > 1.5 * (alike[1] - alike[0])


def test_a_difference_is_paired_so_that_hard_patients_do_not_widen_it():
    seeds, patients, centers, labels, is_hit = predictions([0.6], spread=0.3)
    better = is_hit[:, 0] | (np.arange(len(patients)) % 10 == 0)
    accuracy = accuracy_of((seeds, patients, centers, labels, np.stack([is_hit[:, 0], better], axis=1)))
    value, low, high = accuracy.difference(1, 0, OVERALL)
    assert value == pytest.approx(accuracy.value[1, OVERALL] - accuracy.value[0, OVERALL])
    assert 0 < low < value < high
    own = accuracy.interval(1, OVERALL)
    assert high - low < 0.5 * (own[1] - own[0])


def test_an_interval_without_width_is_none():
    accuracy = accuracy_of(predictions([0.6]))
    value, low, high = accuracy.difference(0, 0, WORST)
    assert value == 0
    assert np.isnan([low, high]).all()


def test_a_small_center_cannot_be_the_worst_and_an_untested_one_is_nan():
    rows = predictions([0.9])
    is_hit = rows[4] & (rows[2] == 0)[:, None]  # center 1 is always wrong
    counts = count_hits(*rows[:4], is_hit, (1, NUM_PATIENTS, 3, 2))
    accuracy = arm_accuracy(counts, ["all"] * NUM_PATIENTS, np.array([[True, False, False]]))
    assert accuracy.value[0, WORST] == accuracy.value[0, FIRST_CENTER] > 0.8
    assert accuracy.value[0, FIRST_CENTER + 1] == 0
    assert np.isnan(accuracy.value[0, FIRST_CENTER + 2])
    assert np.isnan(accuracy.interval(0, FIRST_CENTER + 2)).all()
    assert np.isnan(accuracy.value[0, GAP]), "one compared center has no gap"
    none = arm_accuracy(counts, ["all"] * NUM_PATIENTS, np.zeros((1, 3), bool))
    assert np.isnan(none.difference(0, 0, WORST)).all()


def test_a_resample_that_draws_none_of_a_tested_cell_does_not_measure_something_else():
    """Two centers, four patients a cell of which a seed tests two; all is right but one label of one center."""
    rows = [
        (seed, 4 * (2 * center + label) + member, center, label)
        for seed in (0, 1)
        for center in (0, 1)
        for label in (0, 1)
        for member in (2 * seed, 2 * seed + 1)
    ]
    seeds, patients, centers, labels = np.repeat(np.array(rows), 5, axis=0).T
    is_hit = ~((centers == 0) & (labels == 1))[:, None]
    counts = count_hits(seeds, patients, centers, labels, is_hit, (2, 16, 2, 2))
    strata = np.arange(16) // 4
    accuracy = arm_accuracy(counts, strata, np.ones((2, 2), bool))
    # without the wrong label the center would be recall (1), without the center the other would be the worst (1)
    for measure in (WORST, FIRST_CENTER):
        measured = accuracy.resampled[:, 0, measure]
        assert np.isfinite(measured).mean() > 0.5
        np.testing.assert_allclose(measured[np.isfinite(measured)], 0.5)
    one = arm_accuracy(
        count_hits(*(part[seeds == 0] for part in (seeds, patients, centers, labels, is_hit)), (1, 16, 2, 2)),
        strata,
        np.ones((1, 2), bool),
    )
    assert np.isnan(one.resampled[:, 0, WORST]).any(), "some resample draws neither of the two tested patients"


def test_a_measure_that_most_resamples_lack_has_no_interval():
    accuracy = accuracy_of(predictions([0.7]))
    accuracy.resampled[: int(0.6 * len(accuracy.resampled)), 0, OVERALL] = np.nan
    assert np.isnan(accuracy.interval(0, OVERALL)).all()


def test_the_seed_decides_the_resamples():
    rows = predictions([0.7])
    one, again, other = (accuracy_of(rows, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.resampled, again.resampled)
    assert (one.resampled != other.resampled).any()
    with pytest.raises(InvalidRequestError, match="num = 0 resamples"):
        accuracy_of(rows, num=0)
