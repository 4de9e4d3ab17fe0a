"""Readers' statistics against closed forms and sklearn. Run: pytest tests/metrics/test_raters.py"""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from medi_core.errors import InvalidRequestError
from medi_core.metrics.crossed_bootstrap import crossed_bootstrap, crossed_proportion, mean_of_sums
from medi_core.metrics.intervals import wilson_interval
from medi_core.metrics.raters import (
    cohen_kappa,
    d_prime,
    fleiss_kappa,
    mean,
    mean_d_prime,
    mean_roc_auc,
    proportion,
    roc_auc,
    roc_curve,
)

RNG = np.random.default_rng(0)
N = 240
POSITIVE = np.arange(N) % 2
READERS = np.repeat(["a", "b", "c", "d"], N // 4)
CASES = np.tile(np.arange(N // 4), 4)


def test_the_area_under_the_roc_points_is_the_auc_and_one_kind_alone_has_no_curve():
    scores = POSITIVE + np.random.default_rng(1).integers(0, 5, N)
    false_positive, true_positive, threshold = roc_curve(POSITIVE, scores)
    assert np.trapezoid(true_positive, false_positive) == pytest.approx(roc_auc(POSITIVE, scores, READERS, CASES).value)
    assert len(threshold) == len(set(scores)) + 1
    at = scores >= threshold[2]
    assert (false_positive[2], true_positive[2]) == (at[POSITIVE == 0].mean(), at[POSITIVE == 1].mean())
    assert [len(axis) for axis in roc_curve(np.ones(N), scores)] == [0, 0, 0]


def test_auc_is_sklearns_ties_and_all():
    scores = RNG.integers(-5, 6, N) + 2 * POSITIVE
    estimate = roc_auc(POSITIVE, scores, READERS, CASES)
    assert estimate.value == pytest.approx(roc_auc_score(POSITIVE, scores))
    assert estimate.ci_low < estimate.value < estimate.ci_high
    assert (estimate.n, estimate.num_readers, estimate.num_cases) == (N, 4, N // 4)


def test_auc_of_a_perfect_reader_is_1_and_of_his_opposite_0():
    assert roc_auc(POSITIVE, POSITIVE, READERS, CASES).value == 1
    assert roc_auc(POSITIVE, -POSITIVE, READERS, CASES).value == 0
    assert np.isnan(roc_auc(np.ones(4), np.arange(4), READERS[:4], CASES[:4]).value)


def test_d_prime_is_the_difference_of_z_scores():
    called = np.where(RNG.random(N) < 0.8, POSITIVE, 1 - POSITIVE)
    hits, false_alarms = called[POSITIVE == 1].sum(), called[POSITIVE == 0].sum()
    expected = norm.ppf((hits + 0.5) / (N / 2 + 1)) - norm.ppf((false_alarms + 0.5) / (N / 2 + 1))
    assert d_prime(POSITIVE, called, READERS, CASES).value == pytest.approx(expected)
    assert d_prime(POSITIVE, np.ones(N), READERS, CASES).value == pytest.approx(0)
    assert np.isfinite(d_prime(POSITIVE, POSITIVE, READERS, CASES).value)


@pytest.mark.parametrize("quadratic", [False, True])
def test_cohens_kappa_is_sklearns(quadratic):
    first = RNG.integers(1, 6, 60)
    second = np.where(RNG.random(60) < 0.6, first, RNG.integers(1, 6, 60))
    expected = cohen_kappa_score(first, second, weights="quadratic" if quadratic else None)
    estimate = cohen_kappa(pairs(first, second), range(1, 6), quadratic)
    assert estimate.value == pytest.approx(expected)
    assert estimate.ci_low < expected < estimate.ci_high


def test_kappa_takes_no_reader_for_another():
    first = pairs([1] * 30, [5] * 30)
    assert cohen_kappa(first, range(1, 6), quadratic=True).value == 0, "two who always say the same agree by chance"
    turned = pd.concat([first.assign(reader="a b"), pairs([5] * 30, [1] * 30).assign(reader="b c")])
    assert cohen_kappa(turned, range(1, 6), quadratic=True).value == 0
    rng = np.random.default_rng(3)
    some = pd.concat([pairs(*rng.integers(1, 6, (2, 40))).assign(reader=name) for name in ("a b", "a c", "b c")])
    swapped = some["reader"] == "a c"
    other = some.copy()
    other.loc[swapped, ["first", "second"]] = some.loc[swapped, ["second", "first"]].to_numpy()
    once, again = (cohen_kappa(table.reset_index(), range(1, 6), quadratic=True) for table in (some, other))
    assert once.value == pytest.approx(again.value), "who comes first says nothing"
    assert (once.ci_low, once.ci_high) == pytest.approx((again.ci_low, again.ci_high))


def test_means_over_readers_are_those_of_each_reader_alone():
    bias = np.array([dict(zip("abcd", (-4, 0, 3, 6), strict=True))[reader] for reader in READERS])
    scores = RNG.integers(-2, 3, N) + 2 * POSITIVE + bias
    alone = [roc_auc(POSITIVE[own], scores[own], READERS[own], CASES[own]).value for own in map(READERS.__eq__, "abcd")]
    estimate = mean_roc_auc(POSITIVE, scores, READERS, CASES)
    assert estimate.value == pytest.approx(np.mean(alone))
    assert estimate.value > roc_auc(POSITIVE, scores, READERS, CASES).value, "pooled, their habits count against them"
    assert estimate.ci_low < estimate.value < estimate.ci_high
    called = (scores > 1).astype(float)
    alone = [d_prime(POSITIVE[own], called[own], READERS[own], CASES[own]).value for own in map(READERS.__eq__, "abcd")]
    assert mean_d_prime(POSITIVE, called, READERS, CASES).value == pytest.approx(np.mean(alone))


def test_of_one_reader_the_mean_over_readers_is_his_own_number():
    own = READERS == "a"
    scores = RNG.integers(-5, 6, N) + 2 * POSITIVE
    given = POSITIVE[own], scores[own], READERS[own], CASES[own]
    alone, averaged = roc_auc(*given), mean_roc_auc(*given)
    assert (averaged.value, averaged.ci_low) == pytest.approx((alone.value, alone.ci_low))


def test_kappa_of_one_label_alone_is_undefined():
    assert np.isnan(cohen_kappa(pairs([1, 1], [1, 1]), (1, 2)).value)
    assert np.isnan(cohen_kappa(pairs([], []), (1, 2)).value)
    assert np.isnan(fleiss_kappa(np.array([[3, 0], [3, 0]])).value)
    assert np.isnan(fleiss_kappa(np.array([[1, 0], [0, 1]])).value)


def test_fleiss_kappa_of_his_own_example():
    table = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    estimate = fleiss_kappa(np.array(table))
    assert estimate.value == pytest.approx(0.210, abs=5e-4)
    assert (estimate.n, estimate.num_readers, estimate.num_cases) == (140, 14, 10)
    with pytest.raises(InvalidRequestError, match="one number of readers"):
        fleiss_kappa(np.array([[2, 0], [3, 0]]))


def test_readers_who_agree_have_kappa_1_and_those_who_guess_about_0():
    truth, guesses = RNG.integers(0, 2, 200), RNG.integers(0, 2, (200, 3))
    same = fleiss_kappa(np.eye(2)[truth] * 3)
    assert same.value == pytest.approx(1)
    guess = fleiss_kappa(np.stack([(guesses == k).sum(axis=1) for k in (0, 1)], axis=1))
    assert guess.ci_low < 0 < guess.ci_high


def test_one_reader_with_one_answer_a_case_has_wilsons_interval():
    hits = np.array([1, 1, 0, 1])
    assert crossed_proportion(hits, ["a"] * 4, range(4)) == wilson_interval(3, 4)


def test_where_all_are_right_a_case_counts_once():
    assert crossed_proportion(np.ones(N), READERS, CASES) == wilson_interval(N // 4, N // 4)


def test_readers_who_differ_make_the_interval_wider_than_answers_one_by_one():
    skill = {"a": 1.0, "b": 0.9, "c": 0.3, "d": 0.2}
    hits = np.array([RNG.random() < skill[reader] for reader in READERS], float)
    crossed = proportion(hits, READERS, CASES)
    naive = crossed_bootstrap(hits, ["a"] * N, range(N), mean_of_sums)
    assert crossed.ci_high - crossed.ci_low > 2 * (naive[1] - naive[0])
    assert crossed == proportion(hits, READERS, CASES), "seeded"


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(1), 0
    readers, cases = np.repeat(np.arange(8), 30), np.tile(np.arange(30), 8)
    for _ in range(100):
        values = rng.normal(0, 0.5, 8)[readers] + rng.normal(0, 0.5, 30)[cases] + rng.normal(0, 1, 240)
        low, high = crossed_bootstrap(values, readers, cases, mean_of_sums, num=200)
        covered += low <= 0 <= high
    assert covered >= 85


def test_numbers_that_are_all_alike_have_no_interval_and_no_answer_has_no_value():
    alike = mean(np.full(4, 3.0), ["a", "b"] * 2, range(4))
    assert alike.value == 3
    assert np.isnan(alike.ci_low)
    for certain in (roc_auc, mean_roc_auc):
        estimate = certain(POSITIVE, POSITIVE, READERS, CASES)
        assert estimate.value == 1
        assert np.isnan([estimate.ci_low, estimate.ci_high]).all(), "seeing no spread is not being certain"
    nothing = mean(np.array([]), [], [])
    assert nothing.n == 0
    assert np.isnan(nothing.value)
    assert np.isnan(proportion(np.array([]), [], []).value)


def pairs(first, second) -> pd.DataFrame:
    return pd.DataFrame({"first": first, "second": second, "reader": "a", "case": range(len(first))})
