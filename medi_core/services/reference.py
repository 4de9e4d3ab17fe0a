"""The reference set: real tiles by their features, a bank of synthetic ones, and a map of both. Knows no widgets."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.feature_cache import tile_digest
from medi_core.data.grid_tiles import iterate_grid_tiles
from medi_core.data.manifest import HELD_OUT_SPLITS, read_manifest
from medi_core.data.reference_set import (
    COLUMNS,
    DECLARED,
    ReferenceSet,
    is_train_split,
    read_reference,
    require_match,
    write_reference,
)
from medi_core.data.tile_dataset import STAINS
from medi_core.errors import ManifestError, TooFewTilesError
from medi_core.metrics.robustness import robustness_index
from medi_core.projection import ProjectionConfig, fit_projection
from medi_core.services.asked_versus_got import measure_requests
from medi_core.services.controls import make_controls
from medi_core.services.copy_audit import WINDOW_COLUMNS, baseline_rows, tiles_of, windows_of_tiles
from medi_core.services.encoding import EncodingService
from medi_core.services.generation import GenerationService
from medi_core.services.synthetic_bank import BankConfig, focus_pairs, make_bank, plan_bank
from medi_core.stain.separation import stain_strengths

OnStage = Callable[[str, int, int], None]
"""Called with (what is being done, done, total); what it raises ends the work."""
WORK_SUFFIX = ".work"
ROBUSTNESS_NEIGHBOURS = 10


class ReferenceService:
    """The reference set in `folder`, read when it is first needed."""

    def __init__(self, generation: GenerationService, encoding: EncodingService, folder: Path) -> None:
        self._generation, self._encoding, self._folder = generation, encoding, folder
        self._lock = threading.Lock()
        self._loaded: ReferenceSet | None = None
        self._on_map: ReferenceSet | None = None

    def load(self) -> ReferenceSet:
        """The reference set of the loaded checkpoint and encoder.

        Raises:
            ReferenceSetError: it is missing, damaged, or of another checkpoint or encoder, which the message names.
        """
        with self._lock:
            if self._loaded is None:
                reference = read_reference(self._folder)
                checkpoint = self._generation.checkpoint
                require_match(reference, checkpoint.id, self._encoding.name)
                if (declared := checkpoint.held_out_patients) is not None:
                    reference = replace(reference, facts={**reference.facts, DECLARED: declared})
                self._loaded, self._on_map = reference, reference.part(reference.tiles["map_x"].notna())
            return self._loaded

    def load_map(self) -> ReferenceSet:
        """The tiles that have a place in the map: all but the controls, in the same order.

        Raises:
            ReferenceSetError: as `load`.
        """
        self.load()
        return self._on_map

    def build(
        self,
        manifest_path: Path,
        bank: BankConfig,
        projection: ProjectionConfig,
        on_progress: OnStage = lambda *_: None,
    ) -> ReferenceSet:
        """Encode the grid tiles of a manifest, make the bank, fit the map, and write the folder anew.

        A build that was stopped goes on: features are cached, and finished entries of the bank are kept beside
        the folder until the end.

        Raises:
            ManifestError: the manifest or an image in it cannot be used; nothing is written.
            StorageError: the folder cannot be written; it is as it was.
        """
        manifest = read_manifest(manifest_path)
        if num_synthetic := int((manifest["origin"] == "synthetic").sum()):
            raise ManifestError(
                f"{num_synthetic} rows of {manifest_path.name} have origin 'synthetic': a reference set is made from "
                "real tiles; leave these rows out"
            )
        held_out = manifest[manifest["split"].isin(HELD_OUT_SPLITS)].dropna(subset=["cancer_type", "center"])
        pairs = list(held_out[["cancer_type", "center"]].drop_duplicates().itertuples(index=False, name=None))
        entries = plan_bank(self._generation.vocabulary, pairs, bank, focus_pairs(manifest))
        real = self._encode_real(manifest, on_progress)
        controls = make_controls(manifest, real.tiles, self._encoding, on_progress=_stage(on_progress, "Controls"))
        work = self._folder.with_name(self._folder.name + WORK_SUFFIX)
        synthetic, pixels = make_bank(
            entries, self._generation, self._encoding, work, _stage(on_progress, "Generating")
        )
        _audit(manifest, real.tiles, synthetic.tiles, pixels, _stage(on_progress, "Looking for copies"))
        reference = self._assemble(real, synthetic, controls, bank, projection, on_progress)
        write_reference(reference, self._folder)
        shutil.rmtree(work, ignore_errors=True)
        with self._lock:
            self._loaded = None
        return reference

    def _assemble(
        self,
        real: ReferenceSet,
        synthetic: ReferenceSet,
        controls: ReferenceSet,
        bank: BankConfig,
        projection: ProjectionConfig,
        on_progress: OnStage,
    ) -> ReferenceSet:
        """The parts in this order, the map of the first two, and what is measured once and for all."""
        parts = (real, synthetic, controls)
        tiles = pd.concat([part.tiles.reindex(columns=COLUMNS) for part in parts], ignore_index=True)
        # as they will be read, so that map and probes belong to the features beside them
        features = np.concatenate([part.features for part in parts]).astype(np.float16).astype(np.float32)
        num_mapped = len(real.tiles) + len(synthetic.tiles)
        places = fit_projection(features[:num_mapped], projection, _stage(on_progress, "Fitting the map"))
        tiles.loc[: num_mapped - 1, ["map_x", "map_y"]] = places
        facts = {
            "checkpoint": self._generation.checkpoint.id,
            "encoder": self._encoding.name,
            "bank": asdict(bank),
            "map": asdict(projection),
            "robustness": _robustness(real),
        }
        reference = ReferenceSet(tiles, features, facts)
        return replace(reference, facts=facts | {"asked": measure_requests(reference)})

    def _encode_real(self, manifest: pd.DataFrame, on_progress: OnStage) -> ReferenceSet:
        """Features and metadata of the grid tiles, in the manifest's order; each image is read once."""
        parts, features = [], []
        for rows, tiles in iterate_grid_tiles(manifest, lambda *done: on_progress("Encoding real tiles", *done)):
            features.append(self._encoding.features_of(tiles))
            part = rows.reindex(columns=COLUMNS)
            part["id"] = [tile_digest(tile) for tile in tiles]
            part["origin"] = part["group"] = "real"
            part["image"] = [Path(path).name for path in rows["path"]]
            for name, strengths in zip(STAINS, zip(*map(stain_strengths, tiles), strict=True), strict=True):
                part[name] = part[name].fillna(pd.Series(strengths, part.index))
            parts.append(part)
        frame = pd.concat(parts)
        order = frame.index.argsort(kind="stable")
        return ReferenceSet(frame.iloc[order].reset_index(drop=True), np.concatenate(features)[order], {})


