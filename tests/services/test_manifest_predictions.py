"""Predictions of a manifest: the classifier's own, by content hash, and as the audit reads them."""

import numpy as np
import pandas as pd
import pytest

from medi_core.data.balanced_tiles import read_tiles
from medi_core.data.feature_cache import tile_digest
from medi_core.data.manifest import read_manifest
from medi_core.data.patients import patients_of
from medi_core.data.predictions import read_predictions
from medi_core.errors import ManifestError
from medi_core.services.classification import ClassificationService
from medi_core.services.manifest_predictions import predict_manifest, write_predictions
from tests.toy_classifier import CLASSES, save_toy_classifier


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> ClassificationService:
    return ClassificationService(save_toy_classifier(tmp_path_factory.mktemp("classifiers") / "toy"))


def test_each_row_is_the_verdict_of_its_tile(service, toy_manifest):
    manifest = read_manifest(toy_manifest)
    done = []
    table = predict_manifest(service, manifest, lambda *progress: done.append(progress))
    tiles = read_tiles(manifest)
    verdicts = service.verdicts(list(tiles))
    assert list(table["id"]) == [tile_digest(tile) for tile in tiles]
    assert list(table["predicted"]) == [verdict.top for verdict in verdicts]
    assert list(table["true"]) == list(manifest["cancer_type"])
    expected = [list(verdict.probabilities.values()) for verdict in verdicts]
    np.testing.assert_allclose(table[[f"p:{name}" for name in CLASSES]].astype(float), expected, atol=1e-3)
    assert done[-1] == (24, 24)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_audit_reads_what_is_written(service, toy_manifest, tmp_path, suffix):
    table = predict_manifest(service, read_manifest(toy_manifest))
    write_predictions(table, tmp_path / f"out.{suffix}")
    read = read_predictions(tmp_path / f"out.{suffix}", pd.DataFrame({"id": []}, dtype=object))
    assert read.model == (service.model_id if suffix == "parquet" else "out")
    assert read.classes == CLASSES
    assert list(read.tiles["patient_id"]) == list(table["patient_id"])
    assert list(read.tiles["split"]) == list(table["split"])


def test_tiles_of_unknown_classes_are_left_out_and_the_same_pixels_count_once(service, toy_manifest):
    manifest = read_manifest(toy_manifest)
    manifest.loc[0, "cancer_type"] = "Mesothelioma"
    manifest.loc[1, "cancer_type"] = None
    manifest.loc[3, "path"] = manifest.loc[2, "path"]
    assert len(predict_manifest(service, manifest)) == 21
    with pytest.raises(ManifestError, match="no row has a cancer type that the classifier knows: Breast"):
        predict_manifest(service, manifest.assign(cancer_type="Mesothelioma"))


def test_without_patient_ids_the_audit_reads_it_by_slide_and_crosses_what_the_manifest_knows(
    service, toy_manifest, tmp_path
):
    manifest = read_manifest(toy_manifest)
    table = predict_manifest(service, manifest.assign(patient_id=None))
    write_predictions(table, tmp_path / "out.csv")
    tiles = read_predictions(tmp_path / "out.csv", pd.DataFrame({"id": []}, dtype=object)).tiles
    assert patients_of(tiles).tolist() == manifest["slide"].tolist()
    for name in ("slide", "cancer_type", "center", "gender", "race", "scanner", "preparation", "age"):
        assert tiles[name].tolist() == manifest[name].tolist(), name
