"""A new center is learned by its own row; everything that the checkpoint could do before, it does to the bit."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from medi_core.checkpoints import load_checkpoint
from medi_core.cli import main
from medi_core.data.manifest import read_manifest
from medi_core.errors import CheckpointError, InvalidRequestError, ManifestError, StorageError, UnknownValueError
from medi_core.training import validation
from medi_core.training.adapt import AdaptationConfig, choose_tiles
from medi_core.training.adaptation_run import run_adaptation
from tests.toys import synthetic_tissue

CONFIG = AdaptationConfig(num_steps=12, global_batch=2, evaluate_every=4, learning_rate=0.1)


@pytest.fixture(autouse=True)
def _few_validation_tiles(monkeypatch):
    monkeypatch.setattr(validation, "NUM_TILES", 8)


@pytest.fixture
def new_center(tmp_path):
    """A manifest of 8 dark regions of 4 patients at Turin, which the toy checkpoint does not know, and one at Lyon."""
    rows = []
    for i in range(9):
        Image.fromarray(synthetic_tissue(130, i) // 2).save(tmp_path / f"{i}.png")
        rows.append(
            {
                "path": f"{i}.png",
                "cancer_type": "Lung_adenocarcinoma",
                "center": "Turin" if i < 8 else "Lyon",
                "preparation": "FFPE",
                "patient_id": f"T{i // 2}",
                "split": "val" if i in (6, 7) else "train",
                "dataset": "Turin cohort",
                "licence": "CC0-1.0",
            }
        )
    pd.DataFrame(rows).to_csv(tmp_path / "turin.csv", index=False)
    return tmp_path / "turin.csv"


@pytest.fixture
def adapted(new_center, tiny_checkpoint, tmp_path):
    """The record of an adaptation, the checkpoint it left, and the one it came from."""
    record = run_adaptation(new_center, "tiny", tiny_checkpoint.parent, tmp_path / "out" / "turin", CONFIG, None, "no")
    device = torch.device("cpu")
    after = load_checkpoint(str(tmp_path / "out" / "turin"), tmp_path, device, torch.float32)
    return record, after, load_checkpoint("tiny", tiny_checkpoint.parent, device, torch.float32)


def test_only_the_new_row_has_moved(adapted):
    _, after, before = adapted
    old = before.pipeline.denoiser.state_dict()
    assert all(torch.equal(old[name], tensor) for name, tensor in after.pipeline.denoiser.state_dict().items())
    old, new = before.pipeline.metadata_embedder, after.pipeline.metadata_embedder
    assert all(torch.equal(a, b) for a, b in zip(old.mlp.parameters(), new.mlp.parameters(), strict=True))
    for name, a, b in zip(before.vocabulary.attributes, old.tables, new.tables, strict=True):
        if name == "center":
            assert torch.equal(a.weight[:-1], b.weight[:3])
            assert torch.equal(a.weight[-1], b.weight[-1])
            assert not torch.equal(b.weight[3], a.weight[-1]), "the new row is still the null row"
        else:
            assert torch.equal(a.weight, b.weight)


def test_old_requests_give_the_same_pixels(adapted):
    _, after, before = adapted
    pixels = [
        checkpoint.pipeline(torch.tensor([ids, null]), [1, 2], num_inference_steps=2)
        for checkpoint, ids, null in (
            (before, [1, 2, 0, 5, 5], [2, 3, 2, 5, 5]),
            (after, [1, 2, 0, 5, 5], [2, 4, 2, 5, 5]),
        )
    ]
    assert np.array_equal(*pixels)


def test_the_row_lowers_the_loss_and_record_and_card_say_so(adapted):
    record, after, before = adapted
    validation = record["validation"]
    assert validation["loss"] < validation["loss_before"]
    assert record["from"] == before.id
    assert record["new_values"] == {"center": ["Turin"]}
    assert (record["data"]["Turin cohort"]["tiles"], record["data"]["Turin cohort"]["patients"]) == (6, 3)
    assert (validation["divided_by"], validation["patients"]) == ("split", 1)
    assert after.training_config["adaptation"] == json.loads(json.dumps(record))
    assert "New values: center: Turin" in after.model_card
    assert f"{validation['loss_before']:.4f} with the value unknown" in after.model_card
    assert after.vocabulary.support["center"]["Turin"].describe() == "seen (6 tiles, 3 patients)"


def test_patients_learned_from_are_no_longer_declared_held_out(new_center, tiny_checkpoint, tmp_path):
    path = tiny_checkpoint / "training_config.json"
    known = json.loads(path.read_text()) | {"held_out_patients": {"val": ["T0", "X"], "test": ["Y"]}}
    path.write_text(json.dumps(known))
    run_adaptation(new_center, "tiny", tiny_checkpoint.parent, tmp_path / "out", CONFIG, None, "no")
    after = load_checkpoint(str(tmp_path / "out"), tmp_path, torch.device("cpu"), torch.float32)
    assert after.held_out_patients == {"X", "Y"}


def test_it_ends_when_the_validation_loss_no_longer_falls_and_keeps_the_best(new_center, tiny_checkpoint, tmp_path):
    reports = []
    wild = dataclasses.replace(CONFIG, num_steps=400, evaluate_every=1, patience=2, learning_rate=2.0)
    record = run_adaptation(
        new_center, "tiny", tiny_checkpoint.parent, tmp_path / "out", wild, None, "no", on_report=reports.append
    )
    best = [report for report in reports if report.is_best][-1]
    assert reports[-1].step < 400
    assert best.step == reports[-1].step - 2, "it ends after 2 evaluations without a gain"
    assert (record["step"], record["validation"]["loss"]) == (best.step, best.validation_loss)
    assert min(report.validation_loss for report in reports) > best.validation_loss * 0.998


def test_without_validation_rows_whole_patients_are_set_aside_and_one_patient_is_divided_by_image(
    new_center, toy_vocabulary
):
    rows = read_manifest(new_center)
    rows["split"] = None
    tiles = choose_tiles(rows, toy_vocabulary, CONFIG)
    assert tiles.divided_by == "patient"
    assert not set(tiles.train["patient_id"]) & set(tiles.validation["patient_id"])
    assert len(tiles.train) + len(tiles.validation) == 8, "the tile of Lyon teaches a new row nothing"
    tiles = choose_tiles(rows[rows["patient_id"] == "T1"], toy_vocabulary, CONFIG)
    assert (tiles.divided_by, len(tiles.train), len(tiles.validation)) == ("image", 1, 1)
    with pytest.raises(ManifestError, match=r"of one image, .*0\.png: give two images or more"):
        choose_tiles(rows[:1], toy_vocabulary, CONFIG)


@pytest.mark.parametrize("seed", range(8))
def test_every_new_center_keeps_a_patient_to_learn_from(new_center, toy_vocabulary, seed):
    rows = read_manifest(new_center)
    rows["split"] = None
    rows["center"] = ["Turin"] * 6 + ["Bern", "Bern", "Graz"]
    tiles = choose_tiles(rows, toy_vocabulary, dataclasses.replace(CONFIG, seed=seed))
    assert set(tiles.train["center"]) == {"Turin", "Bern", "Graz"}
    assert set(tiles.validation["center"]) == {"Turin"}, "the others have one patient each"


def test_a_center_with_validation_rows_alone_is_refused(new_center, toy_vocabulary):
    rows = read_manifest(new_center)
    rows.loc[rows["split"] == "val", "center"] = "Bern"
    with pytest.raises(ManifestError, match="center Bern has rows to validate on and none to learn from"):
        choose_tiles(rows, toy_vocabulary, CONFIG)


def test_what_cannot_be_adapted_is_refused_and_nothing_is_written(new_center, toy_manifest, tiny_checkpoint, tmp_path):
    root, out = tiny_checkpoint.parent, tmp_path / "out"
    with pytest.raises(UnknownValueError, match="no training tile has a new center"):
        run_adaptation(toy_manifest, "tiny", root, out, CONFIG)
    for folder in (root, tmp_path):  # neither all checkpoints nor the data are replaced by one
        with pytest.raises(StorageError, match="holds something else than a checkpoint"):
            run_adaptation(new_center, "tiny", root, folder, CONFIG, None, "no")
    assert tiny_checkpoint.exists()
    with pytest.raises(InvalidRequestError, match="is the checkpoint to adapt"):
        run_adaptation(new_center, "tiny", root, tiny_checkpoint, CONFIG)
    hopeless = dataclasses.replace(CONFIG, learning_rate=1e-9, num_steps=4)
    with pytest.raises(CheckpointError, match=r"nothing was written: 4 steps did not lower the validation loss"):
        run_adaptation(new_center, "tiny", root, out, hopeless, None, "no")
    assert not out.exists()
    with pytest.raises(InvalidRequestError, match="patience must be above 0, given 0"):
        dataclasses.replace(CONFIG, patience=0)


def test_the_command(new_center, tiny_checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MEDI_CHECKPOINTS_DIR", str(tiny_checkpoint.parent))
    flags = ["--num-steps", "20", "--global-batch", "2", "--learning-rate", "0.1", "--precision", "no"]
    arguments = ["adapt", "--checkpoint", "tiny", "--manifest", str(new_center), "--out", str(tmp_path / "new"), *flags]
    assert main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["new_values"] == {"center": ["Turin"]}
    assert answer["checkpoint"] == str(tmp_path / "new")
    assert main([*arguments, "--attributes", "eosin"]) == 2
    assert "eosin cannot get new values" in capsys.readouterr().err
    weights = load_file(tmp_path / "new" / "metadata_embedder" / "diffusion_pytorch_model.safetensors")
    assert len(weights["tables.1.weight"]) == 5
