"""A verdict stands beside what was asked and beside the classifier's own accuracy; never a bare number."""

import json

import numpy as np
import pytest

from medi_core.data.tile_files import PNG_KEY
from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import MetadataRecord, display_name
from medi_core.services.classification import ClassificationService
from medi_core.services.embedding import PointDetails
from medi_core.services.generation_request import GenerationRequest
from medi_core.ui.point_view import point_verdict_html
from medi_core.ui.verdict_view import ASKED, PLAIN, SEEN, recall_text, tile_image, verdict_html
from tests.toy_classifier import CLASSES, NO_RECALL, RECALL
from tests.toys import synthetic_tissue

TILE = synthetic_tissue(64, 1)


@pytest.fixture(scope="module")
def service(running_app) -> ClassificationService:
    return running_app.services.classification


@pytest.fixture(scope="module")
def generated(running_app):
    request = GenerationRequest(MetadataRecord(cancer_type=CLASSES[1]), (1,), num_inference_steps=1, side_px=(64, 64))
    return running_app.services.generation.generate(request)[0]


def test_each_probability_has_the_recall_of_its_class_beside_it(service):
    html = verdict_html(service, TILE, None)
    (verdict,) = service.verdicts([TILE])
    for label, probability in verdict.ranked(3):
        facts = NO_RECALL if label == CLASSES[1] else RECALL
        assert f"{display_name(label)}</th><td>{probability:.0%}</td><td>{recall_text(facts)}</td>" in html
    assert verdict.model in html
    assert f"Tumor, one minus the benign classes: {verdict.tumor:.0%}" in html
    assert "not a diagnosis" in html


def test_recall_comes_with_its_numbers_and_interval_or_says_that_it_is_not_known():
    assert recall_text(RECALL) == "0.80 [0.60, 0.90], 40 tiles of 7 patients"
    assert recall_text(RECALL | {"ci_low": None, "n": 1, "n_patients": 1}) == "0.80 no interval, 1 tile of 1 patient"
    assert recall_text(NO_RECALL) == recall_text(None) == "not known: no held-out tile"


def test_what_was_asked_stands_against_what_is_seen(service):
    top = service.verdicts([TILE])[0].top
    other = next(name for name in CLASSES if name != top)
    agreed, not_agreed = (verdict_html(service, TILE, name) for name in (top, other))
    assert f'Asked: {display_name(top)} · <span class="medi-ok">classifier sees: {display_name(top)}' in agreed
    assert f'Asked: {display_name(other)} · <span class="medi-off">classifier sees: {display_name(top)}' in not_agreed
    assert "a class it does not know" in verdict_html(service, TILE, "Mesothelioma")
    assert "Asked" not in verdict_html(service, TILE, None)
    assert "<script>" not in verdict_html(service, TILE, "<script>")


def test_without_a_classifier_it_is_said_why_there_is_no_verdict(tmp_path):
    html = verdict_html(ClassificationService(tmp_path / "none"), TILE, None)
    assert "No verdict of the classifier: there is no tile classifier" in html


def test_a_real_point_is_recorded_not_asked_and_training_tiles_say_so(service):
    def html(**facts):
        image = facts.pop("image", TILE)
        return point_verdict_html(service, PointDetails("1", facts, image, None, None))

    trained = html(origin="real", split="train", cancer_type=CLASSES[0])
    assert "Recorded: Breast" in trained
    assert "may have been trained on this very tile" in trained
    assert "trained on" not in html(origin="real", split="test", cancer_type=CLASSES[0])
    assert "Asked: Breast" in html(origin="synthetic", cancer_type=CLASSES[0])
    assert html(origin="real", image=None) == ""


@pytest.mark.parametrize(("view", "changed"), [(PLAIN, False), (SEEN, True), (ASKED, True)])
def test_the_overlay_is_drawn_on_demand_and_its_png_says_what_it_is(service, generated, view, changed):
    image = tile_image(service, generated, view)
    assert (np.asarray(image) != generated.image).any() == changed
    facts = json.loads(image.info[PNG_KEY])
    assert facts["origin"] == "synthetic"
    label = {SEEN: service.verdicts([generated.image])[0].top, ASKED: CLASSES[1]}.get(view)
    assert facts.get("overlay") == (label and f"HiResCAM of {service.model_id} for {label}")


def test_evidence_for_what_was_not_asked_is_refused(service, running_app):
    request = GenerationRequest(MetadataRecord(), (1,), num_inference_steps=1, side_px=(64, 64))
    (tile,) = running_app.services.generation.generate(request)
    with pytest.raises(InvalidRequestError, match="class 'any' is unknown"):
        tile_image(service, tile, ASKED)
