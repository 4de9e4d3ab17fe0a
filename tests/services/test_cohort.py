"""One's own cohort: good rows are kept, every other one is left out with a reason, and nothing leaves its folder."""

import json
import zipfile

import numpy as np
import pandas as pd
import pytest

from medi_core.data.feature_cache import tile_digest
from medi_core.data.tile_dataset import read_grid_tile, read_image
from medi_core.errors import InvalidRequestError, ManifestError
from medi_core.services import cohort_use
from medi_core.services.cohort import Cohort, CohortService, cohort_report
from medi_core.services.cohort_preview import NOT_RECORDED, preview, recorded, stain_bins
from medi_core.services.cohort_use import classify_cohort, encode_cohort
from medi_core.stain.separation import stain_strengths
from tests.toy_classifier import save_toy_classifier
from tests.toy_cohort import BREAST, LUNG, NUM, cohort_table, png, write_cohort


@pytest.fixture
def service(tiny_services) -> CohortService:
    return tiny_services.cohort


def checked(service, path, **columns) -> Cohort:
    upload = service.unpack(path, path.parent / f"{path.stem}-unpacked")
    return service.check(upload, upload.guess() | columns)


@pytest.fixture
def cohort(service, tmp_path) -> Cohort:
    return checked(service, write_cohort(tmp_path / "mine.zip"))


def test_columns_are_found_by_their_names(service, tmp_path):
    upload = service.unpack(write_cohort(tmp_path / "mine.zip"), tmp_path / "folder")
    assert upload.guess() == {
        "path": "File name",
        "cancer_type": "Diagnosis",
        "center": "Hospital",
        "patient_id": "Patient ID",
    }
    upload.delete()
    assert not (tmp_path / "folder").exists()


def test_good_rows_are_kept_with_measured_stains(cohort):
    assert (len(cohort.tiles), cohort.num_given, cohort.num_patients) == (NUM, NUM, 6)
    assert cohort.dropped == ("Comment",)
    row = cohort.tiles.iloc[3]
    tile = read_grid_tile(row, read_image(row["path"]))
    assert (row["hematoxylin"], row["eosin"]) == stain_strengths(tile)
    assert cohort.digests[3] == tile_digest(tile)
    np.testing.assert_array_equal(cohort.attached.image(row.to_dict() | row_id(row, tile)), tile)


def row_id(row, tile) -> dict:
    """As a reference set names the tile."""
    return {"id": tile_digest(tile), "image": row["path"].rsplit("/", 1)[1]}


def test_values_that_the_checkpoint_does_not_know_are_listed_with_what_is_close(service, tmp_path, cohort):
    [center] = cohort.new_centers()
    assert (center.value, center.num_tiles, center.num_patients) == ("Nice", 4, 2)
    table = cohort_table().replace({"Lyon": "Lyonn"})
    unknown = checked(service, write_cohort(tmp_path / "typo.zip", table)).new_centers()
    assert {u.value: u.close[:1] for u in unknown}["Lyonn"] == ("Lyon",)


def test_bad_rows_are_left_out_and_each_reason_names_its_rows(service, tmp_path):
    table = cohort_table()
    table.loc[1, "File name"] = "tiles/nowhere.png"
    table.loc[3, "File name"] = "tiles/2.png"
    table["Sample type"] = ["FFPE"] * 11 + ["wax"]
    images = {"tiles/4.png": png(4)[:300], "tiles/6.png": png(5), "tiles/7.png": png(7, 64)}
    found = checked(service, write_cohort(tmp_path / "bad.zip", table, images))
    said = " · ".join(map(str, found.faults))
    kept = {path.rsplit("/", 1)[1] for path in found.tiles["path"]}
    assert kept.isdisjoint({"nowhere.png", "4.png", "6.png", "11.png"})
    assert len(found.tiles) == NUM - 6
    assert "file not found, row 2, e.g. 'tiles/nowhere.png'" in said
    assert "the same tile is listed twice, row 4" in said
    assert "preparation must be one of FFPE, frozen, row 12, e.g. 'wax'" in said
    assert "the same pixels as an earlier row, row 7" in said
    assert "row 5" in said
    assert str(tmp_path) not in said, "the visitor knows nothing of our folders"


