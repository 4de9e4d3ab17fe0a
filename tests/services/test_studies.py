"""A study as it is made: what is stored of its tiles. Run: pytest tests/services/test_studies.py"""

import io
import json
from collections import defaultdict

import pytest
from PIL import Image

from medi_core.errors import InvalidRequestError
from medi_core.review.blinding import TILES
from medi_core.review.study import StudyDesign
from medi_core.services.generation_request import request_from
from medi_core.services.study_results import study_results


@pytest.fixture
def attached(tiny_services, toy_manifest):
    """The tiny services with the 24 toy tiles attached."""
    tiny_services.embedding.attached.attach(toy_manifest)
    return tiny_services


def test_all_tiles_are_pngs_of_one_size_in_pixels_and_in_bytes_without_text(attached):
    service = attached.studies
    study = service.create(StudyDesign("A", ("origin", "center_pair"), num_tiles=8, num_pairs=2, num_practice=2))
    items = service.store.items(study.id)
    pngs = [png for item in items for png in service.store.review_item(item.id).images]
    assert len(pngs) == 8 + 2 * 2 + 2 + 2
    sets = {item.prompts["center_pair"]["examples"] for item in items if item.is_pair}
    examples = [png for name in sets for png in service.store.examples(name)]
    assert len(examples) == 3 * len(sets)
    pngs += examples
    assert len({len(png) for png in pngs}) == 1
    for png in pngs:
        with Image.open(io.BytesIO(png)) as image:
            assert (image.format, image.size, image.mode, image.info) == ("PNG", (128, 128), "RGB", {})


def test_progress_reaches_its_end_and_a_stop_stores_nothing(attached):
    service, reports = attached.studies, []
    service.create(StudyDesign("A", ("origin",), num_tiles=4), lambda *done: reports.append(done))
    assert reports == sorted(reports)
    assert reports[-1] == (8, 8)

    def stop(done: int, total: int) -> None:
        if done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        service.create(StudyDesign("B", ("origin",), num_tiles=8), stop)
    assert [study.design.name for study in service.studies()] == ["A"]


def test_without_real_tiles_the_tasks_that_need_them_are_off_and_the_others_run(tiny_services):
    service = tiny_services.studies
    assert list(service.unavailable_tasks()) == ["origin"]
    assert "--tiles" in service.unavailable_tasks()["origin"]
    with pytest.raises(InvalidRequestError, match="none is attached"):
        service.create(StudyDesign("A", ("origin",)))
    assert service.create(StudyDesign("A", ("realism", "morphology"), num_tiles=2, share_real=0, num_practice=0))


def test_with_real_tiles_no_task_is_off(attached):
    assert attached.studies.unavailable_tasks() == {}


def test_a_synthetic_tile_can_be_made_again_from_what_is_kept(tiny_services):
    service = tiny_services.studies
    study = service.create(StudyDesign("A", ("realism",), num_tiles=2, share_real=0, num_practice=0, seed=5))
    reader = _read(tiny_services, study.id)
    service.close(study.id)
    for row in service.store.revealed(study.id):
        (made,) = tiny_services.generation.generate(request_from(row["facts"]["provenance"]))
        png = service.store.review_item(row["item"]).images[0]
        assert Image.open(io.BytesIO(png)).tobytes() == made.image.tobytes()
        assert row["facts"]["provenance"]["seed"] in (500_000, 500_001)
    assert reader == 2


def test_what_is_kept_of_a_real_tile_names_no_file(attached, toy_manifest):
    service = attached.studies
    study = service.create(StudyDesign("A", ("realism",), num_tiles=8, num_practice=0))
    _read(attached, study.id)
    service.close(study.id)
    rows = service.store.revealed(study.id)
    assert {row["facts"]["origin"] for row in rows} == {"real", "synthetic"}
    assert str(toy_manifest.parent) not in str(rows)
    assert "region-" not in str(rows)
    results = study_results(service.store.study(study.id), rows)
    assert results["realism"]["mean"]["real"]["n"] == 4


def test_real_and_synthetic_pairs_of_a_center_have_the_same_examples_none_of_which_is_in_the_study(attached):
    service = attached.studies
    design = StudyDesign("A", ("center_pair",), num_pairs=8, num_practice=0, num_examples=1)
    study = service.create(design)
    by_center = defaultdict(set)
    shown, kinds = set(), set()
    for item in service.store.items(study.id):
        prompt = item.prompts["center_pair"]
        by_center[prompt["center"]].add((prompt["examples"], prompt["examples_are"]))
        shown.update(service.store.review_item(item.id).images)
    examples = [png for sets in by_center.values() for name, _ in sets for png in service.store.examples(name)]
    assert not shown & set(examples)
    with service.store._connection() as db:
        query = "SELECT facts FROM facts JOIN items ON items.id = item WHERE study = ?"
        kinds = {json.loads(facts)["origin"] for (facts,) in db.execute(query, (study.id,))}
        told = [json.loads(facts) for (facts,) in db.execute("SELECT facts FROM examples WHERE study = ?", (study.id,))]
    assert kinds == {"real", "synthetic"}
    assert {fact["origin"] for fact in told} == {study.made_with["examples"]}
    cells = {(fact["cancer_type"], fact["center"]) for fact in told}
    assert len(told) == len(cells) == sum(map(len, by_center.values())), "one set a (cancer type, center)"


def _read(services, study_id: str) -> int:
    """A reader who finds all realistic; returns how many tiles he saw."""
    from tests.services.test_review import join

    who = join(services.review, study_id, "ann")
    step, num = services.review.step(who), 0
    while not step["done"]:
        step = services.review.answer(who, step["item"], step["task"], 4)["next"]
        num += 1
    assert num == sum(item.block == TILES for item in services.studies.store.items(study_id))
    return num
