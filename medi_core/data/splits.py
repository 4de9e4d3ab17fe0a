"""Patient-wise splits. Knows patient ids and nothing else of a row."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medi_core.data.manifest import SPLITS
from medi_core.errors import InvalidRequestError

FRACTIONS = (0.7, 0.1, 0.2)


def split_by_patient(frame: pd.DataFrame, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> pd.DataFrame:
    """The frame with `split` drawn anew, whole patients at a time.

    Args:
        frame: rows of a manifest; rows without `patient_id` become `train`, for they may share a
            patient with any other row.
        fractions: shares of the *patients* in train, val, test; each ≥ 0, sum 1.
        seed: the same patients and seed give the same split, whatever the order of the rows.

    Raises:
        InvalidRequestError: fractions that are no three shares of a whole.
    """
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or not np.isclose(sum(fractions), 1):
        raise InvalidRequestError(
            f"fractions must be {len(SPLITS)} numbers ≥ 0 that sum to 1 ({', '.join(SPLITS)}), given {tuple(fractions)}"
        )
    patients = sorted({patient for patient in frame["patient_id"] if _is_known(patient)})
    shuffled = np.random.default_rng(seed).permutation(len(patients))
    bounds = np.rint(np.cumsum(fractions) * len(patients)).astype(int)
    place = np.searchsorted(bounds, shuffled, side="right")  # rank in the shuffled order → split
    split_of = {patient: SPLITS[i] for patient, i in zip(patients, place, strict=True)}
    splits = [split_of[patient] if _is_known(patient) else "train" for patient in frame["patient_id"]]
    return frame.assign(split=pd.Series(splits, index=frame.index, dtype=object))


def _is_known(patient: object) -> bool:
    return not pd.isna(patient) and patient != ""
