"""Splits by patient. Run: pytest tests/data"""

import numpy as np
import pandas as pd
import pytest

from medi_core.data.splits import split_by_patient
from medi_core.errors import InvalidRequestError


def frame_of(num_patients: int, seed: int = 0) -> pd.DataFrame:
    """Up to 9 rows a patient, and five rows of nobody."""
    rng = np.random.default_rng(seed)
    patients = [f"P{i:03d}" for i in range(num_patients) for _ in range(rng.integers(1, 10))]
    patients += [None, None, np.nan, "", None]
    return pd.DataFrame({"patient_id": patients, "path": [f"{i}.png" for i in range(len(patients))]})


def splits_of(frame: pd.DataFrame) -> dict[str, str]:
    return dict(zip(frame["path"], frame["split"], strict=True))


def test_no_patient_is_in_two_splits():
    frame = split_by_patient(frame_of(100))
    known = frame[frame["patient_id"].str.startswith("P", na=False)]
    assert known.groupby("patient_id")["split"].nunique().eq(1).all()


def test_rows_without_patient_are_train():
    frame = split_by_patient(frame_of(10), fractions=(0.0, 0.0, 1.0))
    unknown = ~frame["patient_id"].str.startswith("P", na=False)
    assert unknown.sum() == 5
    assert set(frame.loc[unknown, "split"]) == {"train"}
    assert set(frame.loc[~unknown, "split"]) == {"test"}


@pytest.mark.parametrize("fractions", [(0.7, 0.1, 0.2), (0.5, 0.25, 0.25), (1.0, 0.0, 0.0)])
def test_fractions_are_shares_of_the_patients(fractions):
    frame = split_by_patient(frame_of(100), fractions)
    shares = frame.dropna(subset="patient_id").query("patient_id != ''").groupby("patient_id")["split"].first()
    counts = shares.value_counts()
    assert [counts.get(split, 0) for split in ("train", "val", "test")] == [round(100 * f) for f in fractions]


def test_the_split_does_not_depend_on_the_order_of_the_rows():
    frame = frame_of(40)
    shuffled = frame.sample(frac=1, random_state=3)
    assert splits_of(split_by_patient(shuffled)) == splits_of(split_by_patient(frame))


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    frame = frame_of(40)
    assert splits_of(split_by_patient(frame, seed=1)) == splits_of(split_by_patient(frame, seed=1))
    assert splits_of(split_by_patient(frame, seed=1)) != splits_of(split_by_patient(frame, seed=2))


def test_the_given_frame_is_left_as_it_is_and_its_index_and_rows_are_kept():
    frame = frame_of(5).sample(frac=1, random_state=0).assign(split="test")
    before = frame.copy()
    result = split_by_patient(frame)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(result.drop(columns="split"), frame.drop(columns="split"))


def test_a_frame_without_any_patient_is_all_train():
    assert set(split_by_patient(pd.DataFrame({"patient_id": [None, None]}))["split"]) == {"train"}


@pytest.mark.parametrize("fractions", [(0.7, 0.2), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_that_are_no_shares_of_a_whole_are_refused(fractions):
    with pytest.raises(InvalidRequestError, match="3 numbers ≥ 0 that sum to 1"):
        split_by_patient(frame_of(3), fractions)
