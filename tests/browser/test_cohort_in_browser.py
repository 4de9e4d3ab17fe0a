"""The tabs Data and Augment in headless Chromium: from a zip of one's own to the map, a plan and its tiles."""

import json
import zipfile

import pytest

from tests.browser.driver import RUN_MS, click_download, wait_for_text
from tests.toy_cohort import cohort_table, write_cohort

pytestmark = pytest.mark.browser


def test_a_zip_that_is_none_is_refused_in_words(page, tmp_path):
    (tmp_path / "nothing.zip").write_bytes(b"no zip")
    page.get_by_role("tab", name="Data").click()
    page.locator("#data-upload input[type=file]").set_input_files(tmp_path / "nothing.zip")
    page.get_by_text("cannot be read as a zip").wait_for(timeout=RUN_MS)


def test_a_cohort_is_checked_placed_on_the_map_and_planned_for(page, tmp_path):
    table = cohort_table().replace({"Lyon": "Indivumed", "Lung_adenocarcinoma": "Breast_benign"})
    page.get_by_role("tab", name="Data").click()
    archive = write_cohort(tmp_path / "mine.zip", table)
    page.locator("#data-upload input[type=file]").set_input_files(archive)
    wait_for_text(page, "#data-status", "12 rows in cohort.csv")
    page.locator("#data-check").click()
    wait_for_text(page, "#data-report", "12 of 12 rows can be used")
    wait_for_text(page, "#data-report", "Nice")
    wait_for_text(page, "#data-subgroups", "Indivumed")
    page.locator("#data-to-map").click()
    wait_for_text(page, "#data-used", "12 tiles placed")
    page.get_by_role("tab", name="Augment").click()
    page.wait_for_selector("#augment-plot .medi-plot[data-drawn]", timeout=RUN_MS)
    assert page.locator("#augment-source").get_by_label("Your cohort").is_checked()
    wait_for_text(page, "#augment-said", "beside 12 real tiles")
    wait_for_text(page, "#augment-said", "2 cells left out")
    page.get_by_label("Tiles a cell, real and synthetic").fill("5")
    page.locator("#augment-run").click()
    wait_for_text(page, "#augment-said", "2 synthetic tiles")
    page.locator("#augment-make").click()
    page.locator("#augment-zip").wait_for(timeout=RUN_MS)
    with page.expect_download() as download:
        click_download(page, "Download the made tiles (ZIP)")
    with zipfile.ZipFile(download.value.path()) as made:
        assert sum(name.endswith(".png") for name in made.namelist()) == 2
        assert json.loads(made.read("plan.json"))["cells"]
