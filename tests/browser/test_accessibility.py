"""The app for people who do not see well, use no mouse, or mind motion: axe, keys alone, 200 % zoom, reduced motion.

axe-core looks at every tab in both colour schemes, with accordions open and figures drawn. A finding is "serious" or
"critical" by its own scale; what is left out is listed in `LEFT_OUT`, each with its reason.
"""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.driver import RUN_MS, open_page, visit_tabs, wait_for_text

pytestmark = pytest.mark.browser

GRAVE = {"serious", "critical"}
LEFT_OUT = {
    # gradio's image without an image: its `div` has a label and no role, both made by the component
    ("aria-prohibited-attr", '.empty[aria-label="Empty value"]'),
}
"""(rule, CSS selector) of findings inside gradio's own components that nothing outside them can mend."""
PREPARE = """() => {  // axe walks through everything: of rows and items that are alike three are enough
    document.querySelectorAll('button.label-wrap:not(.open)').forEach(button => button.click());
    document.querySelectorAll(['tr', 'li', 'dt', 'dd'].map(name => `.prose ${name}:nth-of-type(n+4)`).join())
        .forEach(row => row.remove());
}"""
EMPTY = """() => [...document.querySelectorAll('[role="tabpanel"]')]  // what was looked at is not walked through again
    .filter(panel => panel.offsetParent && !panel.querySelector('[role="tabpanel"]'))
    .forEach(panel => panel.replaceChildren())"""
CLIPPED = """() => [...document.querySelectorAll('button, h1, label, input[role="combobox"], .medi-term')]
    .filter(e => e.offsetParent && !e.closest('.medi-scroll, .medi-grid, .js-plotly-plot, table, [role="grid"]'))
    .filter(e => { const b = e.getBoundingClientRect(); return b.width && (b.left < -1 || b.right > innerWidth + 1); })
    .map(e => e.outerHTML.slice(0, 120))"""
MOVING = """() => document.getAnimations().filter(a => a.playState === 'running'
    && a.effect.getComputedTiming().activeDuration > 10).map(a => a.animationName ?? a.transitionProperty)"""


