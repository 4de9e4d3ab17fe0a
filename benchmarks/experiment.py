"""The live experiment: 4 arms × 5 seeds on 10,000 tiles of 512 features, with 1,000 resamples of patients.

    python -m benchmarks.experiment [--runs 3]

Features are random but structured: a class and a center in each, variances that fall as those of an encoder do. The
last row is what 20 fits of scikit-learn's regression on the same tiles would take, from one fit timed. Goal: 3 s on
a two-core machine.
"""

import argparse
import time
from statistics import median

import numpy as np
import pandas as pd

from benchmarks.tables import log, print_table
from medi_core.data.reference_set import COLUMNS, ReferenceSet
from medi_core.services.experiment import run_experiment
from medi_core.services.experiment_config import CLASS_ONLY, DUPLICATED, MEDI, RANDOM_CENTERS, REAL, ExperimentConfig

GOAL_SECONDS = 3
TYPES = ("a", "b", "c")
ARMS = (REAL, DUPLICATED, CLASS_ONLY, MEDI)
NUM_REAL, NUM_SYNTHETIC, NUM_CENTERS, TILES_A_PATIENT, DIM = 7000, 3000, 8, 20, 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    reference = build_reference()
    config = ExperimentConfig(TYPES, RANDOM_CENTERS, ARMS, size=5, num_seeds=5)
    walls, cpus = [], []
    for i in range(args.runs):
        wall, cpu = time.perf_counter(), time.process_time()
        result = run_experiment(reference, config)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        log(f"run {i + 1}: {walls[-1]:.1f} s, {cpus[-1]:.1f} s of the processor")
    num_train = int(result.training["total"].max())
    wall, cpu = sklearn_seconds(reference, num_train)
    rows = [
        ("experiment", f"{median(walls):.1f}", f"{median(cpus):.1f}", f"≤ {GOAL_SECONDS}"),
        ("20 fits of sklearn", f"{20 * wall:.1f}", f"{20 * cpu:.1f}", ""),
        ("ratio", f"{20 * wall / median(walls):.1f}", f"{20 * cpu / median(cpus):.1f}", ""),
    ]
    print_table(
        (f"{num_train:,} training tiles, {result.facts['num_tiles']:,} tested", "s", "s of processor", "goal"), rows
    )


def build_reference(seed: int = 0) -> ReferenceSet:
    """7,000 real tiles of 350 patients and 3,000 synthetic ones of 3 classes and 8 centers."""
    rng = np.random.default_rng(seed)
    patients = np.arange(NUM_REAL) // TILES_A_PATIENT
    labels = np.append(patients % len(TYPES), rng.integers(len(TYPES), size=NUM_SYNTHETIC))
    centers = np.append(patients // len(TYPES) % NUM_CENTERS, rng.integers(NUM_CENTERS, size=NUM_SYNTHETIC))
    spread = np.exp(-4 * np.linspace(0, 1, DIM))
    shown = 0.35 * rng.normal(size=(len(TYPES), DIM))[labels] + 0.5 * rng.normal(size=(NUM_CENTERS, DIM))[centers]
    features = spread * (rng.normal(size=(len(labels), DIM)) + shown)
    is_real = np.arange(len(labels)) < NUM_REAL
    is_open = ~is_real & (np.arange(len(labels)) % 2 == 0)
    frame = pd.DataFrame(
        {
            "id": np.arange(len(labels)).astype(str),
            "origin": np.where(is_real, "real", "synthetic"),
            "group": np.select([is_real, is_open], ["real", "class only"], "seen"),
            "cancer_type": np.array(TYPES)[labels],
            "center": np.where(is_open, None, np.char.add("center ", centers.astype(str))),
            "patient_id": np.where(is_real, np.append(patients, np.zeros(NUM_SYNTHETIC, int)).astype(str), None),
            "split": np.where(is_real, "train", None),
        }
    )
    return ReferenceSet(frame.reindex(columns=COLUMNS), features.astype(np.float32), {})


def sklearn_seconds(reference: ReferenceSet, num: int) -> tuple[float, float]:
    """Of one fit on `num` tiles, features scaled as the experiment does."""
    from sklearn.linear_model import LogisticRegression

    features = reference.features[:num] - reference.features[:num].mean(axis=0)
    features /= np.sqrt(np.square(features).sum(axis=1).mean())
    wall, cpu = time.perf_counter(), time.process_time()
    LogisticRegression(C=10, class_weight="balanced", max_iter=500).fit(features, reference.tiles["cancer_type"][:num])
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
