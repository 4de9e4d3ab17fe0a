"""A zip becomes the rows that can be used and a report on the others; nothing outside it is read, nothing is silent."""

import numpy as np
import pandas as pd
import pytest

from medi_core.data import uploaded_rows
from medi_core.data.feature_cache import tile_digest
from medi_core.data.tile_dataset import read_grid_tile, read_image
from medi_core.errors import ManifestError
from medi_core.services.attached_tiles import AttachedTiles
from medi_core.services.cohort import CohortService
from medi_core.stain.separation import stain_strengths
from tests.toy_cohort import NUM_GOOD, toy_rows, write_cohort


@pytest.fixture
def service(toy_vocabulary) -> CohortService:
    return CohortService(toy_vocabulary, AttachedTiles())


@pytest.fixture
def upload(service, tmp_path):
    return service.unpack(write_cohort(tmp_path / "mine.zip"), tmp_path / "session")


@pytest.fixture
def cohort(service, upload):
    return service.check(upload, upload.guess())


def test_columns_are_guessed_by_their_names(upload):
    assert upload.guess() == {
        **{"path": "File Name", "cancer_type": "diagnosis", "center": "Hospital", "preparation": "preparation"},
        "patient_id": "Patient ID",
    }


def test_every_fault_is_listed_with_its_rows_and_these_rows_alone_are_left_out(cohort):
    rows_of = {fault.what: (np.flatnonzero(fault.rows) + 1).tolist() for fault in cohort.faults}
    assert rows_of.pop("file not found") == [NUM_GOOD + 1]
    assert rows_of.pop("the same tile is listed twice") == [NUM_GOOD + 2]
    assert rows_of.pop("the same pixels as an earlier row") == [NUM_GOOD + 4]
    assert rows_of.pop("preparation must be one of FFPE, frozen") == [NUM_GOOD + 5]
    ((what, rows),) = rows_of.items()
    assert "images/small.png is 64×64 px; a tile needs at least 128 px" in what
    assert rows == [NUM_GOOD + 3]
    assert (cohort.num_given, len(cohort.tiles), cohort.num_patients) == (NUM_GOOD + 5, NUM_GOOD, 6)
    assert cohort.dropped == ("remarks",)


def test_no_message_names_the_folder_that_the_zip_was_unpacked_to(cohort, tmp_path):
    assert not any(str(tmp_path) in str(fault) for fault in cohort.faults)
    assert any("images/gone.png" in str(fault) for fault in cohort.faults)


def test_stains_are_measured_where_they_are_not_given_and_digests_are_those_of_the_tiles(service, tmp_path):
    rows = [row | {"eosin": "0.7" if i == 1 else ""} for i, row in enumerate(toy_rows())]
    upload = service.unpack(write_cohort(tmp_path / "mine.zip", rows), tmp_path / "session")
    cohort = service.check(upload, upload.guess())
    for i in (0, 1):
        row = cohort.tiles.iloc[i]
        tile = read_grid_tile(row, read_image(row["path"]))
        assert cohort.digests[i] == tile_digest(tile)
        hematoxylin, eosin = stain_strengths(tile)
        assert row["hematoxylin"] == pytest.approx(hematoxylin)
        assert row["eosin"] == pytest.approx(0.7 if i == 1 else eosin)


def test_values_that_the_checkpoint_does_not_know_come_with_close_ones_and_their_numbers(cohort):
    found = {unknown.value: unknown for unknown in cohort.unknown}
    assert set(found) == {"Pariss", "Xanadu"}
    assert found["Pariss"].close == ("Paris",)
    assert found["Xanadu"].close == ()
    assert (found["Xanadu"].attribute, found["Xanadu"].num_tiles, found["Xanadu"].num_patients) == ("center", 4, 2)
    assert {unknown.value for unknown in cohort.new_centers()} == {"Pariss", "Xanadu"}


def test_a_mapping_can_be_corrected_and_one_that_makes_no_sense_is_refused(service, upload):
    guess = upload.guess()
    moved = service.check(upload, {**guess, "center": "remarks"})
    assert moved.dropped == ("Hospital",)
    assert set(moved.tiles["center"]) == {toy_rows()[0]["remarks"]}
    with pytest.raises(ManifestError, match="Hospital is chosen for several columns"):
        service.check(upload, {**guess, "scanner": "Hospital"})
    with pytest.raises(ManifestError, match="has no column 'path'; map one of: File Name"):
        service.check(upload, {"center": "Hospital"})
    with pytest.raises(ManifestError, match="has no column 'Clinic'"):
        service.check(upload, {**guess, "center": "Clinic"})


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside.png", "images/../../outside.png"])
def test_a_row_that_names_a_file_outside_the_zip_is_refused_whether_the_file_exists_or_not(service, tmp_path, path):
    upload = service.unpack(write_cohort(tmp_path / "bad.zip", [{"path": path}]), tmp_path / "session")
    with pytest.raises(ManifestError, match="names an image outside itself"):
        service.check(upload, upload.guess())


def test_a_table_of_too_many_rows_or_columns_is_refused_before_it_is_parsed(service, tmp_path, monkeypatch):
    monkeypatch.setattr(uploaded_rows, "MAX_ROWS", 3)
    monkeypatch.setattr(uploaded_rows, "read_table", lambda *_: pytest.fail("parsed"))
    with pytest.raises(ManifestError, match="more than 3 rows"):
        service.unpack(write_cohort(tmp_path / "long.zip"), tmp_path / "one")
    monkeypatch.setattr(uploaded_rows, "MAX_COLUMNS", 3)
    with pytest.raises(ManifestError, match="has 6 columns; at most 3"):
        service.unpack(write_cohort(tmp_path / "wide.zip"), tmp_path / "two")


def test_a_cohort_of_which_nothing_is_left_says_why(service, tmp_path):
    path = write_cohort(tmp_path / "empty.zip", [{"path": "images/gone.png"}])
    upload = service.unpack(path, tmp_path / "session")
    with pytest.raises(ManifestError, match=r"none of the 1 rows of table\.csv can be used: file not found, row 1"):
        service.check(upload, upload.guess())


def test_its_tiles_are_shown_where_a_set_knows_them_and_are_gone_when_it_is_deleted(cohort, upload):
    tile = pd.Series({"image": "00.png", "x": np.nan, "y": np.nan, "id": cohort.digests[0]})
    assert cohort.attached.image(tile).shape == (128, 128, 3)
    upload.delete()
    assert not upload.folder.exists()
    assert cohort.attached.image(tile) is None
