"""The real app with the shipped checkpoint in headless Chromium: `pytest -m browser`."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medi_core.data.tile_files import PNG_KEY
from medi_core.ui.app import TABS
from tests.browser.driver import RUN_MS, click_download, open_page, pixels, wait_for_text
from tests.toys import synthetic_tissue

pytestmark = pytest.mark.browser


def test_a_first_visitor_sees_eight_tiles_of_this_checkpoint_at_once(page):
    images = page.locator("#generate-gallery img")
    assert images.count() == 8
    assert all(_has_texture(pixels(page, images.nth(i))) for i in range(8))


def test_generate_shows_a_preview_then_tiles_and_the_clicked_one_large_with_its_measures(quick_page):
    page = quick_page
    page.locator("#generate-button").click()
    page.wait_for_selector("#generate-status progress", timeout=RUN_MS)  # a wait has a progress bar
    wait_for_text(page, "#generate-status", "Click one to look closely")
    images = page.locator("#generate-gallery img")
    assert images.count() == 3
    first = pixels(page, images.first)
    assert first.shape == (128, 128, 3)
    assert _has_texture(first)
    assert not np.array_equal(first, pixels(page, images.nth(1)))

    images.nth(1).click()
    page.wait_for_selector("#generate-large img", timeout=RUN_MS)
    page.get_by_text("Measured", exact=True).wait_for()
    with page.expect_download() as download:
        click_download(page, "Download PNG")
    with Image.open(download.value.path()) as image:
        provenance = json.loads(image.text[PNG_KEY])
        assert np.array_equal(np.asarray(image), pixels(page, images.nth(1)))
    assert provenance["origin"] == "synthetic"
    assert "_seed" in download.value.suggested_filename


def test_choosing_a_cancer_type_marks_the_centers_seen_with_it(page):
    page.get_by_label("Cancer type").first.click()
    page.get_by_role("option", name="Breast invasive carcinoma").click()
    page.get_by_label("Center", exact=True).first.click()
    page.get_by_role("option", name="never seen together").first.wait_for()
    options = page.get_by_role("option").all_inner_texts()
    assert any("●" in option and "Indivumed" in option for option in options), options


def test_cancel_stops_the_run_and_the_next_one_works(page):
    page.locator("#generate-button").click()
    page.wait_for_selector("#generate-status progress", timeout=RUN_MS)
    page.get_by_role("button", name="Cancel").first.click()
    wait_for_text(page, "#generate-status", "Cancelled")
    page.get_by_label("number input for Number of tiles").fill("1")
    page.get_by_label("number input for Number of tiles").press("Enter")
    page.locator("#generate-button").click()
    wait_for_text(page, "#generate-status", "Click one to look closely")


def test_compare_shows_a_grid_with_real_counts_and_a_zip_of_it(quick_compare):
    page = quick_compare
    page.locator("#compare-button").click()
    page.get_by_text("same seeds in every cell").wait_for(timeout=RUN_MS)
    images = page.locator("#compare-grid img")
    assert images.count() == 12
    assert all(images.nth(i).get_attribute("alt").startswith("Synthetic tile: ") for i in range(12))
    assert page.locator("#compare-grid .medi-count").count() == 12
    columns = [pixels(page, images.nth(i)).astype(int) for i in range(4)]
    assert np.abs(columns[0] - columns[1]).mean() > 0.5, "the center changes nothing"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download tiles").or_(
            page.get_by_role("link", name="Download tiles")
        ).first.click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
    assert {"manifest.csv", "grid.png"} <= set(names)
    assert len([name for name in names if name.endswith(".png")]) == 13


def test_the_interpolation_slider_moves_from_one_center_to_the_other(quick_compare):
    page = quick_compare
    page.locator("#interpolate-button").click()
    frame = page.locator("#interpolated-tile img")
    frame.wait_for(timeout=RUN_MS)
    start, start_alt = pixels(page, frame), frame.get_attribute("alt")
    slider = page.locator("#interpolation input[type=range]")
    slider.focus()
    for _ in range(8):
        slider.press("ArrowRight")
    page.wait_for_function(
        "before => document.querySelector('#interpolated-tile img').alt !== before && "
        "document.querySelector('#interpolated-tile img').alt.startsWith('100%')",
        arg=start_alt,
        timeout=RUN_MS,
    )
    page.wait_for_timeout(500)
    assert not np.array_equal(start, pixels(page, frame))


def test_an_uploaded_tile_is_rerendered_with_its_stain_before_and_after(page, tmp_path):
    Image.fromarray(synthetic_tissue(150, 2)).save(tmp_path / "tile.png")
    page.get_by_role("tab", name="Re-render").click()
    page.locator("#rerender-upload input[type=file]").set_input_files(str(tmp_path / "tile.png"))
    page.locator("#rerender-base img").wait_for()
    page.locator("#rerender-button").click()
    page.get_by_text("Choose what it should look like").wait_for()  # nothing chosen: nothing to show
    _choose(page, "Center", "Indivumed")
    page.locator("#rerender-button").click()
    wait_for_text(page, "#rerender-status", "Drag the handle")
    page.get_by_role("columnheader", name="Before").wait_for()
    assert page.locator("#rerender-result img").count() >= 2


def test_a_generated_tile_becomes_the_base_of_a_rerendering(page):
    page.locator("#generate-gallery img").first.click()
    page.wait_for_selector("#generate-large img", timeout=RUN_MS)
    page.get_by_role("button", name="Re-render from another center").click()
    page.get_by_text("Taken from Generate").wait_for()
    page.locator("#rerender-button").click()
    wait_for_text(page, "#rerender-status", "Drag the handle")


def test_a_wrong_upload_is_explained_and_the_next_one_works(page, tmp_path):
    (tmp_path / "tile.png").write_bytes(b"not an image")
    Image.fromarray(np.full((128, 128, 3), 250, np.uint8)).save(tmp_path / "white.png")
    Image.fromarray(synthetic_tissue(200, 2)).save(tmp_path / "good.tif")
    page.get_by_role("tab", name="Re-render").click()
    page.locator("#rerender-button").click()
    page.get_by_text("Upload a tile, or take one from the Generate tab").wait_for()
    page.locator("#rerender-upload input[type=file]").set_input_files(str(tmp_path / "tile.png"))
    page.get_by_text("not a readable image").wait_for()
    page.get_by_role("button", name="Remove this file").or_(page.get_by_label("Clear")).first.click()
    page.locator("#rerender-upload input[type=file]").set_input_files(str(tmp_path / "white.png"))
    page.get_by_text("tissue covers").wait_for()
    page.get_by_role("button", name="Remove this file").or_(page.get_by_label("Clear")).first.click()
    page.locator("#rerender-upload input[type=file]").set_input_files(str(tmp_path / "good.tif"))
    page.get_by_text("192×192 px").wait_for()


def test_a_link_restores_the_controls_and_gives_its_tiles(browser, url):
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    query = (
        "?tab=generate&cancer_type=Breast_invasive_carcinoma&center=Roswell+Park&eosin=4&seed=77&num_tiles=1&steps=6"
    )
    seen = []
    for _ in range(2):
        page = open_page(context, url + query)
        page.wait_for_function(
            "document.querySelector('input[aria-label=\"Center\"]').value.startsWith('Roswell Park')"
        )
        page.wait_for_timeout(500)
        assert page.get_by_label("Seed of the first tile").input_value() == "77"
        assert page.get_by_label("number input for Eosin").first.input_value() == "4"
        page.locator("#generate-button").click()
        wait_for_text(page, "#generate-status", "Click one to look closely")
        seen.append(pixels(page, page.locator("#generate-gallery img").first))
        assert page.get_by_label("Seed of the first tile").input_value() == "77"
    assert np.array_equal(*seen)
    context.close()


def test_after_cancelling_no_tile_passes_for_another(page):
    page.locator("#generate-button").click()
    page.wait_for_selector("#generate-status progress", timeout=RUN_MS)
    page.locator("#generate-gallery img").first.wait_for(timeout=RUN_MS)
    page.get_by_role("button", name="Cancel").first.click()
    wait_for_text(page, "#generate-status", "Cancelled")
    page.locator("#generate-gallery img").first.click()
    page.get_by_text("These tiles are unfinished").wait_for()


def test_a_tile_is_compared_with_its_own_center_first(page):
    page.locator("#generate-gallery img").nth(1).click()
    page.wait_for_selector("#generate-large img", timeout=RUN_MS)
    center = page.locator("#generate-facts tr", has_text="Center").locator("td").first.inner_text()
    page.get_by_role("button", name="Compare with other centers").click()
    page.get_by_text(re.compile(r"^From .*, seed \d+: press Compare\.$")).wait_for()
    page.locator("#compare-button").click()
    wait_for_text(page, "#compare-grid thead th", center)  # the grid is there before its tiles
    page.get_by_role("button", name="Cancel").locator("visible=true").first.click()


def test_a_click_on_the_map_shows_the_tile_and_a_box_counts_what_is_inside(page):
    _open_map(page)
    point = _place_on_screen(page, "synthetic")
    page.mouse.click(*point)
    page.wait_for_selector("#map-tile img", timeout=RUN_MS)
    assert _has_texture(pixels(page, page.locator("#map-tile img")))
    page.locator("#map-facts table").get_by_text("synthetic", exact=True).wait_for()
    assert page.locator("#map-neighbours tbody tr").count() == 5

    page.locator("#map-plot [data-title='Box Select']").click()
    box = page.locator("#map-plot .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] - 5, steps=5)
    page.mouse.up()
    head = page.locator("#map-counts b")
    head.wait_for(timeout=RUN_MS)
    selected = int(re.search(r"Selected: ([\d,]+) real", head.inner_text())[1].replace(",", ""))
    assert selected > 9000, "the box went around nearly all"
    with page.expect_download() as download:
        click_download(page, "Download selection (CSV)")
    assert len(Path(download.value.path()).read_text().splitlines()) > selected


def test_the_legend_hides_a_value_and_a_lasso_takes_a_part(page):
    _open_map(page)
    visible = "() => document.querySelector('.medi-plot')._fullData.filter(t => t.visible === true).length"
    before = page.evaluate(visible)
    page.locator("#map-plot .legendtoggle").first.click()
    page.wait_for_function(f"before => ({visible})() < before", arg=before)
    page.locator("#map-plot [data-title='Lasso Select']").click()
    x, y = _place_on_screen(page, "real")
    page.mouse.move(x - 30, y - 30)
    page.mouse.down()
    for dx, dy in ((30, -30), (30, 30), (-30, 30), (-30, -30)):
        page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()
    page.locator("#map-counts b").wait_for(timeout=RUN_MS)


def test_a_generated_tile_is_a_star_on_the_map(page):
    page.get_by_label("number input for Number of tiles").fill("1")
    page.get_by_label("number input for Number of tiles").press("Enter")
    page.locator("#generate-button").click()
    wait_for_text(page, "#generate-status", "Click one to look closely")
    _open_map(page)
    page.wait_for_function(
        "() => document.querySelector('.medi-plot')._fullData"
        ".filter(trace => trace.customdata && trace.marker.symbol === 'star').length === 1",
        timeout=RUN_MS,
    )


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_no_tab_is_wider_than_the_screen_and_the_text_is_readable(browser, url, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = open_page(context, f"{url}?__theme={scheme}")
    for name, _ in TABS.values():
        tab = page.get_by_role("tab", name=name)
        if not tab.first.is_visible():
            page.get_by_role("button", name="More tabs").or_(page.locator(".overflow-menu > button")).first.click()
            tab = page.get_by_role("button", name=name, exact=True).or_(tab)
        tab.last.click()
        page.wait_for_timeout(400)
        excess = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert excess <= 0, f"{name} is {excess} px too wide at {width} px"
        missing = page.evaluate("[...document.images].filter(i => i.offsetParent && !i.alt).length")
        assert missing == 0, f"{missing} images of {name} have no alt text"
    page.get_by_role("tab", name="Generate").first.click()
    page.locator("#generate-gallery img").first.click()
    page.wait_for_selector("#generate-large img", timeout=RUN_MS)
    assert page.locator("#generate-facts table").bounding_box()["width"] >= 250
    assert _contrast(page, ".medi-head p") >= 4.5
    context.close()


def _open_map(page) -> None:
    page.get_by_role("tab", name="Map").click()
    page.wait_for_selector(".medi-plot[data-drawn]", timeout=RUN_MS)


def _place_on_screen(page, origin: str) -> tuple[float, float]:
    """Where a point of this origin is, far from the edges of the map."""
    script = """origin => {
        const plot = document.querySelector('.medi-plot'), axes = plot._fullLayout;
        const area = plot.querySelector('.nsewdrag').getBoundingClientRect();
        const symbol = {real: 'circle', synthetic: 'diamond', new: 'star'}[origin];
        const traces = plot._fullData.filter(t => t.visible === true && t.marker.symbol === symbol && t.customdata);
        for (const trace of traces) for (let i = 0; i < trace.x.length; i++) {
            const x = axes.xaxis.d2p(trace.x[i]), y = axes.yaxis.d2p(trace.y[i]);
            if (x > 60 && y > 60 && x < area.width - 60 && y < area.height - 60) return [area.left + x, area.top + y];
        }
    }"""
    page.locator(".medi-plot").scroll_into_view_if_needed()
    return tuple(page.evaluate(script, origin))


def _choose(page, label: str, option: str) -> None:
    """Pick an option of the dropdown of the tab in sight."""
    page.get_by_label(label, exact=True).locator("visible=true").first.click()
    page.get_by_role("option", name=option).first.click()


def _has_texture(pixels: np.ndarray) -> bool:
    return bool(pixels.std() > 5)


def _contrast(page, selector: str) -> float:
    """WCAG 2 contrast of an element's text against the page."""
    script = """selector => {
        const luminance = colour => {
            const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const text = luminance(getComputedStyle(document.querySelector(selector)).color);
        let element = document.querySelector(selector), back = "rgba(0, 0, 0, 0)";
        while (element && (back === "rgba(0, 0, 0, 0)" || back === "transparent")) {
            back = getComputedStyle(element).backgroundColor; element = element.parentElement;
        }
        const ground = luminance(back);
        return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
    }"""
    return page.evaluate(script, selector)
