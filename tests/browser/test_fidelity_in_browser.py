"""The Fidelity tab in headless Chromium: figures are drawn, a choice changes them, a suspected copy is shown."""

import pytest

from tests.browser.driver import RUN_MS, click_download, pixels, wait_for_text

pytestmark = pytest.mark.browser


def test_distances_are_drawn_beside_their_floor_and_follow_the_choice(page):
    _open_view(page, "Distance from real tiles", "#distance-plot")
    wait_for_text(page, "#distance-table", "real, other patients")
    legend = page.locator("#distance-plot .legendtext").all_text_contents()
    assert {"synthetic (asked with metadata)", "real, other patients"} <= set(legend)
    page.get_by_label("By cancer type").check()
    wait_for_text(page, "#distance-table", "Breast invasive carcinoma")
    labels = page.locator("#distance-plot .ytick").all_text_contents()
    assert "Breast invasive carcinoma" in labels
    with page.expect_download() as download:
        click_download(page, "Download table (CSV)")
    assert "cancer_type" in download.value.path().read_text()


def test_what_probes_see_is_drawn_for_the_attribute_chosen(page):
    _open_view(page, "Asked versus got", "#request-plot")
    wait_for_text(page, "#request-table", "Indivumed")
    page.locator("#request-attribute").get_by_label("Cancer type").check()
    wait_for_text(page, "#request-table", "Prostate benign")
    assert "Spearman" in page.locator("#request-status").inner_text()


def test_a_suspected_copy_is_made_again_and_shown(page):
    _open_view(page, "Copies", "#copy-plot")
    wait_for_text(page, "#copy-status", "held-out real tiles begin")
    page.locator("#copy-pairs [role=gridcell]").nth(2).click()
    tile = page.locator("#copy-tile img")
    tile.wait_for(timeout=RUN_MS)
    assert pixels(page, tile).shape == (128, 128, 3)
    wait_for_text(page, "#copy-note", "The training image is not part of this app")


def test_trust_in_the_chosen_combination_stands_below_its_support(page):
    wait_for_text(page, "#generate-badge", "Trust")


def test_the_map_leads_to_the_upload_and_what_is_no_zip_is_refused_in_words(page, tmp_path):
    (tmp_path / "nothing.zip").write_bytes(b"no zip")
    page.get_by_role("tab", name="Map").click()
    page.locator("#map-to-data").click()
    page.locator("#data-upload input[type=file]").set_input_files(tmp_path / "nothing.zip")
    page.get_by_text("cannot be read as a zip").wait_for(timeout=RUN_MS)


def _open_view(page, name: str, plot: str) -> None:
    page.get_by_role("tab", name="Fidelity").click()
    page.get_by_role("tab", name=name).click()
    page.wait_for_selector(f"{plot} .medi-plot[data-drawn]", timeout=RUN_MS)
