"""The tiles a first visitor sees. Run: pytest tests/services"""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medi_core.checkpoints import Checkpoint
from medi_core.data.tile_files import encode_png
from medi_core.errors import StorageError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Support, Vocabulary
from medi_core.services import welcome
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest
from medi_core.services.welcome import WelcomeService


class NoPipeline:
    """Enough for a service that is not asked to sample."""

    denoiser = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.metadata_embedder = type("Embedder", (), {"vocabulary": vocabulary})


def service_with(pipeline, folder, digest: str = "0123456789ab") -> WelcomeService:
    return WelcomeService(GenerationService(Checkpoint("tiny", digest, folder, pipeline), 4), folder / "welcome")


def requested(vocabulary: Vocabulary, folder) -> list[MetadataRecord]:
    return [request.record for request in service_with(NoPipeline(vocabulary), folder).requests()]


@pytest.fixture
def service(tiny_pipeline, tmp_path, monkeypatch) -> WelcomeService:
    """Welcome tiles of 32 px and one step: their look does not matter here."""

    def small_request(record, seeds):
        return GenerationRequest(record, seeds, num_inference_steps=1, side_px=(32, 32))

    monkeypatch.setattr(welcome, "GenerationRequest", small_request)
    return service_with(tiny_pipeline, tmp_path)


def test_requests_are_of_distinct_pairs_the_best_supported_of_each_cancer_type_first(toy_vocabulary, tmp_path):
    records = requested(toy_vocabulary, tmp_path)
    assert [(r.cancer_type[:4], r.center) for r in records] == [
        ("Brea", "Lyon"),
        ("Lung", "Rome"),
        ("Brea", "Paris"),
        ("Lung", "Lyon"),
    ]


def test_at_most_eight_are_requested_each_with_a_seed_of_its_own(toy_vocabulary, tmp_path):
    pairs = {f"{t} @ {c}{i}": Support(i, i) for i in range(1, 9) for t, c in (("A", "x"), ("B", "y"))}
    requests = service_with(NoPipeline(replace(toy_vocabulary, pair_support=pairs)), tmp_path).requests()
    assert [(r.record.cancer_type, r.record.center) for r in requests[:3]] == [("A", "x8"), ("B", "y8"), ("A", "x7")]
    assert len({r.record for r in requests}) == len({r.seeds for r in requests}) == 8


def test_a_center_whose_name_holds_the_separator_stays_whole(toy_vocabulary, tmp_path):
    vocabulary = replace(toy_vocabulary, pair_support={"A @ Clinic @ Lyon": Support(1, 1)})
    assert requested(vocabulary, tmp_path) == [MetadataRecord("A", "Clinic @ Lyon")]


def test_a_checkpoint_without_centers_is_asked_for_cancer_types_alone(toy_vocabulary, tmp_path):
    values = {"cancer_type": toy_vocabulary.values["cancer_type"]}
    records = requested(replace(toy_vocabulary, values=values), tmp_path)
    assert records == [MetadataRecord("Breast_invasive_carcinoma"), MetadataRecord("Lung_adenocarcinoma")]


def test_a_checkpoint_without_known_pairs_shows_an_unconditioned_tile(toy_vocabulary, tmp_path):
    assert requested(replace(toy_vocabulary, pair_support={}), tmp_path) == [MetadataRecord()]


def test_nothing_stored_is_nothing_cached(service):
    assert service.cached() == []


def test_what_is_stored_comes_back_with_its_pixels_record_and_seed(service):
    paths = service.store()
    tiles, cached = service.make(), service.cached()
    assert len(paths) == len(tiles)
    assert [tile.id for tile in cached] == [tile.id for tile in tiles]
    for stored, tile in zip(cached, tiles, strict=True):
        assert np.array_equal(stored.image, tile.image)
        assert (stored.record, stored.seed, stored.eosin) == (tile.record, tile.seed, tile.eosin)


def test_files_of_another_checkpoint_are_not_shown_and_storing_replaces_them(service, tiny_pipeline, tmp_path):
    service.store()
    other = service_with(tiny_pipeline, tmp_path, digest="ba9876543210")
    assert other.cached() == []
    assert len(other.store()) == 4
    assert len(other.cached()) == 4
    assert service.cached() == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path, png: path.write_bytes(b""),
        lambda path, png: path.write_bytes(b"not a PNG"),
        lambda path, png: path.write_bytes(png[: len(png) // 2]),
        lambda path, png: path.write_bytes(png[:-40]),
        lambda path, png: (path.unlink(), path.mkdir()),
        lambda path, png: (path.unlink(), path.symlink_to("nowhere")),
        lambda path, png: Image.new("RGB", (32, 32)).save(path),
        lambda path, png: path.write_bytes(encode_png(np.zeros((32, 32, 3), np.uint8), {"origin": "synthetic"})),
        lambda path, png: path.write_bytes(encode_png(np.zeros((32, 32, 3), np.uint8), [])),
        lambda path, png: path.write_bytes(
            encode_png(np.zeros((32, 32, 3), np.uint8), {"checkpoint": "tiny@0123456789ab", "metadata": {"smell": "x"}})
        ),
    ],
    ids=["empty", "text", "half", "end", "folder", "link", "foreign", "unfinished", "list", "record"],
)
def test_a_damaged_or_foreign_file_is_left_out_and_nothing_crashes(service, spoil):
    first, *others = service.store()
    spoil(first, first.read_bytes())
    names = [f"welcome-{i + 2}.png" for i in range(len(others))]
    assert [path.name for path in others] == names
    assert [tile.seed for tile in service.cached()] == [welcome.FIRST_SEED + 1 + i for i in range(len(others))]


def test_when_storing_fails_the_tiles_of_before_are_still_there(service, monkeypatch):
    service.store()
    before = [tile.id for tile in service.cached()]
    monkeypatch.setattr(welcome, "FIRST_SEED", 1)
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(StorageError, match="No space left"):
        service.store()
    assert [tile.id for tile in service.cached()] == before