def test_axe_finds_nothing_serious_on_any_tab_in_light_and_dark_nor_is_any_cut_off_at_200_percent(browser, url):
    """One page for both: opening all tabs is what takes time."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
    page = open_page(context, f"{url}?__theme=light")
    page.locator("#generate-gallery img").first.click()
    page.wait_for_selector("#generate-large img", timeout=RUN_MS)
    page.locator("#tour-start").click()
    found = _grave(page, "tour", {"resultTypes": ["violations"]})
    page.locator("#tour-skip").click()
    for names in visit_tabs(page):
        name = ": ".join(filter(None, names))
        page.evaluate(PREPARE)
        page.wait_for_timeout(200)
        found += _grave(page, name, {"resultTypes": ["violations"]})
        page.evaluate("document.body.classList.add('dark')")
        found += _grave(page, f"{name}, dark", {"runOnly": ["color-contrast"]})
        page.evaluate("document.body.classList.remove('dark')")
        page.set_viewport_size({"width": 720, "height": 500})  # what 1440 px hold at 200 %
        excess = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        found += [f"{name}: {excess} px too wide at 200 %"] * (excess > 0)
        found += [f"{name}: cut off at 200 %: {element}" for element in page.evaluate(CLIPPED)]
        page.evaluate(EMPTY)
        page.set_viewport_size({"width": 1440, "height": 1000})
    context.close()
    assert found == []


def test_keys_alone_choose_a_center_generate_and_open_a_tile(page):
    _tab_to(page, "e.getAttribute('aria-label') === 'number input for Number of tiles'", backwards=False)
    page.keyboard.press("Control+a")
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    _tab_to(page, "e.getAttribute('aria-label') === 'Center'", backwards=True)
    page.keyboard.press("Control+a")
    page.keyboard.type("Indivumed")
    page.keyboard.press("Enter")
    assert page.get_by_label("Center", exact=True).first.input_value().startswith("Indivumed")
    _tab_to(page, "e.id === 'generate-button'", backwards=False)
    assert _is_ringed(page)
    page.keyboard.press("Enter")
    wait_for_text(page, "#generate-status", "Click one to look closely")
    _tab_to(page, "e.matches('#generate-gallery button')", backwards=False)
    assert _is_ringed(page)
    page.keyboard.press("Enter")
    page.wait_for_selector("#generate-large img", timeout=RUN_MS)
    assert "Indivumed" in page.locator("#generate-facts").inner_text()


def test_keys_alone_step_through_the_map_and_open_the_tile_that_a_click_would(page):
    page.get_by_role("tab", name="Map").click()
    page.wait_for_selector("#map-plot .medi-plot[data-drawn]", timeout=RUN_MS)
    _tab_to(page, "e.matches('.medi-keys select')", backwards=False)
    assert _is_ringed(page)
    page.keyboard.press("ArrowDown")  # the first value
    chosen = page.locator(".medi-keys select").evaluate("list => list.selectedOptions[0].text")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = page.evaluate("document.activeElement.getAttribute('aria-valuetext')")
    num = int(re.search(r"\(([\d,]+)\)$", chosen)[1].replace(",", ""))
    value = chosen.rsplit(" (", 1)[0]
    assert said.startswith(f"3 of {num}: {value}, ")
    assert page.locator("#map-plot .hoverlayer text").count() > 0, "it is seen where the point is"
    page.keyboard.press("Enter")
    page.locator("#map-facts table").wait_for(timeout=RUN_MS)
    assert value in page.locator("#map-facts").inner_text()
    assert page.locator("#map-facts [aria-live='polite'] table").count() == 1, "it is read out"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#map-counts b").wait_for(timeout=RUN_MS)
    assert page.locator("#map-counts tbody tr").count() == 1, "one value, as it was chosen"


def test_nothing_moves_for_who_asked_for_less_motion(browser, url):
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
    page = open_page(context, url + "?tab=generate&num_tiles=1&steps=4")
    page.locator("#generate-button").click()
    assert page.evaluate(MOVING) == []
    page.wait_for_selector("#generate-status progress", timeout=RUN_MS)
    assert page.evaluate(MOVING) == []
    slowest = page.evaluate(
        "Math.max(...[...document.querySelectorAll('*')].flatMap(e => getComputedStyle(e).transitionDuration.split(',')"
        ".map(parseFloat)))"
    )
    assert slowest < 0.01
    context.close()


def _grave(page, where: str, options: dict) -> list[str]:
    """`where: rule, selector: what to do` of each serious or critical finding that is not left out, and that stays."""
    if not (found := _found(page, where, options)):
        return found
    page.wait_for_timeout(3000)  # what is about to be replaced is pale, and no fault
    return _found(page, where, options)


def _found(page, where: str, options: dict) -> list[str]:
    answer = Axe().run(page, options=options).response
    assert answer["passes"], "axe looked at nothing"
    return [
        f"{where}: {violation['id']}, {node['target']}: {node['failureSummary']}"
        for violation in answer["violations"]
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
        if not any(
            violation["id"] == rule
            and page.locator(node["target"][0]).first.evaluate("(e, css) => e.matches(css)", css)
            for rule, css in LEFT_OUT
        )
    ]


def _tab_to(page, is_there: str, backwards: bool) -> None:
    """Presses Tab until the JavaScript condition holds of the focused element `e`."""
    for _ in range(80):
        if page.evaluate(f"(e => {is_there})(document.activeElement)"):
            return
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
    raise AssertionError(f"the Tab key does not come to where {is_there}")


def _is_ringed(page) -> bool:
    """Whether one sees where the keyboard is."""
    style = page.evaluate(
        "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
    )
    return style[0] == "solid" and float(style[1].removesuffix("px")) >= 2
