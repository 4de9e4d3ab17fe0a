"""Checkpoints survive the disk bit for bit, and a broken one is refused with the name of the file at fault."""

import errno
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from medi_core import checkpoints, storage
from medi_core.checkpoints import Checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from medi_core.data.reference_set import is_held_out, read_reference
from medi_core.errors import CheckpointError, StorageError
from medi_core.models.metadata_embedder import MetadataEmbedder
from medi_core.pipelines.medi_pipeline import MediPipeline
from medi_core.pipelines.schedulers import build_scheduler
from medi_core.settings import Settings

CPU = torch.device("cpu")
FACTS = {"step": 7, "attributes": ["cancer_type"]}


@pytest.fixture
def pipeline(tiny_pipeline) -> MediPipeline:
    """Weights that bfloat16 can hold, in the memory layout of training."""
    for parameter in (*tiny_pipeline.denoiser.parameters(), *tiny_pipeline.metadata_embedder.parameters()):
        parameter.data = parameter.data.bfloat16().float()
    tiny_pipeline.denoiser.to(memory_format=torch.channels_last)
    return tiny_pipeline


@pytest.fixture
def root(pipeline, tmp_path, monkeypatch) -> Path:
    """A folder with one checkpoint, `toy`, in several shards."""
    monkeypatch.setattr(checkpoints, "MAX_SHARD_SIZE", "60KB")
    save_checkpoint(pipeline, tmp_path / "checkpoints" / "toy", FACTS)
    return tmp_path / "checkpoints"


def load(root: Path, name: str = "toy") -> Checkpoint:
    return load_checkpoint(name, root, CPU, torch.float32)


def shards(root: Path) -> list[Path]:
    return sorted((root / "toy" / "denoiser").glob("*.safetensors"))


def edit_json(path: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# what is written comes back


def test_a_checkpoint_saved_again_is_the_same_and_does_not_say_where_it_lay(tmp_path, tiny_checkpoint):
    first = load_checkpoint(str(tiny_checkpoint), tmp_path, torch.device("cpu"), torch.float32)
    save_checkpoint(first.pipeline, tmp_path / "again", first.training_config)
    again = load_checkpoint(str(tmp_path / "again"), tmp_path, torch.device("cpu"), torch.float32)
    assert again.digest == first.digest
    assert not [file for file in (tmp_path / "again").rglob("*.json") if str(tmp_path) in file.read_text()]


def test_saving_and_loading_gives_identical_tiles(pipeline, root, toy_vocabulary):
    ids = torch.tensor([[0, 1, 0, 2, 4], [1, 2, 2, 5, 1]])
    arguments = {"num_inference_steps": 3, "height_px": 32, "width_px": 32}
    loaded = load(root)
    assert np.array_equal(loaded.pipeline(ids, [3, 4], **arguments), pipeline(ids, [3, 4], **arguments))
    assert loaded.vocabulary == toy_vocabulary
    assert loaded.vocabulary.attributes == toy_vocabulary.attributes
    assert loaded.training_config == FACTS


def test_shards_are_small_and_hold_bfloat16(root):
    assert len(shards(root)) > 1
    assert all(shard.stat().st_size < 70_000 for shard in shards(root))
    assert {tensor.dtype for shard in shards(root) for tensor in load_file(shard).values()} == {torch.bfloat16}
    assert not list(root.rglob("*.bin"))


def test_saving_leaves_the_pipeline_in_float32(pipeline, root):
    assert pipeline.denoiser.dtype == torch.float32


def test_the_id_tells_two_checkpoints_of_one_name_apart(pipeline, root):
    first = load(root).id
    assert first.startswith("toy@")
    with torch.no_grad():
        pipeline.denoiser.head[0].bias += 1
    save_checkpoint(pipeline, root / "toy", FACTS)
    assert load(root).id != first


def test_the_model_card_travels_with_the_checkpoint(pipeline, root):
    save_checkpoint(pipeline, root / "toy", FACTS, "# Model card of the toy, 1 µm")
    assert load(root).model_card == "# Model card of the toy, 1 µm"


def test_a_path_is_as_good_as_a_name(root):
    assert load(root / "elsewhere", str(root / "toy")).id == load(root).id


def test_loading_and_saving_print_nothing(pipeline, root, capfd, recwarn):
    load(root)
    save_checkpoint(pipeline, root / "again", FACTS)
    assert capfd.readouterr() == ("", "")
    assert [str(w.message) for w in recwarn if "torch_dtype" in str(w.message)] == []


# what is broken is refused


def test_an_unknown_name_lists_the_known_ones(pipeline, root):
    save_checkpoint(pipeline, root / "other", FACTS)
    shutil.copytree(root / "other", root / "unfinished.tmp")
    assert list_checkpoints(root) == ["other", "toy"]
    with pytest.raises(CheckpointError, match=r"'toi' was not found in .*; known: other, toy. Give one"):
        load(root, "toi")


@pytest.mark.parametrize("name", ["", ".", "..", "/", "no/such/folder", "toy/denoiser"])
def test_a_folder_that_is_no_checkpoint_is_not_found(root, name, monkeypatch):
    monkeypatch.setattr(checkpoints, "_download", lambda _: pytest.fail("asked the hub"))
    with pytest.raises(CheckpointError, match="was not found"):
        load(root, name)


def test_a_hub_that_cannot_be_reached_is_said_plainly(root, monkeypatch):
    def refuse(*args, **kwargs):
        raise FileNotFoundError("cannot reach the hub\nmore lines")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=r"'owner/name' could not be fetched from the hub: cannot reach the hub$"):
        load(root, "owner/name")


