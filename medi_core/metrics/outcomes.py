"""What was true of tiles and what a model said, as arrays. Knows no measure, no metadata and no model."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from medi_core.errors import InvalidRequestError


@dataclass(frozen=True)
class Outcomes:
    """What was true of N tiles and what a model said, with the patients they come from."""

    true: np.ndarray
    """int64 `(N,)`, place in `classes`."""
    predicted: np.ndarray
    """int64 `(N,)`."""
    patients: np.ndarray
    """int64 `(N,)`, a number from 0 for each patient."""
    classes: tuple[str, ...]
    probabilities: np.ndarray | None = field(default=None, repr=False)
    """float64 `(N, K)`, columns as `classes`, rows sum to 1; `None` where the model gave none."""

    def __len__(self) -> int:
        return len(self.true)

    def part(self, rows: np.ndarray) -> "Outcomes":
        """Some tiles, by number or mask; patients are numbered anew, in the order they come in."""
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        patients = pd.factorize(self.patients[rows])[0]
        return replace(
            self,
            **{"true": self.true[rows], "predicted": self.predicted[rows]},
            **{"patients": patients, "probabilities": probabilities},
        )

    @property
    def num_patients(self) -> int:
        return int(self.patients.max()) + 1 if len(self) else 0

    @property
    def true_classes(self) -> np.ndarray:
        """int64, places of the classes that occur."""
        return np.unique(self.true)

    @property
    def is_one_tile_a_patient(self) -> bool:
        return self.num_patients == len(self)


def build_outcomes(
    true: Sequence[str],
    predicted: Sequence[str],
    patients: Sequence[object],
    classes: Sequence[str] | None = None,
    probabilities: np.ndarray | None = None,
) -> Outcomes:
    """Labels → `Outcomes`.

    Args:
        true, predicted: `(N,)`, one of `classes` each.
        patients: `(N,)`, never missing.
        classes: K different names; all labels that occur, sorted, if not given.
        probabilities: `(N, K)`, finite; needs `classes`.

    Raises:
        InvalidRequestError: a label that is no class, a tile without a patient, or shapes that do not fit.
    """
    names = tuple(sorted({*true, *predicted}) if classes is None else classes)
    place = {name: i for i, name in enumerate(names)}
    if unknown := sorted({str(label) for label in {*true, *predicted} if label not in place}):
        raise InvalidRequestError(f"labels {', '.join(unknown)} are none of the classes {', '.join(names)}")
    codes = pd.factorize(np.asarray(patients, dtype=object))[0]
    if (codes < 0).any():
        raise InvalidRequestError(
            f"{(codes < 0).sum()} of {len(codes)} tiles have no patient: give each a key of its own"
        )
    if probabilities is not None and probabilities.shape != (len(true), len(names)):
        raise InvalidRequestError(f"probabilities are {probabilities.shape}: {(len(true), len(names))} is needed")
    columns = [np.array([place[label] for label in labels], dtype=np.int64) for labels in (true, predicted)]
    return Outcomes(*columns, codes, names, probabilities)
