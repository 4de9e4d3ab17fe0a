"""Request in, tiles out: what a tile depends on, what is refused, what is reported. Run: pytest tests/services"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medi_core.checkpoints import Checkpoint
from medi_core.data.tile_files import encode_png, read_provenance
from medi_core.errors import InvalidRequestError, StoppingError, UnknownValueError
from medi_core.metadata.schema import MetadataRecord
from medi_core.pipelines.schedulers import SCHEDULERS, build_scheduler
from medi_core.services import generation
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest, request_from
from medi_core.stain.separation import stain_strengths
from tests.toys import build_tiny_pipeline, synthetic_tissue

LUNG_LYON = MetadataRecord("Lung_adenocarcinoma", "Lyon", hematoxylin="4")
BREAST_ROME = MetadataRecord("Breast_invasive_carcinoma", "Rome")
BASE = synthetic_tissue(32, 1)
PATIENCE = 20.0
"""Seconds after which a test of threads gives up."""


def request(*seeds: int, **changes) -> GenerationRequest:
    """The smallest and fastest of requests, but for the changes."""
    given = {"record": LUNG_LYON, "num_inference_steps": 2, "guidance_scale": 2.0, "side_px": (32, 32)} | changes
    return GenerationRequest(seeds=seeds or (0,), **given)


def images(tiles) -> np.ndarray:
    return np.stack([tile.image for tile in tiles])


def distance(a, b) -> int:
    """Largest difference in grey levels."""
    return int(np.abs(images(a).astype(int) - images(b)).max())


@pytest.fixture
def build_service(tiny_pipeline, tmp_path):
    def build(batch_size: int = 4, pipeline=tiny_pipeline) -> GenerationService:
        return GenerationService(Checkpoint("tiny", "0123456789ab", tmp_path, pipeline), batch_size)

    return build


@pytest.fixture
def service(build_service) -> GenerationService:
    return build_service()


class WhitePipeline:
    """Draws empty glass, and keeps what guidance it was given."""

    def __init__(self, vocabulary) -> None:
        self.metadata_embedder = SimpleNamespace(vocabulary=vocabulary)
        self.scheduler, self.denoiser = SimpleNamespace(order=1), SimpleNamespace(side_multiple_px=8)
        self.guidances = []

    def __call__(self, seeds, num_inference_steps, guidance, height_px, width_px, on_step, **_) -> np.ndarray:
        self.guidances.append(guidance)
        for i in range(num_inference_steps):
            time.sleep(0.001)
            on_step(i + 1, torch.ones(len(seeds), 3, height_px, width_px))
        return np.full((len(seeds), height_px, width_px, 3), 255, np.uint8)


# ------------------------------------------------------ what a tile depends on


def test_the_same_request_gives_the_same_bytes(service):
    first, second = service.generate(request(3, 4)), service.generate(request(3, 4))
    assert np.array_equal(images(first), images(second))
    assert [t.id for t in first] == [t.id for t in second]


def test_seed_condition_and_guidance_each_change_the_tile(service):
    tile = service.generate(request(3))
    for other in (request(5), request(3, record=BREAST_ROME), request(3, guidance_scale=4.0)):
        assert distance(tile, service.generate(other)) > 1


@pytest.mark.parametrize("guide", [(), (("center", 3.0),)])
def test_a_tile_depends_neither_on_the_number_of_tiles_nor_on_the_batch(build_service, guide):
    alone = [build_service(1).generate(request(seed, attribute_guidance=guide))[0] for seed in range(5)]
    for batch_size in (2, 3, 8):
        together = build_service(batch_size).generate(request(*range(5), attribute_guidance=guide))
        assert [t.seed for t in together] == [0, 1, 2, 3, 4]
        assert distance(alone, together) <= 1  # a convolution may sum in another order for another batch


def test_the_order_in_which_attributes_are_guided_does_not_matter(toy_vocabulary, build_service):
    pipeline, guide = WhitePipeline(toy_vocabulary), (("center", 2.5), ("cancer_type", 0.3))
    one, other = (
        build_service(pipeline=pipeline).generate(request(1, attribute_guidance=g))[0] for g in (guide, guide[::-1])
    )
    assert pipeline.guidances[0] == pipeline.guidances[1]
    assert one.id == other.id


def test_windows_change_a_tile_larger_than_they_are_and_no_other(service):
    for side, is_changed in ((192, True), (128, False)):
        whole, windows = (service.generate(request(1, side_px=(side, side), window_px=w)) for w in (None, 128))
        assert bool(distance(whole, windows)) == is_changed


def test_guidance_counts_only_between_its_noise_levels(service):
    plain, guided = service.generate(request(1, guidance_scale=1.0)), service.generate(request(1, guidance_scale=4.0))
    nowhere = service.generate(request(1, guidance_scale=4.0, guidance_interval=(0.6, 0.9)))  # σ is 1, then 1/2
    early = service.generate(request(1, guidance_scale=4.0, guidance_interval=(0.6, 1.0)))
    assert np.array_equal(images(nowhere), images(plain))
    assert distance(early, plain) > 1
    assert distance(early, guided) > 1


def test_a_tile_has_the_size_asked_for(service):
    assert service.generate(request(1, side_px=(64, 32)))[0].image.shape == (64, 32, 3)


# ------------------------------------------------------------------ provenance


def test_provenance_says_synthetic_and_names_checkpoint_seed_and_metadata(service):
    facts = service.generate(request(7))[0].provenance()
    assert facts["origin"] == "synthetic"
    assert facts["checkpoint"] == "tiny@0123456789ab"
    assert facts["seed"] == 7
    assert facts["metadata"] == {"cancer_type": "Lung_adenocarcinoma", "center": "Lyon", "hematoxylin": "4"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"record": MetadataRecord()},
        {"attribute_guidance": (("eosin", 0.5), ("center", 2.5)), "guidance_scale": 1.0},
        {"other_record": BREAST_ROME, "other_weight": 0.3},
        {"side_px": (64, 32), "num_inference_steps": 3},
        {"side_px": (96, 64), "window_px": 32, "guidance_interval": (0.3, 0.9)},
    ],
    ids=["plain", "unconditioned", "guided", "interpolated", "oblong", "in windows"],
)
def test_a_tile_can_be_made_again_from_its_png_alone(service, changes):
    tile = service.generate(request(11, 12, **changes))[1]
    again = service.generate(request_from(read_provenance(encode_png(tile.image, tile.provenance()))))
    assert distance([tile], again) <= 1
    assert [t.id for t in again] == [tile.id]


def test_provenance_speaks_of_windows_and_interval_only_where_they_were_chosen(service):
    plain = service.generate(request(1, guidance_interval=(0, 1)))[0].provenance()
    assert not {"window_px", "guidance_interval"} & set(plain)
    chosen = service.generate(request(1, window_px=np.int64(32), guidance_interval=(0, 0.5)))[0].provenance()
    assert (chosen["window_px"], chosen["guidance_interval"]) == (32, [0.0, 0.5])
    assert request_from(chosen) == request(1, window_px=32, guidance_interval=(0, 0.5))


def test_a_rerendered_tile_can_be_made_again_from_its_png_and_its_base(service):
    tile = service.generate(request(1, base_image=BASE, strength=0.4))[0]
    facts = read_provenance(encode_png(tile.image, tile.provenance()))
    assert facts["strength"] == 0.4
    again = service.generate(request_from(facts, BASE.copy()))
    assert np.array_equal(again[0].image, tile.image)
    assert again[0].id == tile.id


@pytest.mark.parametrize("base", [None, synthetic_tissue(32, 2)])
def test_a_rerendered_tile_is_not_made_again_without_its_base(service, base):
    tile = service.generate(request(1, base_image=BASE, strength=0.4))[0]
    with pytest.raises(InvalidRequestError, match=r"re-rendered from an image of digest [0-9a-f]{12}; give that image"):
        request_from(tile.provenance(), base)


@pytest.mark.parametrize(
    "damage",
    [
        {"metadata": None},
        {"metadata": {"smell": "lemon"}},
        {"metadata": {"center": 5}},
        {"seed": None},
        {"seed": "1"},
        {"seed": -1},
        {"height_px": 33},
        {"attribute_guidance": [1]},
        {"attribute_guidance": {"center": "much"}},
        {"num_inference_steps": 1e9},
        {"interpolated_towards": 3},
        {"window_px": "32"},
        {"guidance_interval": 0.5},
        {"guidance_interval": [0.5]},
    ],
)
def test_damaged_provenance_is_refused(service, damage):
    facts = service.generate(request(1))[0].provenance()
    assert request_from(facts) == request(1)
    with pytest.raises(InvalidRequestError):
        request_from(facts | damage)


@pytest.mark.parametrize("facts", [None, [], {}, "tile", {"origin": "synthetic", "state": "unfinished"}])
def test_what_is_no_provenance_at_all_is_refused(facts):
    with pytest.raises(InvalidRequestError, match="not the provenance of a synthetic tile"):
        request_from(facts)


def test_the_id_differs_when_anything_of_the_provenance_differs(service):
    rerendered = {"base_image": BASE, "strength": 0.4}
    interpolated = {"other_record": BREAST_ROME, "other_weight": 0.3}
    variants = [
        request(1),
        request(2),
        request(1, record=BREAST_ROME),
        request(1, num_inference_steps=3),
        request(1, guidance_scale=1.6),
        request(1, attribute_guidance=(("center", 2.0),)),
        request(1, attribute_guidance=(("center", 2.1),)),
        request(1, attribute_guidance=(("eosin", 2.0),)),
        request(1, side_px=(32, 64)),
        request(1, side_px=(64, 32)),
        request(1, window_px=32),
        request(1, guidance_interval=(0.2, 1.0)),
        request(1, guidance_interval=(0.0, 0.8)),
        request(1, **rerendered),
        request(1, **rerendered | {"strength": 0.5}),
        request(1, **rerendered | {"base_image": synthetic_tissue(32, 2)}),
        request(1, **interpolated),
        request(1, **interpolated | {"other_weight": 0.4}),
        request(1, **interpolated | {"other_record": MetadataRecord(center="Rome")}),
    ]
    tiles = [service.generate(variant)[0] for variant in variants]
    tiles.append(replace(tiles[0], checkpoint_id="tiny@ba9876543210"))
    provenances = [str(sorted(tile.provenance().items())) for tile in tiles]
    assert len(set(provenances)) == len(variants) + 1, "two of the variants are the same"
    assert len({tile.id for tile in tiles}) == len(variants) + 1


def test_the_same_number_in_another_type_is_the_same_request(service):
    plain = service.generate(request(1, guidance_scale=2.0, attribute_guidance=(("center", 3.0),)))[0]
    numbers = {"guidance_scale": 2, "attribute_guidance": (("center", np.float32(3)),)}
    other = service.generate(request(np.int64(1), num_inference_steps=np.int64(2), **numbers))[0]
    assert other.id == plain.id
    assert encode_png(other.image, other.provenance()) == encode_png(plain.image, plain.provenance())


# --------------------------------------------------------------- what is refused


@pytest.mark.parametrize("where", ["record", "other_record"])
def test_an_unknown_center_is_named_with_the_nearest_known_before_any_sampling(toy_vocabulary, build_service, where):
    pipeline = WhitePipeline(toy_vocabulary)
    service, wrong = build_service(pipeline=pipeline), request(1, **{where: MetadataRecord(center="Pariss")})
    for refuse in (service.generate, service.check):
        with pytest.raises(UnknownValueError, match=r"center='Pariss' .*did you mean 'Paris'"):
            refuse(wrong)
    assert pipeline.guidances == []


def test_guidance_for_an_attribute_the_checkpoint_lacks_is_refused_before_any_sampling(toy_vocabulary, build_service):
    pipeline = WhitePipeline(toy_vocabulary)
    with pytest.raises(InvalidRequestError, match="guidance for 'scanner': this checkpoint knows cancer_type, center"):
        build_service(pipeline=pipeline).generate(request(1, attribute_guidance=(("scanner", 2.0),)))
    assert pipeline.guidances == []


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("changes", "named", "allowed"),
    [
        *(({"seeds": seeds}, "number of tiles = ", "from 1 to 10,000") for seeds in ((), range(10_001))),
        *(
            ({"seeds": (0, seed)}, f"seed = {seed}:", "whole number from 0 to 9,007,199,254,740,991")
            for seed in (-1, 2**53, 10**40, NAN, 1.5, "1", None, True)
        ),
        *(
            ({"num_inference_steps": steps}, f"steps = {steps}:", "whole number from 1 to 200")
            for steps in (0, -3, 201, 10**30, NAN, 2.5, "20")
        ),
        *(
            ({"guidance_scale": scale}, f"guidance = {scale}:", "from 0 to 10")
            for scale in (-0.1, 10.1, 1e30, NAN, INFINITE, "1.5")
        ),
        *(
            ({"attribute_guidance": (("center", scale),)}, f"guidance of center = {scale}:", "from 0 to 10")
            for scale in (-1, 11, NAN, "2")
        ),
        ({"attribute_guidance": (("center", 2), ("center", 3))}, "center, center", "give each once"),
        *(
            ({"side_px": (32, side)}, f"side in px = {side}:", "from 32 to 512")
            for side in (0, -32, 33, 100, 544, 10**9, NAN, 64.0, "64")
        ),
        *(
            ({"strength": strength, "base_image": BASE}, f"strength = {strength}:", "from 0.01 to 1")
            for strength in (0, -1, 1.01, NAN)
        ),
        ({"strength": 0.5}, "strength = 0.5:", "image to re-render"),
        *(
            ({"other_weight": weight, "other_record": BREAST_ROME}, f"interpolation = {weight}:", "from 0 to 1")
            for weight in (-0.1, 1.1, NAN)
        ),
        ({"other_weight": 0.5}, "interpolation = 0.5:", "second condition"),
        *(
            ({"window_px": window}, f"window in px = {window}:", "from 32 to 512")
            for window in (0, 16, 100, 544, 64.0, NAN, "128", True)
        ),
        ({"window_px": 160}, "window in px = 160:", "128×128 px; choose a smaller window, or none"),
        ({"window_px": 64, "base_image": BASE}, "window in px = 64:", "32×32 px; choose a smaller window"),
        *(
            ({"guidance_interval": interval}, f"interval = {interval}:", "two noise levels from 0 to 1")
            for interval in (None, 0.5, [0.1, 0.9], (0.5,), (0.1, 0.5, 0.9), "01")
        ),
        *(
            ({"guidance_interval": (level, 1)}, f"interval, low end = {level}:", "from 0 to 1")
            for level in (-0.1, 1.5, NAN, "0", None)
        ),
        ({"guidance_interval": (0, 1.1)}, "interval, high end = 1.1:", "from 0 to 1"),
        ({"guidance_interval": (0.6, 0.4)}, "interval = 0.6 to 0.4:", "low end must not be above the high one"),
        ({"record": MetadataRecord(hematoxylin=3)}, "hematoxylin = 3:", "must be text"),
        ({"other_record": MetadataRecord(center=["Lyon"])}, "center = ['Lyon']:", "must be text"),
    ],
)
def test_a_number_outside_its_range_is_named_with_what_is_allowed(changes, named, allowed):
    given = {"record": LUNG_LYON, "seeds": (0,)} | changes
    with pytest.raises(InvalidRequestError) as caught:
        GenerationRequest(**given)
    assert named in str(caught.value)
    assert allowed in str(caught.value)


def test_the_ends_of_each_range_are_allowed():
    request(0, 2**53 - 1, num_inference_steps=200, guidance_scale=0, side_px=(512, 32))
    request(*range(10_000), num_inference_steps=1, guidance_scale=10, attribute_guidance=(("center", 0),))
    request(0, base_image=BASE, strength=0.01)
    request(0, other_record=BREAST_ROME, other_weight=1)
    request(0, side_px=(512, 32), window_px=512, guidance_interval=(0.5, 0.5))


def test_a_base_image_of_odd_sides_is_refused(service):
    with pytest.raises(InvalidRequestError, match="side in px = 40: this checkpoint takes multiples of 32 only"):
        service.generate(request(1, base_image=synthetic_tissue(40, 1)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"side_px": (128, 96)}, "side in px = 96: .* 64 only, e.g. 64"),
        ({"side_px": (32, 64)}, "side in px = 32: .* 64 only, e.g. 64"),
        ({"side_px": (192, 192), "window_px": 160}, "window in px = 160: .* 64 only, e.g. 128"),
        ({"base_image": synthetic_tissue(96, 1)}, "side in px = 96: .* 64 only, e.g. 64"),
    ],
)
def test_a_side_that_a_deeper_network_cannot_take_is_refused_with_its_multiple(
    toy_vocabulary, build_service, changes, named
):
    deeper = build_tiny_pipeline(toy_vocabulary, (16, 16, 16, 16, 16))
    service = build_service(pipeline=deeper)
    assert service.side_multiple_px == deeper.denoiser.side_multiple_px == 64
    for refuse in (service.generate, service.check):
        with pytest.raises(InvalidRequestError, match=named):
            refuse(request(1, **changes))
    assert service.generate(request(1, side_px=(64, 128)))[0].image.shape == (64, 128, 3)


# ---------------------------------------------------------------------- progress


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_progress_grows_to_the_total_and_the_last_report_has_the_tiles(build_service, tiny_pipeline, scheduler):
    tiny_pipeline.register_modules(scheduler=build_scheduler(scheduler))
    reports = list(build_service(batch_size=2).stream(request(*range(5), num_inference_steps=3)))
    done = [report.done for report in reports]
    assert done == [*range(1, done[-1] + 1), done[-1]]
    assert {report.total for report in reports} == {done[-1]}
    assert [len(report.tiles) for report in reports] == [0] * (len(reports) - 1) + [5]


def test_previews_are_the_finished_tiles_and_one_estimate_for_each_tile_under_way(build_service):
    reports = list(build_service(batch_size=2).stream(request(*range(5))))
    assert [len(report.previews) for report in reports] == [2, 2, 4, 4, 5, 5, 5]
    assert {(p.shape, p.dtype.name) for report in reports for p in report.previews} == {((32, 32, 3), "uint8")}
    tiles = reports[-1].tiles
    for report in reports[2:]:
        assert all(preview is tile.image for preview, tile in zip(report.previews[:2], tiles[:2], strict=True))
    assert all(preview is tile.image for preview, tile in zip(reports[-1].previews, tiles, strict=True))


def test_generate_reports_what_stream_yields(service):
    seen = []
    service.generate(request(1), seen.append)
    assert [report.done for report in seen] == [1, 2, 2]


def test_closing_early_stops_within_a_step_and_the_next_request_works(service, tiny_pipeline):
    steps = []
    tiny_pipeline.denoiser.register_forward_hook(lambda *_: steps.append(1))
    reports = service.stream(request(1, num_inference_steps=200))
    next(reports)
    reports.close()
    num = len(steps)
    assert num < 200
    assert service._batcher._num_callers == 0
    assert len(service.generate(request(1))) == 1
    assert len(steps) == num + 2, "the closed request went on"


def test_after_an_error_while_sampling_the_next_request_works(service, tiny_pipeline):
    handle = tiny_pipeline.denoiser.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        service.generate(request(1))
    handle.remove()
    assert len(service.generate(request(1))) == 1


TOGETHER = {
    "plain": request(1, num_inference_steps=6),
    "guided": request(2, 3, record=BREAST_ROME, num_inference_steps=4, attribute_guidance=(("center", 3.0),)),
    "many": request(*range(10, 20), num_inference_steps=3),
    "large": request(4, side_px=(64, 96), window_px=64, num_inference_steps=3),
    "re-rendered": request(5, base_image=BASE, strength=0.4, num_inference_steps=5),
    "within an interval": request(6, guidance_interval=(0.3, 0.8), guidance_scale=4.0, num_inference_steps=5),
}
"""Requests at other steps, noise levels, conditions, guidances and sizes."""


def test_requests_at_once_get_the_tiles_that_each_would_get_alone_to_the_last_bit(build_service, tiny_pipeline):
    alone = {name: images(build_service().generate(wanted)) for name, wanted in TOGETHER.items()}
    forwards, service, all_in = [], build_service(), threading.Barrier(len(TOGETHER))
    tiny_pipeline.denoiser.register_forward_hook(lambda _, given, __: forwards.append(len(given[1].unique())))

    def work(wanted: GenerationRequest) -> np.ndarray:
        all_in.wait(PATIENCE)
        return images(service.generate(wanted))

    with ThreadPoolExecutor(len(TOGETHER)) as pool:
        together = dict(zip(TOGETHER, pool.map(work, TOGETHER.values()), strict=True))
    for name, expected in alone.items():
        assert np.array_equal(together[name], expected), name
    assert max(forwards) > 1, "no forward was shared"


def test_who_cancels_leaves_the_others_their_tiles(build_service):
    expected, service = images(build_service().generate(request(*range(6)))), build_service()
    with ThreadPoolExecutor(1) as pool:
        reports = service.stream(request(100, num_inference_steps=200))
        next(reports)
        other = pool.submit(service.generate, request(*range(6)))
        next(reports)
        reports.close()
        assert np.array_equal(images(other.result(PATIENCE)), expected)
    assert service._batcher._num_callers == 0


def test_stopping_ends_all_requests_at_once_with_one_sentence(build_service, tiny_pipeline):
    service, started = build_service(), threading.Semaphore(0)
    tiny_pipeline.denoiser.register_forward_hook(lambda *_: started.release())
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(service.generate, request(seed, num_inference_steps=200)) for seed in range(3)]
        assert started.acquire(timeout=PATIENCE)
        service.stop()
        for run in runs:
            with pytest.raises(StoppingError, match="the app is being restarted: try again in a minute"):
                run.result(PATIENCE)
    with pytest.raises(StoppingError):
        service.generate(request(1))


# ------------------------------------------------------------- cache and stains


def test_a_tile_is_found_by_its_id_and_an_unknown_id_is_not(service):
    tile = service.generate(request(1))[0]
    assert service.find(tile.id) is tile
    assert service.find("0" * 16) is None


def test_the_cache_keeps_the_latest_tiles_only(toy_vocabulary, build_service, monkeypatch):
    monkeypatch.setattr(generation, "CACHED_TILES", 10)
    service = build_service(pipeline=WhitePipeline(toy_vocabulary))
    tiles = service.generate(request(*range(10)))
    service.generate(request(0))  # made again, so it is among the latest
    later = service.generate(request(*range(100, 107)))
    assert [t.seed for t in tiles if service.find(t.id)] == [0, 8, 9]
    assert all(service.find(t.id) for t in later)


def test_the_stains_are_those_of_the_image(service, tiny_pipeline, monkeypatch):
    monkeypatch.setattr(type(tiny_pipeline), "__call__", lambda *_, seeds, **__: np.stack([BASE] * len(seeds)))
    for tile in service.generate(request(1, 2)):
        assert (tile.hematoxylin, tile.eosin) == stain_strengths(BASE)
        assert tile.hematoxylin > 0


def test_a_tile_without_tissue_has_no_stains_and_no_trouble(toy_vocabulary, build_service):
    tile = build_service(pipeline=WhitePipeline(toy_vocabulary)).generate(request(1))[0]
    assert np.isnan(tile.hematoxylin)
    assert np.isnan(tile.eosin)
    assert request_from(read_provenance(encode_png(tile.image, tile.provenance()))) == request(1)


def test_guidance_towards_nothing_costs_nothing(build_service, tiny_pipeline):
    passes = []
    tiny_pipeline.denoiser.register_forward_hook(lambda *_: passes.append(1))
    service = build_service()
    for scale in (1.0, 3.0):
        service.generate(request(0, 1, 2, 3, record=MetadataRecord(), guidance_scale=scale))
    assert len(passes) == 2 * 2  # two steps each, one micro-batch of four a step
    service.generate(request(0, 1, 2, 3, guidance_scale=3.0))
    assert len(passes) == 2 * 2 + 2 * 2
