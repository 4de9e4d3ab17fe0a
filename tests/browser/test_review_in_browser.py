"""A reader finishes a study in headless Chromium, on a phone and at a desk; an admin makes and closes one."""

import re
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from medi_core.bootstrap import build_services
from medi_core.checkpoints import save_checkpoint
from medi_core.review.study import StudyDesign
from medi_core.settings import Settings
from tests.toy_review import RunningReview
from tests.toys import build_tiny_pipeline, build_toy_vocabulary, synthetic_tissue

pytestmark = pytest.mark.browser
PASSPHRASE = "open sesame"
SERVER = re.compile("component_server")
TASKS = ("origin", "realism", "morphology", "artefacts", "comment", "center_pair")
NOT_HTML = "<img src=x onerror=alert(1)> '); DROP TABLE answers; --"


@pytest.fixture(scope="module")
def review(tmp_path_factory):
    """(url, services, study id)"""
    folder = tmp_path_factory.mktemp("review")
    save_checkpoint(build_tiny_pipeline(build_toy_vocabulary()), folder / "tiny", {})
    settings = Settings("tiny", "cpu", "float32", folder, folder / "assets", data_dir=folder / "data")
    services = build_services(settings)
    services.embedding.attached.attach(_real_tiles(folder))
    design = StudyDesign("Do these look real?", TASKS, num_tiles=2, share_real=0.5, num_pairs=1, num_practice=1)
    study = services.studies.create(design)
    app = RunningReview(folder / "data", folder / "tiny", MEDI_ADMIN_PASSPHRASE=PASSPHRASE)
    app.start()
    yield app.url, services, study.id
    app.kill()


@pytest.fixture(scope="module")
def realism_study(review) -> str:
    """Four tiles, one question each, no practice."""
    _, services, _ = review
    design = StudyDesign("Clicks", ("realism",), num_tiles=4, share_real=0, num_practice=0)
    return services.studies.create(design).id


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1440, 900)])
def test_a_reader_finishes_a_study(browser, review, width, height, tmp_path):
    url, services, study_id = review
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=width < 500)
    page = context.new_page()
    page.goto(f"{url}?tab=review&study={study_id}")
    assert len(_join(page, f"reader-{width}")) == 10
    page.locator("#review-go-on").click()
    shots, was_reloaded = set(), False
    for _ in range(40):
        page.locator("#review-question, #review-done").first.wait_for()
        if page.locator("#review-done").count():
            break
        question = page.locator("#review-question").inner_text()
        _check_page(page, width)
        if question not in shots:
            shots.add(question)
            page.screenshot(path=tmp_path / f"question-{len(shots)}.png")
        if not was_reloaded and "Tile 1" in page.locator(".medi-review header").inner_text():
            was_reloaded = True
            page.reload()  # asks who is there, and resumes at the same question
            page.get_by_role("button", name=f"Go on as “reader-{width}”").click(timeout=60_000)
            page.locator("#review-question").wait_for(timeout=60_000)
            assert page.locator("#review-question").inner_text() == question
        _answer(page, question)
    else:
        raise AssertionError("the study has no end")
    page.screenshot(path=tmp_path / "done.png")
    page.get_by_role("button", name="Back to the last question").click()
    page.locator("#review-keep").wait_for()  # the pair, with the answer it has
    assert page.get_by_role("button", name="Right").get_attribute("aria-pressed") == "true"
    page.keyboard.press("1")  # corrected
    page.locator("#review-done").wait_for()
    readers = {reader["name"]: reader for reader in services.studies.progress(study_id)}
    assert readers[f"reader-{width}"]["answers"] == 2 * 5 + 1
    context.close()


def test_what_is_missing_in_the_form_is_said_in_sight(browser, review, realism_study):
    url, _, _ = review
    context = browser.new_context(viewport={"width": 390, "height": 360}, has_touch=True)
    page = context.new_page()
    page.goto(f"{url}?tab=review&study={realism_study}")
    begin = page.locator("#review-begin")
    begin.evaluate("node => node.scrollIntoView({block: 'end'})", timeout=60_000)
    assert page.locator(".medi-review-notice").evaluate("node => node.getBoundingClientRect().top") > 360
    begin.click()
    page.wait_for_function("document.querySelector('.medi-review-notice').innerText !== ''")
    box = page.locator(".medi-review-notice").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= 360
    context.close()


