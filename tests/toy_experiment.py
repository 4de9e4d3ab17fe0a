"""A reference set whose features show the class in one channel and the center in others: a shortcut."""

import numpy as np
import pandas as pd

from medi_core.data.reference_set import COLUMNS, ReferenceSet

TYPES, CENTERS = ("colon", "lung"), ("Lyon", "Paris", "Rome")
DIM = 8
CLASS_CHANNEL, CENTER_CHANNEL = 1.0, 4.0
"""How far classes, and centers, lie apart: the center is much the easier to see."""


def features_of(rng: np.random.Generator, num: int, cancer_type: str | None, center: str | None) -> np.ndarray:
    """`(num, DIM)`, noise of spread 1; `None` shows neither value."""
    features = rng.normal(0, 1, (num, DIM))
    if cancer_type is not None:
        features[:, 0] += CLASS_CHANNEL * (2 * TYPES.index(cancer_type) - 1)
    if center is not None:
        features[:, 1 + CENTERS.index(center)] += CENTER_CHANNEL
    return features


def build_toy_reference(
    shows_class: bool = True,
    shows_center: bool = True,
    patients: int = 8,
    tiles: int = 6,
    bank: int = 60,
    seed: int = 0,
    jitter: bool = True,
) -> ReferenceSet:
    """`patients` of `tiles` each in every cell, half of them held out; synthetic tiles show what they are told to."""
    rng, parts, features = np.random.default_rng(seed), [], []

    def add(num: int, shown: tuple, **facts) -> None:
        parts.append(pd.DataFrame(facts, index=range(num)))
        features.append(features_of(rng, num, *shown))

    for cancer_type in TYPES:
        for center in CENTERS:
            cell = {"cancer_type": cancer_type, "center": center}
            for i in range(patients):
                facts = {"patient_id": f"{cancer_type}-{center}-{i}", "split": "train" if i % 2 else "test"}
                add(tiles, (cancer_type, center), origin="real", group="real", **facts, **cell)
            shown = (cancer_type if shows_class else None, center if shows_center else None)
            add(bank, shown, origin="synthetic", group="never seen", **cell)
        shown = (cancer_type if shows_class else None, None)
        add(bank * len(CENTERS), shown, origin="synthetic", group="class only", cancer_type=cancer_type)
    frame = pd.concat(parts, ignore_index=True)
    frame["id"] = [f"tile {i}" for i in frame.index]
    everything = np.concatenate(features)
    if jitter:
        real = frame[frame["origin"] == "real"]
        copies = real.assign(origin="control", group="stain-jittered", of=real["id"], id="copy of " + real["id"])
        frame = pd.concat([frame, copies], ignore_index=True)
        everything = np.concatenate([everything, everything[real.index] + rng.normal(0, 0.3, (len(real), DIM))])
    frame = frame.reindex(columns=COLUMNS)
    return ReferenceSet(frame, everything.astype(np.float32), {"checkpoint": "toy@1", "encoder": "toy-encoder"})
