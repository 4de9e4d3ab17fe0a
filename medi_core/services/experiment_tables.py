"""What arms got right → tables by arm and center, with intervals. Knows no features and no probe."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medi_core.metrics.arm_accuracy import FIRST_CENTER, ArmAccuracy, arm_accuracy, count_hits
from medi_core.services.experiment_config import ADDING, MEDI, REAL, SYNTHETIC, ExperimentConfig
from medi_core.services.experiment_design import patient_strata
from medi_core.services.experiment_result import ACCURACY_COLUMNS, DIFFERENCE_COLUMNS, GAP, OVERALL, WORST

NUM_BOOTSTRAPS = 1000
MIN_COMPARED_TILES = 10
"""A center with fewer tested tiles in a seed, or with a class that is not tested there, cannot be the worst one."""


@dataclass(frozen=True)
class Tested:
    """One row a (seed, tested tile)."""

    frame: pd.DataFrame
    """seed, row, patient_id, center, cancer_type."""
    is_hit: np.ndarray
    """bool `(N, A)`."""
    centers: tuple[str, ...]
    """All that are tested, sorted."""
    is_compared: np.ndarray
    """bool `(S, C)`: centers with enough tiles of every class, by seed."""

    @property
    def distinct(self) -> pd.DataFrame:
        """A row a tested tile."""
        return self.frame.drop_duplicates("tile")

    @property
    def of_compared(self) -> pd.DataFrame:
        """A row a tested tile of a compared center, of the seeds in which it is one."""
        places = pd.Categorical(self.frame["center"], self.centers).codes
        return self.frame[self.is_compared[self.frame["seed"], places]].drop_duplicates("tile")


def compared_centers(frame: pd.DataFrame, config: ExperimentConfig) -> tuple[tuple[str, ...], np.ndarray]:
    """Tested centers, and by seed whether each has enough tiles and every class: else it has recall, or too little."""
    centers = tuple(sorted(frame["center"].unique()))
    tiles = np.zeros((config.num_seeds, len(centers), len(config.cancer_types)))
    labels = pd.Categorical(frame["cancer_type"], config.cancer_types).codes
    np.add.at(tiles, (frame["seed"].to_numpy(dtype=int), pd.Categorical(frame["center"], centers).codes, labels), 1)
    return centers, (tiles.sum(axis=2) >= MIN_COMPARED_TILES) & (tiles > 0).all(axis=2)


def measure_arms(tested: Tested, config: ExperimentConfig) -> ArmAccuracy:
    """Accuracy of all arms on the same resamples of patients and seeds."""
    frame = tested.frame
    patients, names = pd.factorize(frame["patient_id"])
    centers = pd.Categorical(frame["center"], tested.centers).codes
    labels = pd.Categorical(frame["cancer_type"], config.cancer_types).codes
    shape = (config.num_seeds, len(names), len(tested.centers), len(config.cancer_types))
    counts = count_hits(frame["seed"].to_numpy(), patients, centers, labels, tested.is_hit, shape)
    strata = patient_strata(frame.drop_duplicates(["patient_id", "center", "cancer_type"]))
    return arm_accuracy(counts, strata[names], tested.is_compared, NUM_BOOTSTRAPS)


def _subgroups(tested: Tested) -> Iterator[tuple[int, str, str, pd.DataFrame, bool]]:
    """Place in the measures, name, measure, its distinct tiles, and whether it could be the worst center."""
    distinct, of_compared = tested.distinct, tested.of_compared
    for place, name, measure, own in (
        (0, OVERALL, "balanced accuracy", distinct),
        (1, WORST, "balanced accuracy", of_compared),
        (2, GAP, "gap", of_compared),
    ):
        yield place, name, measure, own, False
    for place, center in enumerate(tested.centers):
        own = distinct[distinct["center"] == center]
        types = own["cancer_type"].unique()
        measure = "balanced accuracy" if len(types) > 1 else f"recall of {types[0]}"
        yield FIRST_CENTER + place, center, measure, own, bool(tested.is_compared[:, place].any())


def accuracy_table(accuracy: ArmAccuracy, tested: Tested, arms: tuple[str, ...]) -> pd.DataFrame:
    """`ACCURACY_COLUMNS`, a row a (arm, subgroup)."""
    records = [
        (arm, name, measure, accuracy.value[i, place], *accuracy.interval(i, place), *_size(own), is_compared)
        for i, arm in enumerate(arms)
        for place, name, measure, own, is_compared in _subgroups(tested)
    ]
    return pd.DataFrame(records, columns=list(ACCURACY_COLUMNS))


def difference_table(accuracy: ArmAccuracy, tested: Tested, arms: tuple[str, ...]) -> pd.DataFrame:
    """Each arm against real only, then MeDi against every other one."""
    pairs = [(arm, REAL) for arm in arms if arm != REAL]
    pairs += [(MEDI, arm) for arm in arms if MEDI in arms and arm in (*ADDING, SYNTHETIC) and arm != MEDI]
    pairs.sort(key=lambda pair: pair[0] != MEDI)  # the question of the experiment first
    subgroups, records = list(_subgroups(tested)), []
    for i, j, names in ((arms.index(arm), arms.index(other), (arm, other)) for arm, other in pairs):
        changed = tested.frame.loc[tested.is_hit[:, i] != tested.is_hit[:, j], "tile"]
        for place, name, _, own, _ in subgroups:
            numbers = (*accuracy.difference(i, j, place), *_size(own), int(own["tile"].isin(changed).sum()))
            records.append((*names, name, *numbers))
    return pd.DataFrame(records, columns=list(DIFFERENCE_COLUMNS))


def _size(own: pd.DataFrame) -> tuple[int, int]:
    return len(own), int(own["patient_id"].nunique())
