"""What the examples of docs/api.md touch, made up: a checkpoint, its classifier and reference set, and files.

The names are those of the page, so that its examples run with the shipped checkpoint, too.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from medi_core.bootstrap import Services, build_services
from medi_core.checkpoints import save_checkpoint
from medi_core.classifier_checkpoint import save_classifier
from medi_core.data.reference_set import COLUMNS, ReferenceSet, write_reference
from medi_core.metadata.vocabulary import Support, Vocabulary, pair_key
from medi_core.services.asked_versus_got import measure_requests
from medi_core.settings import Settings
from tests.toy_classifier import CARD, build_toy_classifier
from tests.toy_cohort import write_zip
from tests.toys import DISTILLED, build_tiny_pipeline, build_toy_vocabulary, synthetic_tissue

TYPES = ("Colorectal_adenocarcinoma", "Colorectal_benign")
CENTERS = ("Indivumed", "International Genomics Consortium")
PAIRS = [(cancer_type, center) for cancer_type in TYPES for center in CENTERS]
NUM = 16
"""Tiles of a manifest, and of predictions."""


def build_toy_explorer(folder: Path) -> Services:
    """Services whose checkpoint, classifier and assets are in `folder`."""
    save_checkpoint(build_tiny_pipeline(_vocabulary()), folder / "tiny", {})
    save_checkpoint(build_tiny_pipeline(_vocabulary()), folder / "medi-128-fast", DISTILLED)
    save_classifier(build_toy_classifier(TYPES), folder / "tile-classifier", {"seed": 0}, {}, CARD)
    assets = folder / "assets"
    assets.mkdir()
    (assets / "style.css").write_text("")
    settings = Settings(
        *("tiny", "cpu", "float32", folder, assets), cache_dir=folder / "cache", data_dir=folder / "data"
    )
    services = build_services(settings)
    services.welcome.store()
    write_reference(_reference(services.checkpoint.id, services.encoding.name), assets / "reference")
    return services


def write_example_files(folder: Path) -> None:
    """`tile.png`, `manifest.csv` with its images, `mine.csv` and `cohort.zip`."""
    Image.fromarray(synthetic_tissue(150, 1)).save(folder / "tile.png")
    (folder / "images").mkdir()
    for i in range(NUM):
        Image.fromarray(synthetic_tissue(128, i)).save(folder / "images" / f"{i}.png")
    i = np.arange(NUM)
    rows = pd.DataFrame({"path": [f"images/{n}.png" for n in i], "patient_id": [f"P{n // 2}" for n in i]})
    rows["cancer_type"] = np.array(TYPES)[(i // 2) % 2]
    rows["center"] = np.array(CENTERS)[i // 12]  # the second has a quarter of the tiles: something to lift
    rows.to_csv(folder / "manifest.csv", index=False)
    predicted = np.where(i % 5 == 0, rows["cancer_type"][::-1], rows["cancer_type"])
    mine = rows.drop(columns="path").assign(tile=[f"tile {n}" for n in i], true=rows["cancer_type"])
    mine.assign(predicted=predicted).to_csv(folder / "mine.csv", index=False)
    theirs = rows.rename(columns={"path": "File name", "cancer_type": "Diagnosis", "center": "Hospital"})
    theirs.loc[0, "File name"] = "images/gone.png"
    images = {f"images/{n}.png": (folder / "images" / f"{n}.png").read_bytes() for n in i}
    write_zip(folder / "cohort.zip", theirs, images)


def _vocabulary() -> Vocabulary:
    """The toy vocabulary with the page's values; the first type was never seen at the first center."""
    toy = build_toy_vocabulary()
    seen = Support(40, 6)
    return replace(
        toy,
        values=toy.values | {"cancer_type": TYPES, "center": CENTERS},
        support=toy.support | {"cancer_type": dict.fromkeys(TYPES, seen), "center": dict.fromkeys(CENTERS, seen)},
        pair_support={pair_key(*pair): seen for pair in PAIRS[1:]},
    )


def _reference(checkpoint: str, encoder: str) -> ReferenceSet:
    """24 real training tiles and 20 held-out ones a pair, and 20 synthetic ones; features show both values."""
    rng, parts = np.random.default_rng(0), []
    for k, (cancer_type, center) in enumerate(PAIRS):
        pair = {"cancer_type": cancer_type, "center": center}
        for split, num in (("train", 24), ("test", 20)):
            patients = [f"{k}-{split}-{n % 4}" for n in range(num)]
            parts.append(
                pd.DataFrame({"origin": "real", "group": "real", "split": split, "patient_id": patients, **pair})
            )
        group = "never seen" if k == 0 else "seen"
        parts.append(pd.DataFrame({"origin": "synthetic", "group": group, "seed": range(20), **pair}))
    tiles = pd.concat(parts, ignore_index=True).reindex(columns=COLUMNS)
    tiles["id"] = [f"{i:032x}" for i in tiles.index]
    features = rng.normal(0, 1, (len(tiles), 512)).astype(np.float32)
    features[:, 0] += 12 * (tiles["cancer_type"] == TYPES[0])
    features[:, 1] += 12 * (tiles["center"] == CENTERS[0])
    reference = ReferenceSet(tiles, features, {"checkpoint": checkpoint, "encoder": encoder})
    return replace(reference, facts=dict(reference.facts) | {"asked": measure_requests(reference)})
