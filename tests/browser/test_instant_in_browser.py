"""Instant mode in headless Chromium, with toy checkpoints: a slider is dragged, and the tiles follow by themselves."""

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.driver import ROOT, RUN_MS, open_page, pixels, wait_for_text
from tests.toy_app import RunningApp, serve, toy_services

pytestmark = pytest.mark.browser

GRAVE = ("serious", "critical")
QUIET_MS = 3000
FIRST = "#generate-gallery img >> nth=0"


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Iterator[RunningApp]:
    """The real page and the limit of calls as shipped; networks that cost next to nothing."""
    folder = tmp_path_factory.mktemp("instant")
    services = toy_services(folder, rate_limit=600)
    shutil.copy(ROOT / "assets" / "style.css", folder / "assets" / "style.css")
    with serve(services) as running:
        yield running


@pytest.fixture(params=[(1440, 1000), (390, 844)], ids=["desktop", "phone"])
def page(request, browser, app):
    """With its app, the calls that it makes, in `page.calls`, and the answers that turn it away, in `page.refusals`."""
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height})
    page = open_page(context, app.url)
    page.app, page.calls, page.refusals = app, [], []
    page.on("request", lambda sent: "queue/join" in sent.url and page.calls.append(sent.url))
    page.on("response", lambda got: got.status >= 400 and page.refusals.append(f"{got.status} {got.url}"))
    yield page
    context.close()


def test_who_drags_a_slider_sees_the_tiles_change_without_pressing_anything(page, app):
    _switch_on(page)
    slider = page.locator("#instant-blend input[type=range]")
    before, box = pixels(page, page.locator(FIRST)), _in_sight(page, slider)
    page.mouse.move(box["x"] + 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    seen, waited = set(), 0.0
    for i in range(1, 31):
        page.mouse.move(box["x"] + 8 + (box["width"] - 16) * i / 30, box["y"] + box["height"] / 2)
        page.wait_for_timeout(50)
        seen.add(page.locator(FIRST).get_attribute("src"))
    while len(seen) < 2 and waited < RUN_MS:  # the button of the mouse is still down
        page.wait_for_timeout(200)
        waited += 200
        seen.add(page.locator(FIRST).get_attribute("src"))
    assert len(seen) > 1, "the tiles follow while the slider is held"
    page.mouse.up()
    assert slider.input_value() == "1"

    _wait_until_quiet(page)
    num_calls, last = len(page.calls), page.locator(FIRST).get_attribute("src")
    page.wait_for_timeout(QUIET_MS)
    assert len(page.calls) == num_calls, "no render is outstanding"
    assert app.blocks.occupancy() == {"waiting": 0, "running": 0}
    assert page.locator(FIRST).get_attribute("src") == last
    assert not np.array_equal(pixels(page, page.locator(FIRST)), before)
    assert page.refusals == []
    assert "few-step model" in page.locator("#instant-said").inner_text()


def test_the_newest_change_is_the_one_that_is_shown(page, app):
    _switch_on(page)
    slider = page.locator("input[type=range][aria-label*=Eosin]").first
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    _wait_until_quiet(page)
    page.locator(FIRST).click()
    wait_for_text(page, "#generate-facts", "Eosin")
    row = page.locator("#generate-facts tr", has_text="Eosin").inner_text()
    assert row.split("\t")[1].startswith("4"), row
    assert app.services.instant.checkpoint.id in page.locator("#generate-facts").inner_text()


def test_the_tiles_stay_in_sight_of_who_drags_a_slider_further_down(page):
    _switch_on(page)
    for label in ("Eosin", "Age"):
        slider = page.locator(f"input[type=range][aria-label*={label}]").first
        slider.focus()
        slider.scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        tile, held = page.locator(FIRST).bounding_box(), slider.bounding_box()
        assert -1 <= tile["y"] < page.viewport_size["height"] - 50
        on_top = "([x, y]) => document.elementFromPoint(x, y).matches('input[type=range]')"
        assert page.evaluate(on_top, [held["x"] + held["width"] / 2, held["y"] + held["height"] / 2]), label
    excess = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert excess <= 0


def test_keys_alone_switch_it_on_and_blend(page):
    page.locator("#instant-switch input").focus()
    page.keyboard.press("Space")
    page.locator("#instant-said p").wait_for(timeout=RUN_MS)
    _wait_until_quiet(page)
    before = page.locator(FIRST).get_attribute("src")
    page.locator("#instant-blend input[type=range]").focus()
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid", "one sees where the keyboard is"
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "before => document.querySelector('#generate-gallery img').getAttribute('src') !== before",
        arg=before,
        timeout=RUN_MS,
    )


def test_axe_finds_nothing_grave_in_light_and_dark(page):
    _switch_on(page)
    found = []
    for theme in ("light", "dark"):
        page.evaluate(f"document.body.classList.toggle('dark', {str(theme == 'dark').lower()})")
        page.wait_for_timeout(500)
        answer = Axe().run(page, context="#instant-switch, #instant-towards, #instant-blend, #instant-said").response
        assert answer["passes"], "axe looked at nothing"
        found += [f"{theme}: {each['id']}" for each in answer["violations"] if each["impact"] in GRAVE]
    assert found == []


def test_a_link_opens_the_mode_and_its_blend_and_the_full_model_makes_the_same_seeds(page, app):
    page.goto(f"{app.url}?tab=generate&instant=true&blend=0.5&blend_towards=Rome&num_tiles=2&seed=77&steps=4")
    page.locator("#instant-said p").wait_for(timeout=RUN_MS)
    _wait_until_quiet(page)
    assert page.locator("#instant-switch input").is_checked()
    assert page.locator("#instant-blend input[type=range]").input_value() == "0.5"
    assert page.locator("#generate-gallery img").count() == 2
    fast = pixels(page, page.locator(FIRST))
    page.get_by_role("button", name="Make with the full model").click()
    wait_for_text(page, "#generate-status", "2 tiles")
    page.locator(FIRST).click()
    wait_for_text(page, "#generate-facts", f"checkpoint {app.services.checkpoint.id}")
    facts = page.locator("#generate-facts").inner_text()
    assert "Seed 77" in facts
    assert "50% of the way to" in facts
    assert "few-step" not in page.locator("#instant-said").inner_text()
    assert not np.array_equal(pixels(page, page.locator(FIRST)), fast)


def _switch_on(page) -> None:
    page.locator("#instant-switch input").check()
    page.locator("#instant-said p").wait_for(timeout=RUN_MS)
    _wait_until_quiet(page)


def _wait_until_quiet(page) -> None:
    """Until the server has nothing to do for this page, and the page asked for nothing more for a while."""
    quiet, before = 0, len(page.calls)
    while quiet < 4:
        page.wait_for_timeout(400)
        is_quiet = len(page.calls) == before and not any(page.app.blocks.occupancy().values())
        quiet, before = quiet + 1 if is_quiet else 0, len(page.calls)


def _in_sight(page, slider) -> dict[str, float]:
    slider.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    return slider.bounding_box()
