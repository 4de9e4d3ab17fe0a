"""The paper's protocol and PathoROB's split on TCGA-UT, for who has these tiles. Knows no widgets and no probe.

The tiles are encoded once, and stand in place of the reference set's real ones; synthetic tiles are those of its bank.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.import_tcga_ut import import_tcga_ut
from medi_core.data.manifest import read_table
from medi_core.data.reference_set import COLUMNS, DECLARED, ReferenceSet, is_train_split
from medi_core.errors import ManifestError
from medi_core.metrics.intervals import cluster_bootstrap
from medi_core.services.encoding import EncodingService
from medi_core.services.experiment import run_design, run_experiment
from medi_core.services.experiment_config import CORRELATION, REAL, ExperimentConfig
from medi_core.services.experiment_design import eligible_rows, given_design
from medi_core.services.experiment_result import ExperimentResult

PAPER_TYPES = ("Lung_adenocarcinoma", "Lung_squamous_cell_carcinoma")
LEVEL = "0"
"""TCGA-UT's folder of 0.5 µm per px, the scale of the encoder's other tiles."""
SLIDE_COLUMNS = ("slide_submitter_id", "medi_split", "tissue_source_site", "gender", "race")
SUBGROUP = "subgroup"
"""tissue source site × gender × race: what the paper holds out, and reports."""
SUBGROUP_COLUMNS = (
    *("subgroup", "arm", "measure", "value", "ci_low", "ci_high", "change", "change_low", "change_high"),
    *("n", "n_patients"),
)
PATHOROB_COLUMNS = ("subset", "slide_id", "patch_id")
TRAIN, HOLD_OUT = "train", "holdout"


def paper_manifest(root: Path, slides: Path, cancer_types: tuple[str, ...] = PAPER_TYPES) -> pd.DataFrame:
    """The tiles of slides with a place in the paper's split; columns `part`: train or holdout, and `SUBGROUP`.

    Args:
        root: TCGA-UT, as `import_tcga_ut` reads it.
        slides: a table with `SLIDE_COLUMNS`; a slide without a split is not used.
        cancer_types: to keep.

    Raises:
        ManifestError: a file that cannot be used, or no tile of these slides.
    """
    table = _table(slides, SLIDE_COLUMNS)
    part_of = dict(zip(table["slide_submitter_id"], table["medi_split"], strict=True))
    manifest = import_tcga_ut(root, levels=(LEVEL,))
    manifest["part"] = manifest["slide"].map(part_of)
    parts = table[["tissue_source_site", "gender", "race"]].astype(str).replace("", "not recorded")
    manifest[SUBGROUP] = manifest["slide"].map(
        dict(zip(table["slide_submitter_id"], parts.agg(" · ".join, axis=1), strict=True))
    )
    kept = manifest["cancer_type"].isin(cancer_types) & manifest["part"].isin((TRAIN, HOLD_OUT))
    return _some(manifest[kept], f"no tile of {', '.join(cancer_types)} under {root} is of a slide of {slides.name}")


def pathorob_manifest(root: Path, tiles: Path) -> pd.DataFrame:
    """The tiles of PathoROB's TCGA 4×4 split; column `part`: ID or OOD.

    Args:
        root: TCGA-UT, as `import_tcga_ut` reads it.
        tiles: a table with `PATHOROB_COLUMNS`, a row a tile.

    Raises:
        ManifestError: a file that cannot be used, or none of its tiles.
    """
    table = _table(tiles, PATHOROB_COLUMNS)
    part_of = dict(zip(zip(table["slide_id"], table["patch_id"], strict=True), table["subset"], strict=True))
    manifest = import_tcga_ut(root, levels=(LEVEL,))
    stems = manifest["path"].map(lambda path: Path(path).stem)
    keys = zip(manifest["slide"], stems, strict=True)
    manifest["part"] = [part_of.get(key) for key in keys]
    return _some(
        manifest[manifest["part"].notna()], f"none of the {len(table):,} tiles of {tiles.name} is under {root}"
    )


def encode_manifest(
    manifest: pd.DataFrame,
    encoding: EncodingService,
    bank: ReferenceSet | None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> ReferenceSet:
    """The tiles by their features, and the bank's synthetic ones beside them.

    A patient counts as one that the generator saw if the bank's reference set has it in the training split.

    Args:
        manifest: with a column `part`; this and `SUBGROUP`, where there is one, are kept.
        encoding: the encoder of the bank.
        bank: `None`: there are no synthetic tiles, and no arm with any.
        on_progress: called with (tiles done, tiles in all).
    """
    rows, features = encoding.features_of_rows(manifest, on_progress)
    frame = rows.reset_index(drop=True)
    seen = set()
    if bank is not None:
        real = bank.real.tiles
        seen = set(real.loc[is_train_split(real), "patient_id"].dropna())
    split = np.where(frame["patient_id"].isin(seen), "train", "test")
    frame = frame.assign(origin="real", group="real", split=split, id=frame.index.astype(str))
    frame = frame.reindex(columns=[*COLUMNS, *(name for name in ("part", SUBGROUP) if name in frame)])
    if bank is None:
        return ReferenceSet(frame, features, {"encoder": encoding.name})
    synthetic = bank.synthetic
    tiles = pd.concat([frame.astype(object), synthetic.tiles.astype(object)], ignore_index=True)
    # whom the checkpoint declares held out is not asked: most patients of TCGA-UT were in none of its data
    facts = {name: fact for name, fact in bank.facts.items() if name != DECLARED}
    return ReferenceSet(tiles, np.concatenate([features, synthetic.features]), facts)


def run_paper(
    encoded: ReferenceSet, config: ExperimentConfig, on_progress: Callable[[int, int], None] = lambda *_: None
) -> ExperimentResult:
    """Train on the paper's training slides, test on its hold-out of tissue source site × gender × race.

    Args:
        encoded: of `paper_manifest`.
        config: arms, ratio, seeds and probe; its preset is not looked at.
        on_progress: called with (folds done, folds in all).

    Raises:
        TooFewTilesError: too few patients on one side.

    Source: Drexlin et al. 2025 (arXiv 2506.17140), the subpopulation shift.
    """
    rows = eligible_rows(encoded.tiles, config)
    part = encoded.tiles["part"].iloc[rows["tile"]].to_numpy(dtype=object)
    return run_design(encoded, rows, given_design(rows, part == TRAIN, part == HOLD_OUT, config), config, on_progress)


def subgroup_accuracy(result: ExperimentResult, encoded: ReferenceSet) -> pd.DataFrame:
    """Accuracy of each arm in each tissue source site × gender × race that was tested, worst first by real only.

    Args:
        result: of `run_paper`.
        encoded: what it ran on.

    Returns:
        `SUBGROUP_COLUMNS`: mean over seeds, its interval over patients, the paired change over real only; `measure` is
        recall where a subgroup has one cancer type. No interval for a single patient.
    """
    arms = result.training["arm"]
    by_tile = result.hits.groupby("tile").agg(
        {"patient_id": "first", "cancer_type": "first", **dict.fromkeys(arms, "mean")}
    )
    by_tile = by_tile.astype(dict.fromkeys(arms, float))
    records = []
    for name, own in by_tile.groupby(encoded.tiles[SUBGROUP].reindex(by_tile.index)):
        types, patients = own["cancer_type"].unique(), own["patient_id"]
        measure = "accuracy" if len(types) > 1 else f"recall of {types[0]}"
        for arm in arms:
            numbers = [own[arm].mean(), *cluster_bootstrap(own[arm].to_numpy(), patients)]
            change = own[arm] - own[REAL]
            numbers += [change.mean(), *cluster_bootstrap(change.to_numpy(), patients)] if arm != REAL else [np.nan] * 3
            records.append((name, arm, measure, *numbers, len(own), patients.nunique()))
    table = pd.DataFrame(records, columns=list(SUBGROUP_COLUMNS))
    order = table[table["arm"] == REAL].sort_values("value", kind="stable")["subgroup"]
    place = dict(zip(order, range(len(order)), strict=True))
    return table.sort_values("subgroup", key=lambda column: column.map(place), kind="stable", ignore_index=True)


def run_pathorob(
    encoded: ReferenceSet, config: ExperimentConfig, on_progress: Callable[[int, int], None] = lambda *_: None
) -> ExperimentResult:
    """Train on the ID centers with the correlation of `config`, test on other patients of them and on the OOD centers.

    Args:
        encoded: of `pathorob_manifest`.
        config: correlation, arms, ratio, seeds and probe; classes and centers are taken from the split.
        on_progress: called with (folds done, folds in all).

    Source: Kömen et al. 2025 (arXiv 2507.17845), TCGA 4×4.
    """
    in_domain = encoded.tiles[encoded.tiles["part"] == "ID"]
    types, centers = sorted(in_domain["cancer_type"].unique()), sorted(in_domain["center"].unique())
    chosen = replace(config, cancer_types=tuple(types), preset=CORRELATION, training_centers=tuple(centers))
    return run_experiment(encoded, chosen, on_progress)


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = read_table(path)
    if missing := [name for name in columns if name not in table]:
        raise ManifestError(f"{path.name} lacks the columns {', '.join(missing)}; it needs {', '.join(columns)}")
    return table


def _some(manifest: pd.DataFrame, otherwise: str) -> pd.DataFrame:
    if manifest.empty:
        raise ManifestError(f"{otherwise}: check both paths")
    return manifest.reset_index(drop=True)