def test_the_second_click_of_a_double_click_does_not_answer_the_next_question(browser, review, realism_study):
    """All questions look alike here: without the mend, the second click stores an answer to the next tile."""
    url, services, _ = review
    context, page = _begin(browser, url, realism_study, "clicker")
    x, y = _middle(page.locator(".medi-review-scale button").nth(2))
    page.mouse.click(x, y)
    page.wait_for_function("document.querySelector('.medi-review header').innerText.includes('Tile 2')")
    page.mouse.down(click_count=2)  # the same double click goes on, when the next question is there
    page.mouse.up(click_count=2)
    page.wait_for_timeout(1500)
    assert "Tile 2" in page.locator(".medi-review header").inner_text()
    assert _num_answers(services, realism_study, "clicker") == 1
    page.mouse.click(x, y)  # a click of its own counts
    page.wait_for_function("document.querySelector('.medi-review header').innerText.includes('Tile 3')")
    assert _num_answers(services, realism_study, "clicker") == 2
    context.close()


def test_a_reload_before_the_acknowledgement_arrives_stores_the_answer_once(browser, review, realism_study):
    url, services, _ = review
    context, page = _begin(browser, url, realism_study, "reloader")
    stored = []

    def lose_the_answer(route) -> None:
        if "review_answer" in (route.request.post_data or ""):
            stored.append(route.fetch().status)  # the server has it, the page never hears so, and asks again
            route.abort()
        else:
            route.continue_()

    page.route(SERVER, lose_the_answer)
    page.locator(".medi-review-scale button").nth(3).click()
    page.get_by_text("trying again").wait_for()
    deadline = time.monotonic() + 60
    while len(stored) < 2 and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    assert stored[:2] == [200, 200]
    page.unroute(SERVER, lose_the_answer)
    page.reload()
    page.locator("#review-same-reader").click(timeout=60_000)
    page.locator("#review-question").wait_for()
    assert "Tile 2" in page.locator(".medi-review header").inner_text()
    assert _num_answers(services, realism_study, "reloader") == 1
    store = services.studies.store
    assert store.num_corrections(store.reader(realism_study, "reloader")) == 0
    context.close()


def test_the_next_reader_at_a_device_is_another(browser, review, realism_study):
    url, _, _ = review
    context, page = _begin(browser, url, realism_study, "first")
    code = page.evaluate(f"JSON.parse(localStorage.getItem('medi-review:{realism_study}')).code")
    page.locator("#review-pause").click()
    assert page.locator(".medi-review-code").inner_text() == code
    page.reload()
    page.locator("#review-other-reader").click(timeout=60_000)
    page.locator("#review-begin").wait_for()
    page.reload()
    page.locator("#review-begin").wait_for(timeout=60_000)  # the one before is forgotten
    context.close()


def test_an_admin_makes_a_study_and_closes_one(browser, review, tmp_path):
    url, services, _ = review
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.goto(f"{url}?tab=review")
    page.get_by_text("For the administrator of a study").click()
    page.get_by_label("Passphrase").fill("wrong")
    page.get_by_role("button", name="Unlock").click()
    page.get_by_text("this is not the passphrase").first.wait_for(timeout=60_000)
    page.get_by_label("Passphrase").fill(PASSPHRASE)
    page.get_by_role("button", name="Unlock").click()
    page.locator("#review-progress").get_by_text("Link for readers").wait_for(timeout=60_000)
    page.get_by_text("New study").click()
    assert page.locator("#review-off-tasks input").first.is_disabled()
    page.get_by_text("needs real tiles").wait_for()
    page.get_by_label("Name (readers see it)").fill("Second")
    page.get_by_label("Realism, 1 to 5").check()
    page.get_by_label("Tiles", exact=True).fill("4")
    page.screenshot(path=tmp_path / "new.png", full_page=True)
    page.locator("#review-create").click()
    page.locator("#review-new-status").get_by_text("Made with 4 tiles").wait_for(timeout=120_000)
    names = {study.id: study.design.name for study in services.studies.studies()}
    assert {"Do these look real?", "Second"} <= set(names.values())
    (made,) = [study_id for study_id, name in names.items() if name == "Second"]
    page.wait_for_function(
        "link => document.querySelector('#review-link textarea, #review-link input').value === link",
        arg=f"{url}?tab=review&study={made}",
        timeout=60_000,
    )
    assert page.locator("#review-link button").is_visible(), "to copy it"
    page.get_by_label("Study", exact=True).last.click()
    page.get_by_role("option", name="Do these look real?").click()
    page.get_by_label("Close it for good").check()
    page.locator("#review-close").click()
    page.get_by_text("closed 20").first.wait_for(timeout=60_000)
    page.locator("#review-show-results").click()
    page.get_by_text("Fooled nobody").wait_for(timeout=120_000)
    page.wait_for_timeout(3000)
    page.screenshot(path=tmp_path / "results.png", full_page=True)
    assert page.locator("#review-numbers img[src=x]").count() == 0
    assert NOT_HTML in page.locator("#review-numbers").inner_text()
    context.close()


