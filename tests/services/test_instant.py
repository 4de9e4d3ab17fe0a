"""Instant tiles: which checkpoint makes them, why there may be none, and that a tile is made again by the right one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medi_core.bootstrap import Services, build_services
from medi_core.checkpoints import save_checkpoint
from medi_core.errors import InvalidRequestError, UnknownValueError
from medi_core.metadata.schema import MetadataRecord
from medi_core.services.generation import CACHED_TILES
from medi_core.services.generation_request import GenerationRequest, request_from
from medi_core.services.instant import MAX_INSTANT_TILES, blended, found_or_remade, instant_request
from medi_core.settings import Settings
from tests.toys import DISTILLED, FEW_STEPS, TEACHER, build_tiny_pipeline

LUNG_LYON = MetadataRecord("Lung_adenocarcinoma", "Lyon", eosin="2")


@pytest.fixture
def settings(tiny_checkpoint: Path, tmp_path: Path) -> Settings:
    """Of a main checkpoint `tiny`; the few-step one, `fast`, is for the test to write."""
    folders = {"cache_dir": tmp_path / "cache", "data_dir": tmp_path / "data", "fast_checkpoint": "fast"}
    return Settings("tiny", "cpu", "float32", tiny_checkpoint.parent, tmp_path / "assets", **folders)


@pytest.fixture
def services(settings: Settings, toy_vocabulary) -> Services:
    save_checkpoint(build_tiny_pipeline(toy_vocabulary), settings.checkpoints_dir / "fast", DISTILLED)
    return build_services(settings)


def test_instant_tiles_have_the_steps_and_the_guidance_of_their_checkpoint_unless_others_are_given(services):
    (tile,) = services.instant.generate(instant_request(LUNG_LYON, (3,)))
    assert (tile.num_inference_steps, tile.guidance_scale) == (FEW_STEPS, 1.0)
    assert tile.checkpoint_id == services.instant.checkpoint.id != services.checkpoint.id
    assert services.instant_off == ""
    (other,) = services.instant.generate(GenerationRequest(LUNG_LYON, (3,), 3, 2.0))
    assert (other.num_inference_steps, other.guidance_scale) == (3, 2.0)
    (main,) = services.generation.generate(GenerationRequest(LUNG_LYON, (3,), guidance_scale=1.0, side_px=(32, 32)))
    assert main.num_inference_steps == 12


def test_either_service_finds_its_tiles_by_the_main_one_and_provenance_leads_to_the_right_checkpoint(services):
    (fast,) = services.instant.generate(instant_request(LUNG_LYON, (3,), "Rome", 0.25))
    (main,) = services.generation.generate(GenerationRequest(LUNG_LYON, (3,), 2, 1.0))
    for tile in (fast, main):
        assert services.generation.find(tile.id) is tile
        maker = services.maker_of(tile.provenance())
        (again,) = maker.generate(request_from(json.loads(json.dumps(tile.provenance()))))
        assert again.id == tile.id
        assert np.array_equal(again.image, tile.image)
    assert fast.id != main.id
    with pytest.raises(InvalidRequestError, match=r"the tile was made with other@1; loaded: fast@.*, tiny@"):
        services.maker_of({"checkpoint": "other@1"})


def test_a_tile_that_left_the_memory_is_made_again_while_it_is_in_sight(services):
    request = instant_request(LUNG_LYON, (1, 2))
    _, tile = services.instant.generate(request)
    for other in range(CACHED_TILES):
        services.instant.adopt(GenerationRequest(MetadataRecord(), (other,), 1, 1.0), tile.image)
    assert services.generation.find(tile.id) is None
    assert found_or_remade(services.generation, services.instant, tile.id, None) is None
    remade = found_or_remade(services.generation, services.instant, tile.id, request)
    assert np.array_equal(remade.image, tile.image)
    assert found_or_remade(services.generation, services.instant, "no such tile", request) is None


def test_a_blend_goes_from_one_center_to_the_other(services):
    rome = replace(LUNG_LYON, center="Rome")
    start, middle, end = (instant_request(LUNG_LYON, (5,), "Rome", share) for share in (0, 0.5, 1))
    assert (start, end) == (instant_request(LUNG_LYON, (5,)), instant_request(rome, (5,)))
    assert (middle.record, middle.other_record, middle.other_weight) == (LUNG_LYON, rome, 0.5)
    images = [services.instant.generate(request)[0].image.astype(int) for request in (start, middle, end)]
    assert 0 < np.abs(images[0] - images[1]).mean() < np.abs(images[0] - images[2]).mean()
    assert blended(start, "Lyon", 0.5) == blended(start, "", 0.5) == blended(start, None, 0.5) == start


def test_what_cannot_be_instant_is_refused_in_one_sentence(services):
    with pytest.raises(
        InvalidRequestError, match=f"number of instant tiles = 5: it must be from 1 to {MAX_INSTANT_TILES}"
    ):
        instant_request(LUNG_LYON, tuple(range(5)))
    with pytest.raises(InvalidRequestError, match=r"blend = 1\.5: it must be from 0 to 1"):
        instant_request(LUNG_LYON, (1,), "Rome", 1.5)
    with pytest.raises(UnknownValueError, match="Atlantis"):
        services.instant.generate(instant_request(LUNG_LYON, (1,), "Atlantis", 0.5))


def test_the_app_does_without_a_missing_one_and_names_no_folder(settings):
    services = build_services(settings)
    assert services.instant is None
    assert services.instant_off == "there is no few-step checkpoint 'fast'"
    assert build_services(replace(settings, fast_checkpoint="")).instant is None


def test_one_that_knows_other_metadata_is_left_off_and_the_reason_names_what_differs(settings, toy_vocabulary):
    values = toy_vocabulary.values | {"center": ("Lyon", "Paris")}
    pipeline = build_tiny_pipeline(replace(toy_vocabulary, values=values))
    save_checkpoint(pipeline, settings.checkpoints_dir / "fast", DISTILLED)
    services = build_services(settings)
    assert services.instant is None
    assert "fast@" in services.instant_off
    assert f"knows other metadata than {services.checkpoint.id}: center differs" in services.instant_off
    edges = toy_vocabulary.bin_edges | {"eosin": (0.4, 0.8, 1.0, 1.3)}
    pipeline = build_tiny_pipeline(replace(toy_vocabulary, bin_edges=edges))
    save_checkpoint(pipeline, settings.checkpoints_dir / "fast", DISTILLED)
    assert "eosin differs" in build_services(settings).instant_off


@pytest.mark.parametrize(
    ("record", "reason"),
    [({}, "is no few-step model"), ({"distillation": {"teacher": TEACHER, "num_inference_steps": 5}}, "from 1 to 4")],
)
def test_one_that_takes_many_steps_is_left_off(settings, toy_vocabulary, record, reason):
    save_checkpoint(build_tiny_pipeline(toy_vocabulary), settings.checkpoints_dir / "fast", record)
    services = build_services(settings)
    assert services.instant is None
    assert reason in services.instant_off


def test_on_zero_gpu_there_are_none(settings, toy_vocabulary, monkeypatch):
    save_checkpoint(build_tiny_pipeline(toy_vocabulary), settings.checkpoints_dir / "fast", DISTILLED)
    monkeypatch.setattr("medi_core.bootstrap.is_zero_gpu", lambda: True)
    assert "ZeroGPU" in build_services(settings).instant_off


def test_a_few_step_main_checkpoint_makes_the_instant_tiles_too(settings, toy_vocabulary):
    save_checkpoint(build_tiny_pipeline(toy_vocabulary), settings.checkpoints_dir / "fast", DISTILLED)
    services = build_services(replace(settings, checkpoint="fast", fast_checkpoint="missing"))
    assert services.instant is services.generation
    assert services.generation.default_sampling[0] == DISTILLED["distillation"]["num_inference_steps"]
    (tile,) = services.instant.generate(GenerationRequest(MetadataRecord(), (3,)))
    assert services.generation.find(tile.id) is tile
    assert services.generation.find("nothing") is None
