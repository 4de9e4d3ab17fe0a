"""Tiles into a folder: many, part by part, or the grid of a comparison. Run: pytest tests/services"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medi_core.checkpoints import Checkpoint
from medi_core.data.manifest import read_manifest
from medi_core.data.tile_files import read_provenance
from medi_core.errors import StorageError, UnknownValueError
from medi_core.metadata.schema import MetadataRecord
from medi_core.services import export
from medi_core.services.comparison import ComparisonService, comparison_of
from medi_core.services.contact_sheet import sheet_png
from medi_core.services.export import compare_into, generate_into
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest

RECORD = MetadataRecord("Lung_adenocarcinoma", "Lyon")


def request(num: int, record: MetadataRecord = RECORD) -> GenerationRequest:
    return GenerationRequest(record, tuple(range(num)), num_inference_steps=1, side_px=(32, 32))


@pytest.fixture
def service(tiny_pipeline, tmp_path, monkeypatch) -> GenerationService:
    monkeypatch.setattr(export, "TILES_A_PART", 2)
    return GenerationService(Checkpoint("tiny", "0123456789ab", tmp_path, tiny_pipeline), batch_size=2)


def test_all_parts_are_in_the_manifest_and_the_tiles_are_those_of_the_service(service, tmp_path):
    answer = generate_into(service, request(5), tmp_path / "out")
    frame = read_manifest(answer.manifest)
    assert frame["seed"].tolist() == ["0", "1", "2", "3", "4"]
    assert [tile.seed for tile in answer.tiles] == [0, 1, 2, 3, 4]
    tiles = service.generate(request(5))
    assert [tile.file for tile in answer.tiles] == [f"{tile.id}.png" for tile in tiles]
    for path, tile in zip(frame["path"], tiles, strict=True):
        assert np.abs(np.asarray(Image.open(path)).astype(int) - tile.image).max() <= 1


def test_progress_grows_from_part_to_part_to_the_number_of_tiles(service, tmp_path):
    seen = []
    generate_into(service, request(5), tmp_path, lambda *counts: seen.append(counts))
    done = [count for count, _ in seen]
    assert done == sorted(done)
    assert seen[-1] == (5, 5)
    assert {2, 4} <= set(done)


def test_what_was_written_before_a_stop_is_whole_and_in_the_manifest(service, tmp_path):
    def stop_in_the_third_part(done: float, _) -> None:
        if done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_into(service, request(6), tmp_path, stop_in_the_third_part)
    frame = read_manifest(tmp_path / "manifest.csv")
    assert frame["seed"].tolist() == ["0", "1", "2", "3"]
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_a_second_request_adds_to_the_folder(service, tmp_path):
    generate_into(service, request(2), tmp_path)
    answer = generate_into(service, request(3, MetadataRecord(center="Rome")), tmp_path)
    assert read_manifest(answer.manifest)["center"].tolist() == ["Lyon"] * 2 + ["Rome"] * 3


def test_a_tile_without_tissue_has_no_stains(service, tiny_pipeline, tmp_path, monkeypatch):
    white = np.full((1, 32, 32, 3), 255, np.uint8)
    monkeypatch.setattr(
        type(tiny_pipeline), "__call__", lambda *_, on_step, **__: on_step(1, torch.ones(1, 3, 32, 32)) or white
    )
    answer = generate_into(service, request(1), tmp_path)
    assert (answer.tiles[0].hematoxylin, answer.tiles[0].eosin) == (None, None)
    assert read_manifest(answer.manifest)["hematoxylin"].isna().all()


@pytest.mark.parametrize(
    ("record", "below_a_file", "error"),
    [(MetadataRecord(center="Room"), False, UnknownValueError), (RECORD, True, StorageError)],
)
def test_an_unknown_value_or_an_unusable_folder_is_refused_before_any_sampling(
    service, tiny_pipeline, tmp_path, record, below_a_file, error
):
    tiny_pipeline.denoiser.register_forward_hook(lambda *_: pytest.fail("it sampled"))
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "out" if below_a_file else tmp_path / "out"
    with pytest.raises(error):
        generate_into(service, request(1, record), folder)
    assert not Path(tmp_path / "out").exists()


VARY = {"center": ["Rome", "Lyon"], "cancer_type": ["Lung_adenocarcinoma", "Breast_invasive_carcinoma"]}


def test_a_comparison_is_written_as_tiles_with_their_manifest_and_one_labelled_sheet(service, tmp_path):
    asked, seen = comparison_of(request(2, MetadataRecord()), VARY), []
    made = compare_into(service, asked, tmp_path / "out", lambda *counts: seen.append(counts))
    grid = ComparisonService(service).compare(asked)
    cells = [cell for row in grid for cell in row]
    assert [(cell.metadata, cell.support) for cell in made.cells] == [
        (cell.record.to_dict(), cell.support.describe()) for cell in cells
    ]
    assert made.cells[1].support == "rare (2 tiles, 1 patient)"
    for written, cell in zip(made.cells, cells, strict=True):
        for file, tile in zip(written.files, cell.tiles, strict=True):
            assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / file)), tile.image)
    assert len(read_manifest(made.manifest)) == 8
    assert made.sheet.read_bytes() == sheet_png(service.vocabulary, asked, grid, service.checkpoint.id)
    assert read_provenance(made.sheet.read_bytes())["columns"] == {"center": ["Rome", "Lyon"]}
    assert seen[-1] == (8, 8)


def test_a_comparison_of_an_unknown_value_leaves_no_folder(service, tmp_path):
    with pytest.raises(UnknownValueError, match="did you mean 'Rome'"):
        compare_into(
            service, comparison_of(request(1, MetadataRecord()), {"center": ["Lyon", "Roma"]}), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()