def test_a_checkpoint_of_the_hub_keeps_its_name(root, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(root / "toy"))
    assert load(root, "owner/name").name == "owner/name"


def truncate(root: Path) -> None:
    shards(root)[1].write_bytes(shards(root)[1].read_bytes()[:-100])


def delete(root: Path) -> None:
    shards(root)[1].unlink()


def fill_with_garbage(root: Path) -> None:
    shards(root)[1].write_bytes(os.urandom(5000))


def empty(root: Path) -> None:
    shards(root)[1].write_bytes(b"")


def add_pickle(root: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, root / "toy" / "denoiser" / "diffusion_pytorch_model.bin")


def replace_by_pickle(root: Path) -> None:
    for shard in shards(root):
        shard.rename(shard.with_suffix(".bin"))


def disguise_pickle(root: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, shards(root)[1])


def break_json(name: str, content: str = '{"a": ') -> Callable[[Path], object]:
    return lambda root: (root / "toy" / name).write_text(content)


def delete_json(name: str) -> Callable[[Path], object]:
    return lambda root: (root / "toy" / name).unlink()


def change_json(name: str, edit: Callable[[dict], object]) -> Callable[[Path], object]:
    return lambda root: edit_json(root / "toy" / name, edit)


def swap_in_a_tensor_of_another_shape(root: Path) -> None:
    tensors = load_file(shards(root)[1])
    name = sorted(tensors)[0]
    save_file(tensors | {name: torch.zeros(3, 3)}, shards(root)[1])


