import numpy as np
import pandas as pd
import pytest

from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metrics.intervals import wilson_interval
from medi_core.metrics.probes import _folds, agreement_by_label, fit_probe, held_out_predictions


def tiles(num: int, num_labels: int = 3, pull: float = 20.0, seed: int = 0, patients_each: int = 6):
    """Tiles with one label a patient; channels differ in scale by orders of magnitude, the last is dead."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_labels, size=num)
    patients = [f"{label}-{rng.integers(patients_each)}" for label in labels]
    features = (rng.normal(0, 1, (num, 10)) + pull * np.eye(10)[labels]) * np.logspace(1, -1, 10)
    features[:, -1] = 1e-9
    return (features + 100).astype(np.float32), np.array(["lung", "kidney", "colon"], dtype=object)[labels], patients


def test_separable_labels_are_got_back_from_patients_never_seen():
    features, labels, patients = tiles(150)
    predicted = held_out_predictions(features, labels, patients)
    table = agreement_by_label(labels, predicted, patients)
    assert list(table["label"]) == ["colon", "kidney", "lung"]
    assert (table["agreement"] == 1).all()
    assert (table["ci_low"] < 1).all()  # Wilson over patients: agreement of all is not certainty
    assert table["n"].sum() == 150


def test_shuffled_labels_are_got_back_at_chance():
    features, labels, _ = tiles(300)
    shuffled = np.random.default_rng(1).permutation(labels)
    groups = [f"tile {i}" for i in range(300)]
    table = agreement_by_label(shuffled, held_out_predictions(features, shuffled, groups), groups)
    assert ((table["ci_low"] < 1 / 3) & (table["ci_high"] > 1 / 3)).all()


def test_a_patient_never_sits_on_both_sides_of_a_fold():
    _, labels, patients = tiles(200)
    groups = pd.Series(patients)
    folds = _folds(pd.Series(labels), groups, num_folds=4, seed=0)
    assert sorted(row for _, test in folds for row in test) == list(range(200))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])


def test_a_probe_cannot_learn_the_patient():
    # features that hold the patient and nothing of the label: known patients are recognised, new ones are not
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 10)
    features = (30 * np.eye(20)[patients] + rng.normal(0, 1, (200, 20))).astype(np.float32)
    labels = np.array(["a", "b"], dtype=object)[patients % 2]
    names = [f"patient {patient}" for patient in patients]
    assert (fit_probe(features, labels, names).predict(features) == labels).all()
    assert (held_out_predictions(features, labels, names) == labels).mean() < 0.7


def test_a_probe_asked_of_its_own_tiles_gives_probabilities_that_sum_to_1():
    for num_labels in (2, 3):
        features, labels, patients = tiles(120, num_labels)
        probe = fit_probe(features, labels, patients)
        odds = probe.predict_proba(features)
        assert odds.shape == (120, num_labels)
        np.testing.assert_allclose(odds.sum(axis=1), 1, atol=1e-5)
        assert probe.classes == tuple(sorted(set(labels)))
        assert (probe.predict(features) == labels).all()
        assert (probe.num_tiles, probe.num_patients) == (120, len(set(patients)))


def test_it_is_the_regression_of_sklearn_on_features_divided_by_one_number():
    from sklearn.linear_model import LogisticRegression

    features, labels, patients = tiles(120, pull=1.0)
    probe = fit_probe(features, labels, patients)
    scaled = (features - features.mean(axis=0)) / probe.scale
    assert np.square(scaled).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)
    model = LogisticRegression(C=10, class_weight="balanced", max_iter=500).fit(scaled, labels)
    np.testing.assert_allclose(probe.predict_proba(features), model.predict_proba(scaled), atol=0.01)


def test_labels_with_too_little_support_are_left_out_and_listed():
    features, labels, patients = tiles(160)
    labels, patients = labels.copy(), np.array(patients, dtype=object)
    labels[:30], patients[:30] = "one patient", "alone"
    labels[30:50], patients[30:50] = "unnamed many", None
    labels[50:55], patients[50:55] = "unnamed few", None
    labels[55:60] = None
    probe = fit_probe(features, labels, patients, min_tiles=20)
    assert probe.left_out == ("one patient", "unnamed few")
    assert probe.classes == ("colon", "kidney", "lung", "unnamed many")
    assert probe.num_tiles == 160 - 30 - 5 - 5
    assert fit_probe(features, labels, patients, min_tiles=5).left_out == ("one patient",)


def test_a_tile_no_fold_can_tell_of_has_no_prediction_and_is_not_counted():
    features, labels, patients = tiles(120)
    labels, patients = labels.copy(), np.array(patients, dtype=object)
    labels[:10], patients[:10], labels[10:15] = "one patient", "alone", np.nan
    predicted = held_out_predictions(features, labels, patients)
    assert [value is None for value in predicted] == [i < 15 for i in range(120)]
    table = agreement_by_label(labels, predicted, patients).set_index("label")
    assert table.loc["one patient", ["n", "n_groups"]].tolist() == [0, 0]
    assert table.loc["one patient", ["agreement", "ci_low", "ci_high"]].isna().all()
    assert table["n"].sum() == 105


def test_the_seed_decides_the_folds_and_the_rest_is_not_drawn():
    features, labels, patients = tiles(120, pull=0.5)
    once, again = (held_out_predictions(features, labels, patients, seed=3) for _ in range(2))
    assert (once == again).all()
    assert (once != held_out_predictions(features, labels, patients, seed=4)).any()


def test_intervals_are_wilsons_for_single_tiles_and_wider_for_tiles_of_few_patients():
    asked = ["a"] * 40
    predicted = ["a"] * 30 + ["b"] * 10
    single = agreement_by_label(asked, predicted, [f"{i}" for i in range(40)]).iloc[0]
    few = agreement_by_label(asked, predicted, [f"{i // 10}" for i in range(40)]).iloc[0]
    assert (single["ci_low"], single["ci_high"]) == pytest.approx(wilson_interval(30, 40))
    assert few["agreement"] == single["agreement"] == 0.75
    assert few["ci_high"] - few["ci_low"] > 1.5 * (single["ci_high"] - single["ci_low"])
    assert (few["n"], few["n_groups"]) == (40, 4)


def test_agreement_of_all_tiles_is_as_certain_as_there_are_groups():
    row = agreement_by_label(["a"] * 40, ["a"] * 40, [f"{i // 10}" for i in range(40)]).iloc[0]
    assert (row["agreement"], row["ci_low"], row["ci_high"]) == pytest.approx((1, *wilson_interval(4, 4)))
    alone = agreement_by_label(["a"] * 4, ["a", "a", "b", "b"], ["one"] * 4).iloc[0]
    assert alone["agreement"] == 0.5
    assert np.isnan(alone["ci_low"])


def test_an_empty_label_has_its_row_with_nan_and_n_0():
    table = agreement_by_label(["a", None, "b"], ["a", "a", None], ["x", "y", "z"], labels=["c", "b", "a"])
    assert list(table["label"]) == ["c", "b", "a"]
    assert list(table["n"]) == [0, 0, 1]
    assert list(table["agreement"].isna()) == [True, True, False]


def test_too_little_to_learn_from_is_refused():
    features, labels, patients = tiles(60)
    with pytest.raises(TooFewTilesError, match=r"at least 2 labels of 2 patients each, given 0 \(left out: colon"):
        fit_probe(features, labels, [str(label) for label in labels])
    with pytest.raises(TooFewTilesError, match=r"at least 2 labels .* given 1"):
        held_out_predictions(features, ["a"] * 60, patients)
    with pytest.raises(TooFewTilesError, match="40 folds need as many groups"):
        held_out_predictions(features, labels, patients, num_folds=40)


def test_missing_groups_one_fold_and_features_that_are_not_finite_are_refused():
    features, labels, patients = tiles(60)
    with pytest.raises(InvalidRequestError, match="1 of 60 rows have no group"):
        held_out_predictions(features, labels, [None, *patients[1:]])
    with pytest.raises(InvalidRequestError, match="num_folds = 1"):
        held_out_predictions(features, labels, patients, num_folds=1)
    features[4, 0] = np.inf
    with pytest.raises(InvalidRequestError, match=r"1 of 60 tiles are not finite \(first: row 4\)"):
        fit_probe(features, labels, patients)
