"""A jackknife finds the known error of a mean, takes groups as one case, and adds up what sides contribute."""

import numpy as np
import pytest

from medi_core.metrics.jackknife import jackknife_interval


def mean_of(values):
    return lambda kept: float(values[kept[0]].mean())


def half_width(interval) -> float:
    return (interval[1] - interval[0]) / 2


def test_of_a_mean_it_is_the_textbooks_interval():
    values = np.random.default_rng(0).normal(size=60)
    low, high = jackknife_interval(mean_of(values), [range(60)], num_blocks=60)
    assert low + high == pytest.approx(2 * values.mean())
    assert half_width((low, high)) == pytest.approx(1.96 * values.std(ddof=1) / np.sqrt(60), rel=1e-3)


def test_tiles_of_one_patient_are_one_case():
    values = np.repeat(np.random.default_rng(0).normal(size=12), 10)
    patients = np.repeat(np.arange(12), 10)
    by_patient = jackknife_interval(mean_of(values), [patients], num_blocks=120)
    by_tile = jackknife_interval(mean_of(values), [range(120)], num_blocks=120)
    assert half_width(by_patient) > 2.5 * half_width(by_tile)


def test_variances_of_both_sides_add_up():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=40), rng.normal(size=40)
    both = jackknife_interval(lambda kept: first[kept[0]].mean() - second[kept[1]].mean(), [range(40), range(40)])
    alone = [half_width(jackknife_interval(mean_of(v), [range(40)])) for v in (first, second)]
    assert half_width(both) == pytest.approx(np.hypot(*alone))


def test_few_blocks_of_many_groups_give_about_the_same_width():
    values = np.random.default_rng(2).normal(size=2000)
    all_of_them = half_width(jackknife_interval(mean_of(values), [range(2000)], num_blocks=2000))
    assert half_width(jackknife_interval(mean_of(values), [range(2000)])) == pytest.approx(all_of_them, rel=0.5)


@pytest.mark.parametrize("groups", [["one"] * 5, []])
def test_one_group_or_none_has_no_interval(groups):
    values = np.arange(len(groups) or 1, dtype=float)
    found = jackknife_interval(lambda kept: float(values[: len(kept[0])].sum()), [groups])
    assert np.isnan(found).all()


def test_a_statistic_that_is_not_finite_has_no_interval():
    assert np.isnan(jackknife_interval(lambda _: float("nan"), [range(5)])).all()
