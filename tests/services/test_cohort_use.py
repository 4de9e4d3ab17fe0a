"""A cohort's features and predictions are those of its tiles."""

import numpy as np
import pytest

from medi_core.data.tile_dataset import read_grid_tile, read_image
from medi_core.errors import ManifestError
from medi_core.services import cohort_use
from medi_core.services import encoding as encoding_service
from medi_core.services.attached_tiles import AttachedTiles
from medi_core.services.audit import AuditConfig, AuditService
from medi_core.services.classification import ClassificationService
from medi_core.services.cohort import Cohort, CohortService
from medi_core.services.cohort_use import classify_cohort, encode_cohort
from medi_core.services.encoding import EncodingService
from tests.toy_classifier import save_toy_classifier
from tests.toy_upload import NUM_GOOD, toy_rows, write_cohort


def check(toy_vocabulary, folder, rows=None) -> Cohort:
    service = CohortService(toy_vocabulary, AttachedTiles())
    upload = service.unpack(write_cohort(folder / "mine.zip", rows), folder / "session")
    return service.check(upload, upload.guess())


@pytest.fixture
def cohort(toy_vocabulary, tmp_path) -> Cohort:
    return check(toy_vocabulary, tmp_path)


def pixels(cohort: Cohort) -> list[np.ndarray]:
    return [read_grid_tile(row, read_image(row["path"])) for _, row in cohort.tiles.iterrows()]


def test_features_are_in_the_order_of_the_tiles_at_any_chunk(cohort, cheap_encoder, monkeypatch):
    encoding = EncodingService()
    whole = encode_cohort(encoding, cohort)
    np.testing.assert_array_equal(whole.features, encoding.features_of(pixels(cohort)))
    assert whole.tiles["path"].tolist() == cohort.tiles["path"].tolist()
    monkeypatch.setattr(encoding_service, "ROWS_AT_ONCE", 5)
    np.testing.assert_array_equal(encode_cohort(encoding, cohort).features, whole.features)


def test_of_a_large_cohort_each_patient_has_a_tile_before_any_has_two(cohort, cheap_encoder, monkeypatch):
    monkeypatch.setattr(cohort_use, "MAX_ON_MAP", 6)
    assert sorted(encode_cohort(EncodingService(), cohort).tiles["patient_id"]) == [f"P{i}" for i in range(6)]


def test_predictions_are_audited_with_the_cohorts_own_metadata_and_no_reference_set(cohort, tmp_path):
    classification = ClassificationService(save_toy_classifier(tmp_path / "classifier"))
    found = classify_cohort(classification, cohort)
    assert found.tiles["predicted"].tolist() == [v.top for v in classification.verdicts(pixels(cohort))]
    assert found.tiles["true"].tolist() == cohort.tiles["cancer_type"].tolist()
    assert found.model.endswith("on mine.zip")
    audit = AuditService(tmp_path / "none", tmp_path / "none.parquet").audit(
        found, ["center"], AuditConfig("accuracy", 1, 1)
    )
    assert set(audit.subgroups["subgroup"]) == {"Lyon", "Pariss", "Xanadu"}
    assert (audit.overall["n"], audit.overall["n_patients"]) == (NUM_GOOD, 6)
    assert all(cohort.attached.image(tile) is not None for _, tile in found.tiles.iterrows())


def test_a_cohort_without_a_class_that_the_classifier_knows_is_told_so(toy_vocabulary, tmp_path):
    rows = [row | {"diagnosis": "Melanoma"} for row in toy_rows()]
    classification = ClassificationService(save_toy_classifier(tmp_path / "classifier"))
    with pytest.raises(ManifestError, match="no row has a cancer type that the classifier knows"):
        classify_cohort(classification, check(toy_vocabulary, tmp_path, rows))
