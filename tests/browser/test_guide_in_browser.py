"""What guides a newcomer in headless Chromium: the tour, words that explain themselves, examples that open by link."""

import pytest

from medi_core.ui.tour import STEPS
from tests.browser.driver import open_page

pytestmark = pytest.mark.browser


@pytest.fixture
def context(browser):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    yield context
    context.close()


def test_the_tour_points_at_each_thing_and_is_offered_once(context, url):
    page = open_page(context, url)
    assert page.locator("#tour").is_hidden(), "a visitor with 30 seconds is not stopped"
    page.locator("#tour-offer").wait_for()
    page.locator("#tour-start").click()
    for i, step in enumerate(STEPS):
        page.get_by_role("heading", name=step.title).wait_for()
        page.wait_for_function("document.querySelectorAll('[data-ringed]').length === 1")
        page.wait_for_function(
            # what is ringed begins above the panel, and below the window's edge
            "() => { const top = document.querySelector('[data-ringed]').getBoundingClientRect().top;"
            "return top >= 0 && top < document.querySelector('#tour').getBoundingClientRect().top - 30; }"
        )
        is_open = page.locator(f'[role="tab"][data-tab-id="{step.tab}"]').get_attribute("aria-selected") == "true"
        assert is_open == bool(step.target)
        page.keyboard.press("Escape" if i == len(STEPS) - 1 else "Tab")
        if i < len(STEPS) - 1:
            page.locator("#tour-next").click()
    assert page.locator("#tour").is_hidden()
    assert page.locator("[data-ringed]").count() == 0
    page = open_page(context, url)
    assert page.locator("#tour-offer").is_hidden(), "this browser has seen it"
    assert page.locator("#tour-start").is_visible(), "it can be taken again"


def test_no_tour_is_in_sight_of_a_reader(context, url):
    page = context.new_page()
    page.goto(f"{url}?tab=review")
    page.locator(".medi-review").wait_for(timeout=60_000)
    assert page.locator("#tour-start").is_hidden()
    page = open_page(context, url)
    page.locator("#tour-start").click()
    page.get_by_role("tab", name="Review").click()
    page.locator("#tour").wait_for(state="hidden")
    assert page.locator("#tour-start").is_hidden()


def test_a_word_explains_itself_to_mouse_keyboard_and_finger(context, url):
    page = open_page(context, url)
    word, note = page.locator(".medi-term", has_text="TSS"), page.locator(".medi-tooltip")
    word.tap()
    note.wait_for()
    assert "Tissue source site" in note.inner_text()
    box = note.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.keyboard.press("Escape")
    note.wait_for(state="hidden")
    page.keyboard.press("Tab")  # from the word that was touched to the next one
    note.wait_for()
    assert "FFPE" in note.inner_text()
    told = page.evaluate("document.getElementById(document.activeElement.getAttribute('aria-describedby')).textContent")
    assert told == note.inner_text(), "a screen reader hears the same"
    page.keyboard.press("Escape")
    page.locator(".medi-term", has_text="guidance").hover()
    note.wait_for()
    assert "pushed" in note.inner_text()
    note.hover()  # it can be moved onto, and goes when the mouse leaves
    assert note.is_visible()
    page.mouse.move(5, 5)
    note.wait_for(state="hidden")


def test_an_example_opens_the_state_it_names(context, url):
    page = open_page(context, url)
    page.locator("#examples a", has_text="as from").click()
    page.locator("#compare-button").wait_for(timeout=60_000)
    page.wait_for_function("document.querySelector('#compare-button').offsetParent")
    page.get_by_label("Sweep down (rows)").wait_for()
    page.wait_for_function("document.querySelector('input[aria-label=\"Sweep down (rows)\"]').value === 'Nothing'")