EMBEDDER = "metadata_embedder/config.json"
INDEX = "denoiser/diffusion_pytorch_model.safetensors.index.json"
SHARD = r"toy/denoiser/diffusion_pytorch_model-00002-of-0000\d\.safetensors"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, rf"{SHARD} is damaged or no safetensors file \(.*\); fetch the checkpoint again"),
        (delete, rf"{SHARD} is missing; fetch the checkpoint again"),
        (fill_with_garbage, rf"{SHARD} is damaged or no safetensors file"),
        (empty, rf"{SHARD} is damaged or no safetensors file"),
        (disguise_pickle, rf"{SHARD} is damaged or no safetensors file"),
        (add_pickle, r"pickled weights \(denoiser/diffusion_pytorch_model.bin\), which can run code"),
        (replace_by_pickle, r"pickled weights \(denoiser/.*-00001-.*bin, denoiser/.*-00002-"),
        (swap_in_a_tensor_of_another_shape, r"toy/denoiser/config.json and the weights .* is \[3, 3\], expected \["),
        (break_json("model_index.json"), "toy/model_index.json is damaged, no JSON"),
        (break_json("denoiser/config.json"), "toy/denoiser/config.json is damaged, no JSON"),
        (break_json("denoiser/config.json", "[1]"), "toy/denoiser/config.json is damaged: it holds a list"),
        (break_json(EMBEDDER), f"toy/{EMBEDDER} is damaged, no JSON"),
        (break_json("scheduler/scheduler_config.json"), "toy/scheduler/scheduler_config.json is damaged"),
        (break_json(INDEX), f"toy/{INDEX} is damaged, no JSON"),
        (break_json(INDEX, '{"weight_map": [1]}'), f"toy/{INDEX} is damaged: it maps no weights"),
        (delete_json("denoiser/config.json"), "toy/denoiser/config.json is missing"),
        (delete_json("scheduler/scheduler_config.json"), "toy/scheduler/scheduler_config.json is missing"),
        (delete_json(INDEX), "toy/denoiser/diffusion_pytorch_model.safetensors is missing"),
        (
            change_json("model_index.json", lambda c: c.update(denoiser=["os", "system"])),
            r"toy/model_index.json is no index of a MeDi checkpoint: denoiser is \['os', 'system'\], expected Denoiser",
        ),
        (
            change_json("model_index.json", lambda c: c.update(scheduler=["diffusers", "StableDiffusionPipeline"])),
            "scheduler is .*StableDiffusionPipeline.*, expected FlowMatchEulerDiscreteScheduler or ",
        ),
        (
            change_json("denoiser/config.json", lambda c: c.update(block_out_channels=[17, "x"])),
            r"toy/denoiser/config.json describes no denoiser \(",
        ),
        (
            change_json("denoiser/config.json", lambda c: c.update(head_channels=8)),
            "toy/denoiser/config.json and the weights beside it do not belong together: head.0",
        ),
        (
            change_json("denoiser/config.json", lambda c: c.update(layers_per_block=2)),
            "do not belong together: .* is not there, expected",
        ),
        (
            change_json(EMBEDDER, lambda c: c["vocabulary"]["values"]["center"].append("Oslo")),
            f"toy/{EMBEDDER}: the vocabulary has 4 values of center, the weights 3; they do not belong together",
        ),
        (
            change_json(EMBEDDER, lambda c: c["vocabulary"]["attributes"].remove("eosin")),
            f"toy/{EMBEDDER}: the vocabulary has 4 attributes, the weights 5",
        ),
        (
            change_json(
                EMBEDDER, lambda c: c["vocabulary"].update(attributes=["shoe_size"], values={"shoe_size": ["43"]})
            ),
            rf"toy/{EMBEDDER}: the vocabulary cannot be read \(UnknownValueError: attribute 'shoe_size' is unknown",
        ),
        (
            change_json(EMBEDDER, lambda c: c["vocabulary"].pop("bin_edges")),
            rf"toy/{EMBEDDER}: the vocabulary cannot be read \(KeyError: 'bin_edges'\)",
        ),
        (
            change_json(EMBEDDER, lambda c: c.pop("vocabulary")),
            rf"toy/{EMBEDDER}: the vocabulary cannot be read \(KeyError: 'vocabulary'\)",
        ),
        (
            change_json(EMBEDDER, lambda c: c["vocabulary"].update(attributes=[], values={})),
            f"toy/{EMBEDDER}: the vocabulary lists no values",
        ),
        (
            change_json(EMBEDDER, lambda c: c.update(embedding_dim=32)),
            f"toy/{EMBEDDER} and the weights beside it do not belong together: mlp.0",
        ),
    ],
)
def test_damage_is_refused_and_the_file_named(root, damage, message):
    damage(root)
    with pytest.raises(CheckpointError, match=message):
        load(root)


def test_components_of_two_checkpoints_are_refused(pipeline, root):
    """Each is whole in itself; together they do not fit."""
    other = MetadataEmbedder(pipeline.metadata_embedder.vocabulary.to_dict(), embedding_dim=32)
    shutil.rmtree(root / "toy" / "metadata_embedder")
    other.to(torch.bfloat16).save_pretrained(root / "toy" / "metadata_embedder")
    with pytest.raises(CheckpointError, match="embedding_dim is 32, the denoiser needs 64"):
        load(root)


