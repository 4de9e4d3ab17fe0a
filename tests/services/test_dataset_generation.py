"""Data sets from plans: the same bytes however they are made, nothing twice, nothing half, and what is said is true."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medi_core.data.import_webdataset import import_webdataset
from medi_core.data.manifest import read_manifest
from medi_core.data.shard_files import FOLDER, WEBDATASET, ZIP
from medi_core.data.tile_files import decode_png, read_provenance
from medi_core.errors import ManifestError, PlanError, ReferenceSetError, StorageError
from medi_core.metadata.schema import MetadataRecord
from medi_core.planning.plan import AugmentationPlan, PlannedCell
from medi_core.services import dataset_generation
from medi_core.services.dataset_generation import COPY, UNRECOGNISED, DatasetOptions, DatasetService
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import request_from
from tests.toy_classifier import save_toy_classifier

LUNG = "Lung_adenocarcinoma"


@pytest.fixture
def services(tiny_services):
    """With a classifier beside the checkpoint."""
    save_toy_classifier(tiny_services.settings.classifier_dir)
    return tiny_services


def plan_of(services, counts=(4, 3), steps: int = 2) -> AugmentationPlan:
    cells = [
        PlannedCell(MetadataRecord(cancer_type=LUNG, center=center), 1, 1, 1, 1, 0.25, num)
        for center, num in zip(("Lyon", "Rome"), counts, strict=True)
    ]
    return AugmentationPlan(
        services.checkpoint.id, ("cancer_type", "center"), {}, tuple(cells), num_inference_steps=steps
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def options(form: str = FOLDER, **more) -> DatasetOptions:
    return DatasetOptions(form, **{"shard_size": 3} | more)


def with_batch(services, size: int) -> DatasetService:
    generation = GenerationService(services.checkpoint, size)
    return DatasetService(generation, services.augmentation, services.datasets._measures)


@pytest.mark.parametrize("form", [FOLDER, ZIP, WEBDATASET])
def test_the_bytes_do_not_depend_on_the_batch_or_the_order_of_the_shards(services, tmp_path, form):
    plan = plan_of(services)
    service = services.datasets

    def backwards(shards, report):
        return ((s, service.make_shard(plan, s, tmp_path / "b", options(form))) for s in reversed(shards))

    service.run(plan, tmp_path / "a", options(form))
    service.run(plan, tmp_path / "b", options(form), engine=backwards)
    with_batch(services, 1).run(plan, tmp_path / "c", options(form))
    assert digests(tmp_path / "a") == digests(tmp_path / "b") == digests(tmp_path / "c")


def test_every_planned_tile_is_there_and_can_be_made_again_from_its_manifest(services, tmp_path):
    plan = plan_of(services)
    answer = services.datasets.run(plan, tmp_path / "set", options())
    manifest = read_manifest(answer["manifest"])
    assert (answer["tiles"], answer["shards"], len(manifest)) == (7, 3, 7)
    assert manifest["center"].value_counts().to_dict() == {"Lyon": 4, "Rome": 3}
    wanted = {seed for c in plan.cells for seed in (c.seed_of(k, 0) for k in range(c.planned_tiles))}
    assert {int(seed) for seed in manifest["seed"]} == wanted
    for row in manifest.itertuples():
        png = Path(row.path).read_bytes()
        assert json.loads(row.requested) == read_provenance(png)
        (again,) = services.generation.generate(request_from(read_provenance(png)))
        np.testing.assert_array_equal(decode_png(png), again.image)
        assert row.verdict == services.classification.verdicts([again.image])[0].top
    assert set(manifest["trust"]) == {0.25}
    assert manifest["train_distance"].isna().all(), "nothing to compare with, so no number"


def test_a_tar_is_read_back_by_the_importer(services, tmp_path):
    services.datasets.run(plan_of(services), tmp_path / "set", options(WEBDATASET))
    tars = sorted((tmp_path / "set").glob("*.tar"))
    frame = import_webdataset(tars, tmp_path / "unpacked")
    assert len(frame) == 7
    assert set(frame["cancer_type"]) == {LUNG}


def test_a_stopped_run_goes_on_and_makes_nothing_twice(services, tmp_path, monkeypatch):
    plan, made = plan_of(services), []

    def stop(progress):
        if progress.made >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        services.datasets.run(plan, tmp_path / "set", options(), stop)
    assert not (tmp_path / "set" / "manifest.csv").exists(), "an unfinished set does not look finished"
    generate = services.generation.generate
    monkeypatch.setattr(
        services.generation, "generate", lambda request: made.extend(request.seeds) or generate(request)
    )
    services.datasets.run(plan, tmp_path / "set", options())
    services.datasets.run(plan, tmp_path / "whole", options())
    assert digests(tmp_path / "set") == digests(tmp_path / "whole")
    assert len(made) == 4 + 7, "the first shard was kept"


@pytest.mark.parametrize("form", [FOLDER, ZIP, WEBDATASET])
@pytest.mark.parametrize("harm", ["cut", "lost"])
def test_a_damaged_shard_is_found_said_and_made_anew(services, tmp_path, form, harm):
    plan, notes = plan_of(services), []
    services.datasets.run(plan, tmp_path / "set", options(form))
    before = digests(tmp_path / "set")
    (path, *_) = [p for p in sorted((tmp_path / "set").rglob("*")) if p.suffix in (".png", ".zip", ".tar")]
    path.unlink() if harm == "lost" else path.write_bytes(path.read_bytes()[:-10])
    services.datasets.run(plan, tmp_path / "set", options(form), lambda progress: notes.append(progress.note))
    assert digests(tmp_path / "set") == before
    assert "shard-00000 is damaged and is made anew" in notes


def test_another_plan_or_option_is_refused_by_name_and_nothing_is_lost(services, tmp_path):
    services.datasets.run(plan_of(services), tmp_path / "set", options())
    before = digests(tmp_path / "set")
    for plan, chosen, words in (
        (plan_of(services, (4, 4)), options(), "holds a data set with plan"),
        (plan_of(services), options(ZIP), "with format = 'folder'"),
        (plan_of(services), options(shard_size=2), "with shard_size = 3"),
    ):
        with pytest.raises(StorageError, match=words):
            services.datasets.run(plan, tmp_path / "set", chosen)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(StorageError, match=r"other files \(thesis\.txt\)"):
        services.datasets.run(plan_of(services), tmp_path / "mine", options())
    assert digests(tmp_path / "set") == before


def test_a_plan_for_another_checkpoint_makes_nothing(services, tmp_path):
    other = dataclasses.replace(plan_of(services), checkpoint="other@1")
    with pytest.raises(PlanError, match="made for the checkpoint other@1"):
        services.datasets.run(other, tmp_path / "set", options())
    assert not (tmp_path / "set").exists()


def test_where_memory_runs_out_fewer_are_made_at_once_and_it_is_said(services, tmp_path, monkeypatch):
    plan = plan_of(services, (4, 4))
    services.datasets.run(plan, tmp_path / "whole", options(shard_size=7))
    generate, notes = services.generation.generate, []

    def small(request):
        if len(request.seeds) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return generate(request)

    monkeypatch.setattr(services.generation, "generate", small)
    chosen = options(shard_size=7)
    services.datasets.run(plan, tmp_path / "set", chosen, lambda progress: notes.append(progress.note))
    assert digests(tmp_path / "set") == digests(tmp_path / "whole")
    told = [note for note in notes if note.startswith("memory ran out")]
    numbers = ("2 tiles", "1 tile")
    assert told == [f"memory ran out: {num} at once from here on" for num in numbers], "once, not once a cell"

    def broken(request):
        raise RuntimeError("some bug")

    monkeypatch.setattr(services.generation, "generate", broken)
    with pytest.raises(RuntimeError, match="some bug"):
        services.datasets.run(plan_of(services), tmp_path / "bug", chosen)


def test_a_full_disk_is_said_and_what_is_whole_stays(services, tmp_path, monkeypatch):
    write, num = Path.write_bytes, []

    def full(path, content):
        num.append(path)
        if path.suffix == ".png" and sum(p.suffix == ".png" for p in num) > 4:
            write(path, content[:5])
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        services.datasets.run(plan_of(services), tmp_path / "set", options())
    assert len(list((tmp_path / "set").rglob("*.png"))) == 3, "the first shard"
    monkeypatch.undo()
    services.datasets.run(plan_of(services), tmp_path / "set", options())
    assert len(list((tmp_path / "set").rglob("*.png"))) == 7


def test_filters_leave_out_what_they_name_and_count_it(services, tmp_path, toy_manifest, monkeypatch):
    measures, plan = services.datasets._measures, plan_of(services)
    for chosen in (options(drop_unrecognised=True), options(drop_copies_of=toy_manifest)):
        with pytest.raises(ReferenceSetError):
            services.datasets.run(plan, tmp_path / "none", chosen)
    with pytest.raises(ManifestError, match="nowhere"):
        services.datasets.run(plan, tmp_path / "none", options(drop_copies_of=tmp_path / "nowhere.csv"))
    assert not (tmp_path / "none").exists(), "refused before a folder is begun"
    measure = measures.measure

    def some_unrecognised(tiles):
        return [dataclasses.replace(m, is_recognised=tile.record.center == "Rome") for tile, m in
                zip(tiles, measure(tiles), strict=True)]  # fmt: skip

    monkeypatch.setattr(measures, "measure", some_unrecognised)
    monkeypatch.setattr(measures, "require_probes", lambda: None)
    monkeypatch.setattr(measures, "copy_threshold", lambda: 0.1)
    monkeypatch.setattr(measures, "copies", lambda tiles, *_: np.arange(len(tiles)) == 0)
    monkeypatch.setattr(dataset_generation, "training_rows", lambda _: pd.DataFrame({"path": ["region.png"]}))
    chosen = options(shard_size=7, drop_unrecognised=True, drop_copies_of=Path("train.csv"))
    answer = services.datasets.run(plan, tmp_path / "set", chosen)
    assert answer["dropped"] == {COPY: 2, UNRECOGNISED: 3}
    assert answer["tiles"] == len(read_manifest(answer["manifest"])) == 2
    assert json.loads((tmp_path / "set" / "summary.json").read_text())["dropped"] == answer["dropped"]


def test_progress_counts_to_the_end_and_knows_the_time_left(services, tmp_path):
    seen = []
    services.datasets.run(plan_of(services), tmp_path / "set", options(), seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert (seen[0].seconds_left, seen[-1].done, seen[-1].seconds_left) == (None, 7, 0)
    again = []
    services.datasets.run(plan_of(services), tmp_path / "set", options(), again.append)
    assert [(p.done, p.made) for p in again] == [(7, 0)]
    assert again[0].note == "3 of 3 shards were there"


@pytest.mark.parametrize("wrong", [{"form": "rar"}, {"form": ""}])
def test_an_unknown_format_is_named(wrong):
    with pytest.raises(PlanError, match="known: folder, zip, webdataset"):
        DatasetOptions(**wrong)


def test_a_file_of_somebody_else_in_a_folder_is_no_damage(services, tmp_path):
    services.datasets.run(plan_of(services), tmp_path / "set", options())
    (tmp_path / "set" / "shard-00000" / ".DS_Store").write_bytes(b"")
    seen = []
    services.datasets.run(plan_of(services), tmp_path / "set", options(), seen.append)
    assert [(p.done, p.made) for p in seen] == [(7, 0)]


def test_a_damaged_head_is_said_to_be_one(services, tmp_path):
    services.datasets.run(plan_of(services), tmp_path / "set", options())
    (tmp_path / "set" / "dataset.json").write_text("{")
    with pytest.raises(StorageError, match=r"dataset\.json is damaged"):
        services.datasets.run(plan_of(services), tmp_path / "set", options())


def test_distances_and_probes_come_from_the_reference_set_and_another_set_is_another_data_set(
    referenced, tmp_path, monkeypatch
):
    save_toy_classifier(referenced.settings.classifier_dir)
    answer = referenced.datasets.run(plan_of(referenced, (2, 1)), tmp_path / "set", options())
    distances = read_manifest(answer["manifest"])["train_distance"]
    assert distances.between(0, 2).all()
    measures = referenced.datasets._measures
    monkeypatch.setattr(type(measures), "reference_id", "toy@other")
    with pytest.raises(StorageError, match="with reference = 'efficientnet-lite0@"):
        referenced.datasets.run(plan_of(referenced, (2, 1)), tmp_path / "set", options())