def _real_tiles(folder: Path) -> Path:
    """A manifest of twelve tiles from two centers."""
    rows = []
    for i in range(12):
        Image.fromarray(synthetic_tissue(128, i)).save(folder / f"{i}.png")
        cell = {"cancer_type": "Breast_invasive_carcinoma", "center": ("Lyon", "Paris")[i % 2]}
        rows.append({"path": f"{i}.png", "patient_id": f"P{i}", "split": "test"} | cell)
    pd.DataFrame(rows).to_csv(folder / "real.csv", index=False)
    return folder / "real.csv"


def _begin(browser, url: str, study_id: str, name: str):
    """A browser of his own, and his page at the first question."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(f"{url}?tab=review&study={study_id}")
    _join(page, name)
    page.locator("#review-go-on").click()
    page.locator("#review-question").wait_for()
    return context, page


def _middle(locator) -> tuple[float, float]:
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def _join(page, name: str) -> str:
    """Takes part; returns the code."""
    page.locator("#review-begin").wait_for(timeout=120_000)
    page.get_by_label("Reader id (any you like").fill(name)
    page.get_by_label("Years of experience").fill("12")
    page.get_by_label("Speciality").select_option("pathologist, board certified")
    page.locator("#review-begin").click()
    return page.locator("#review-code").inner_text()


def _num_answers(services, study_id: str, name: str) -> int:
    return {reader["name"]: reader["answers"] for reader in services.studies.progress(study_id)}[name]


def _answer(page, question: str) -> None:
    """One answer by keyboard or by hand, and the practice's feedback."""
    number = page.locator(".medi-review header").inner_text()
    if "real or synthetic" in question:
        page.keyboard.press("s")
        page.keyboard.press("3")
    elif "realistic" in question:
        page.keyboard.press("4")
    elif "what do you see" in question:
        page.locator(".medi-review-list button").first.click()
        page.locator("#review-next").click()
    elif "looks wrong" in question:
        page.locator(".medi-review-inner").click(position={"x": 60, "y": 80})
        page.locator(".medi-review-mark").wait_for()
        page.locator("#review-next").click()
    elif "Anything to add" in question:
        page.get_by_label("Comment").fill(NOT_HTML)
        page.locator("#review-next").click()
    else:
        page.keyboard.press("2")
    page.wait_for_function(
        "([question, number]) => document.querySelector('#review-question')?.innerText !== question "
        "|| document.querySelector('.medi-review header')?.innerText !== number",
        arg=[question, number],
        timeout=60_000,
    )
    if "Practice" in number:
        page.locator(".medi-review-feedback").wait_for()
        page.locator("#review-next").click()


def _check_page(page, width: int) -> None:
    excess = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert excess <= 0, f"{excess} px too wide"
    images = page.locator(".medi-review-inner img")
    assert {images.nth(i).get_attribute("alt") for i in range(images.count())} <= {
        "Tile to judge",
        "Left tile",
        "Right tile",
        *(f"Example {i}" for i in range(1, 4)),
    }
    assert all(images.nth(i).get_attribute("src").startswith("data:image/png;base64,") for i in range(images.count()))
    small = page.evaluate(
        "[...document.querySelectorAll('.medi-review button:not(.medi-review-mark)')]"
        ".filter(b => b.getBoundingClientRect().height < 44).length"
    )
    assert small == 0, "a target is too small for a finger"