def test_a_damaged_training_config_is_named_when_it_is_read(root):
    loaded = load(root)
    (root / "toy" / "training_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"toy/training_config.json is damaged"):
        _ = loaded.training_config


# what cannot be written leaves the old one alone


@contextmanager
def files_no_larger_than(num_bytes: int) -> Iterator[None]:
    """A disk that really refuses to write on."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_refuses_gives_a_message_and_keeps_the_old_checkpoint(pipeline, root):
    before = contents(root)
    with files_no_larger_than(8_000), pytest.raises(StorageError, match=r"could not write .*toy: .*File too large"):
        save_checkpoint(pipeline, root / "toy", FACTS | {"step": 8})
    assert contents(root) == before
    load(root)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_gives_a_message_and_keeps_the_old_checkpoint(pipeline, root, monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    before = contents(root)
    monkeypatch.setattr(type(pipeline.metadata_embedder), "save_pretrained", refuse)
    with pytest.raises(StorageError, match=r"could not write .*toy: .*No space left on device.*; free some space"):
        save_checkpoint(pipeline, root / "toy", FACTS)
    assert contents(root) == before


def test_the_old_checkpoint_comes_back_if_the_new_one_cannot_take_its_place(pipeline, root, monkeypatch):
    rename = os.replace

    def refuse_new(source, target):
        if Path(source).suffix == ".tmp":
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    before = contents(root)
    monkeypatch.setattr(storage.os, "replace", refuse_new)
    with pytest.raises(StorageError, match="Input/output error"):
        save_checkpoint(pipeline, root / "toy", FACTS | {"step": 8})
    assert contents(root) == before


def test_a_process_that_dies_between_the_renames_loses_nothing(pipeline, root):
    """What is left then: the new one under its temporary name, the old one set aside."""
    before = load(root).id
    shutil.copytree(root / "toy", root / "toy.tmp")
    (root / "toy").rename(root / "toy.old")
    assert list_checkpoints(root) == ["toy"]
    assert load(root).id == before
    save_checkpoint(pipeline, root / "toy", FACTS)
    assert sorted(path.name for path in root.iterdir()) == ["toy"]
    assert load(root).id == before


def test_the_id_follows_whatever_decides_a_tile(root, pipeline):
    first = load(root).id
    assert load(root).id == first
    pipeline.scheduler = build_scheduler("heun")
    save_checkpoint(pipeline, root / "toy", FACTS)
    assert load(root).id != first


def test_the_shipped_checkpoint_names_its_held_out_patients_and_they_are_those_of_the_reference_set():
    folder = Path(__file__).parent.parent / "checkpoints"
    shipped = load_checkpoint(Settings().checkpoint, folder, torch.device("cpu"), torch.float32)
    reference = read_reference(folder.parent / "assets" / "reference")
    assert shipped.id == reference.facts["checkpoint"]
    real = reference.real.tiles
    tested = set(real.loc[is_held_out(real), "patient_id"].dropna())
    trained = set(real.loc[~is_held_out(real), "patient_id"].dropna())
    assert tested
    assert tested <= shipped.held_out_patients
    assert trained.isdisjoint(shipped.held_out_patients)


@pytest.mark.parametrize("record", [["P1"], {"test": "P1"}, {"test": [1]}])
def test_held_out_patients_that_cannot_be_read_are_refused(root, record):
    loaded = load_checkpoint("toy", root, torch.device("cpu"), torch.float32)
    assert loaded.held_out_patients is None
    (root / "toy" / "training_config.json").write_text(json.dumps({"held_out_patients": record}))
    with pytest.raises(CheckpointError, match="held_out_patients must be split → list of patient ids"):
        _ = loaded.held_out_patients


def test_a_few_step_checkpoint_names_its_teacher_and_its_steps(root):
    assert load(root).distillation is None
    assert "distillation" not in load(root).facts()
    record = {"teacher": "toy@0123456789ab", "num_inference_steps": 3}
    (root / "toy" / "training_config.json").write_text(json.dumps({"distillation": record}))
    loaded = load(root)
    assert (loaded.distillation.teacher, loaded.distillation.num_inference_steps) == ("toy@0123456789ab", 3)
    assert loaded.facts()["distillation"] == record | {"guidance_scale": 1.0}
    (root / "toy" / "training_config.json").write_text(json.dumps({"distillation": record | {"guidance_scale": 1.5}}))
    assert load(root).distillation.guidance_scale == 1.5


@pytest.mark.parametrize(
    "record",
    [
        {"teacher": "toy@1", "num_inference_steps": 0},
        {"teacher": "toy@1", "num_inference_steps": 5},
        {"teacher": "toy@1", "num_inference_steps": 2.0},
        {"teacher": "toy@1", "num_inference_steps": True},
        {"teacher": "toy@1"},
        {"teacher": "", "num_inference_steps": 2},
        {"num_inference_steps": 2},
        {"teacher": "toy@1", "num_inference_steps": 2, "guidance_scale": -1},
        {"teacher": "toy@1", "num_inference_steps": 2, "guidance_scale": "1"},
        [2],
    ],
)
def test_a_record_of_distillation_that_cannot_be_is_refused_when_it_is_loaded(root, record):
    (root / "toy" / "training_config.json").write_text(json.dumps({"distillation": record}))
    with pytest.raises(CheckpointError, match=r"toy/training_config.json: distillation is .* from 1 to 4"):
        load(root)