def _audit(
    manifest: pd.DataFrame,
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    pixels: np.ndarray,
    on_progress: Callable[[int, int], None],
) -> None:
    """Note on every synthetic row, and on some held-out real ones, the training window that it is most like."""
    usual = baseline_rows(real)
    baseline = tiles_of(manifest.loc[usual.index])
    groups = [*[None] * len(synthetic), *usual["patient_id"]]
    windows = windows_of_tiles([*pixels, *baseline], groups, manifest[is_train_split(manifest)], on_progress)
    windows = windows.astype({"window_image": object})
    synthetic[list(WINDOW_COLUMNS)] = windows[: len(synthetic)].set_axis(synthetic.index)
    real[list(WINDOW_COLUMNS)] = windows[len(synthetic) :].set_axis(usual.index)


def _stage(on_progress: OnStage, what: str) -> Callable[[int, int], None]:
    return lambda *done: on_progress(what, *done)


def _robustness(real: ReferenceSet) -> dict[str, float] | None:
    """Does the encoder group real tiles by cancer type rather than by center? `None` where the tiles cannot tell."""
    labels = real.tiles[["cancer_type", "center", "patient_id"]].astype(object)
    columns = labels.where(labels.notna(), None).to_numpy().T
    try:
        return asdict(robustness_index(real.features, *columns, k=ROBUSTNESS_NEIGHBOURS))
    except TooFewTilesError:
        return None
