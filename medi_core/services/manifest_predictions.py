"""The classifier on every tile of a manifest, as a table that the audit reads (data/predictions.py). No widgets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.feature_cache import tile_digest
from medi_core.data.grid_tiles import iterate_grid_tiles
from medi_core.data.patients import patients_of
from medi_core.data.predictions import METADATA, PROBABILITY
from medi_core.errors import ManifestError
from medi_core.services.classification import ClassificationService, Verdict
from medi_core.storage import translate_write_errors

BATCH_TILES = 256


def predict_manifest(
    service: ClassificationService,
    manifest: pd.DataFrame,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> pd.DataFrame:
    """Predictions of the tiles whose class the classifier knows; the same pixels count once.

    Args:
        manifest: as `read_manifest` returns it.
        on_progress: called with (tiles done, tiles in all).

    Returns:
        `id` (content hash, as in the reference set), `true`, `predicted`, `p:<class>` (float16), and of `METADATA`
        the columns with something in them, in the manifest's order. A tile without a patient has its slide or data
        set for one. `attrs["model"]` is the classifier.

    Raises:
        ManifestError: no tile has a class that the classifier knows, or an image cannot be used.
        CheckpointError: there is no classifier, or it cannot be used.
    """
    rows = manifest[manifest["cancer_type"].isin(service.classes)].reset_index(drop=True)
    if rows.empty:
        raise ManifestError(
            f"no row has a cancer type that the classifier knows: {', '.join(service.classes)}; name them alike"
        )
    found: dict[int, tuple[str, Verdict]] = {}
    waiting: list[tuple[int, np.ndarray]] = []

    def judge() -> None:
        verdicts = service.verdicts([tile for _, tile in waiting])
        found.update({i: (tile_digest(tile), v) for (i, tile), v in zip(waiting, verdicts, strict=True)})
        waiting.clear()

    for part, tiles in iterate_grid_tiles(rows, on_progress):
        waiting += zip(part.index, tiles, strict=True)
        if len(waiting) >= BATCH_TILES:
            judge()
    judge()
    return _table(rows, [found[i] for i in range(len(rows))], service.model_id)


def write_predictions(predictions: pd.DataFrame, path: Path) -> None:
    """Write a `.parquet` (with the model's name) or `.csv` file.

    Raises:
        StorageError: it cannot be written.
    """
    with translate_write_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            predictions.to_parquet(path, index=False, compression="zstd")
        else:
            predictions.to_csv(path, index=False, float_format="%.4f")


def _table(rows: pd.DataFrame, found: list[tuple[str, Verdict]], model: str) -> pd.DataFrame:
    probabilities = pd.DataFrame([verdict.probabilities for _, verdict in found], index=rows.index)
    table = pd.DataFrame(
        {
            "id": [digest for digest, _ in found],
            "true": rows["cancer_type"],
            "predicted": [verdict.top for _, verdict in found],
        }
    )
    kept = rows[list(METADATA)].assign(patient_id=patients_of(rows)).dropna(axis="columns", how="all")
    table = pd.concat([table, probabilities.astype(np.float16).add_prefix(PROBABILITY), kept], axis=1)
    table = table.drop_duplicates("id", ignore_index=True)
    table.attrs["model"] = model
    return table