def test_the_report_as_json_counts_what_is_used_and_says_why_the_rest_is_not(service, tmp_path):
    table = cohort_table()
    table.loc[1, "File name"] = "tiles/nowhere.png"
    report = cohort_report(checked(service, write_cohort(tmp_path / "mine.zip", table)))
    assert json.loads(json.dumps(report)) == report
    assert (report["rows"], report["rows_given"], report["patients"]) == (11, 12, 6)
    assert report["dropped_columns"] == ["Comment"]
    assert report["faults"] == [{"what": "file not found", "rows": 1, "where": "row 2, e.g. 'tiles/nowhere.png'"}]
    [unknown] = report["unknown_values"]
    assert (unknown["attribute"], unknown["value"], unknown["num_tiles"]) == ("center", "Nice", 4)
    assert report["center"] == {"Lyon": 7, "Nice": 4}


def test_nothing_usable_and_columns_that_make_no_sense_are_one_message(service, tmp_path):
    path = write_cohort(tmp_path / "mine.zip")
    upload = service.unpack(path, tmp_path / "folder")
    with pytest.raises(ManifestError, match="Hospital is chosen for several columns"):
        service.check(upload, upload.guess() | {"cancer_type": "Hospital"})
    with pytest.raises(ManifestError, match="path"):
        service.check(upload, {"center": "Hospital"})
    none = write_cohort(tmp_path / "none.zip", images={f"tiles/{n}.png": png(n)[:300] for n in range(NUM)})
    with pytest.raises(ManifestError, match="none of the 12 rows of cohort"):
        checked(service, none)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd"])
def test_a_table_that_points_outside_its_zip_is_refused_before_anything_is_looked_up(service, tmp_path, name):
    table = cohort_table()
    table.loc[0, "File name"] = name
    with pytest.raises(ManifestError, match="names an image outside itself"):
        checked(service, write_cohort(tmp_path / "spy.zip", table))


def test_hostile_zips_are_refused(service, tmp_path):
    path = write_cohort(tmp_path / "slip.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../escaped.png", png(0))
    with pytest.raises(ManifestError):
        checked(service, path)
    assert not (tmp_path / "escaped.png").exists()
    wide = pd.DataFrame({f"c{n}": [1] for n in range(200)})
    with pytest.raises(ManifestError, match="at most 100 are read"):
        checked(service, write_cohort(tmp_path / "wide.zip", wide))
    long = pd.DataFrame({"path": ["a.png"] * 20_005})
    with pytest.raises(ManifestError, match="more than 20,000 rows"):
        checked(service, write_cohort(tmp_path / "long.zip", long))


def test_the_preview_counts_every_tile_once_and_shows_tiles_of_different_patients(cohort, service):
    found = preview(cohort, ("cancer_type", "center"), service.vocabulary)
    assert sum(group.num_tiles for group in found) == NUM
    assert found[0].num_tiles == max(group.num_tiles for group in found)
    assert all(1 <= len(group.tiles) <= 4 for group in found)
    assert recorded(cohort)[:2] == ["cancer_type", "center"]
    with pytest.raises(InvalidRequestError, match="choose what subgroups"):
        preview(cohort, (), service.vocabulary)
    with pytest.raises(InvalidRequestError, match="by mood"):
        preview(cohort, ("mood",), service.vocabulary)


def test_stain_bins_are_those_of_the_checkpoint_and_count_every_tile(cohort, service):
    bins = stain_bins(cohort, service.vocabulary)
    for name, part in bins.groupby("attribute"):
        assert part["n"].sum() == NUM
        wanted = {service.vocabulary.label(name, b) for b in service.vocabulary.values[name]} | {NOT_RECORDED}
        assert set(part["value"]) == wanted


def test_a_cohort_goes_to_the_map_one_patient_in_turn(cohort, tiny_services, cheap_encoder, monkeypatch):
    monkeypatch.setattr(cohort_use, "MAX_ON_MAP", 6)
    own = encode_cohort(tiny_services.encoding, cohort)
    assert own.features.shape[0] == len(own.tiles) == 6
    assert own.tiles["patient_id"].nunique() == 6


def test_a_cohort_goes_to_the_audit_as_predictions_of_the_resident_classifier(cohort, tiny_services):
    save_toy_classifier(tiny_services.settings.classifier_dir)
    predictions = classify_cohort(tiny_services.classification, cohort)
    assert "tile-classifier@" in predictions.model
    assert predictions.model.endswith("on mine.zip")
    assert len(predictions.tiles) == NUM
    assert set(predictions.tiles["true"]) == {LUNG, BREAST}
    audit = tiny_services.audit.audit(predictions, ["center"])
    assert audit.subgroups.set_index("subgroup").loc["Nice", "n"] == 4, "no reference set is needed"
