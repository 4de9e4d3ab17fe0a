"""A planted copy is flagged and named; real tiles of other patients tell what is usual."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medi_core.cli import main
from medi_core.data.reference_set import COLUMNS, ReferenceSet
from medi_core.data.tile_files import provenance_json
from medi_core.errors import InvalidRequestError, ManifestError, ReferenceSetError, TooFewTilesError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metrics.tile_windows import orient
from medi_core.services import copy_audit
from medi_core.services.attached_tiles import AttachedTiles
from medi_core.services.copy_audit import OVERALL, audit_files, baseline_rows, copy_report, windows_of_tiles
from medi_core.services.copy_pairs import CopyAuditService
from medi_core.services.generation_request import GenerationRequest
from tests.toys import synthetic_tissue

NUM_REGIONS, NUM_HELD_OUT = 6, 12


@pytest.fixture
def real_path(tmp_path):
    """Six training regions of six patients and twelve held-out tiles of four others."""
    rows = []
    for i in range(NUM_REGIONS + NUM_HELD_OUT):
        is_training = i < NUM_REGIONS
        name, patient = f"real-{i}.png", f"T{i}" if is_training else f"H{i % 4}"
        Image.fromarray(synthetic_tissue(192 if is_training else 128, i)).save(tmp_path / name)
        rows.append({"path": name, "patient_id": patient, "split": "train" if is_training else "test"})
    path = tmp_path / "real.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture
def synthetic_path(tmp_path):
    """Four tiles of their own; the third is a mirrored piece of training region 2."""
    images = [synthetic_tissue(128, 100 + i) for i in range(4)]
    images[2] = synthetic_tissue(192, 2)[40:168, 20:148][:, ::-1]
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"made-{i}.png")
    path = tmp_path / "made.csv"
    pd.DataFrame({"path": [f"made-{i}.png" for i in range(4)], "origin": "synthetic"}).to_csv(path, index=False)
    return path


def test_a_planted_copy_is_flagged_first_with_its_place(synthetic_path, real_path):
    report = audit_files(synthetic_path, real_path, percentile=10)
    worst = report.pairs.iloc[0]
    assert worst["path"].endswith("made-2.png")
    assert worst["window_image"] == "real-2.png"
    assert (worst["window_x"], worst["window_y"]) == (20, 40)
    assert worst["window_similarity"] > 0.98
    assert worst["flagged"]
    row = report.table.set_index("group").loc[OVERALL]
    assert (row["n"], row["flagged"]) == (4, report.pairs["flagged"].sum())
    assert row["ci_low"] < row["share"] < row["ci_high"]
    assert len(report.baseline) == NUM_HELD_OUT


def test_without_a_copy_about_the_percentile_is_flagged():
    rng = np.random.default_rng(0)
    n = 2000
    facts = {"origin": ["real"] * n + ["synthetic"] * n, "group": ["real"] * n + ["seen", "rare"] * (n // 2)}
    tiles = pd.DataFrame({**facts, "split": ["test"] * n + [None] * n, "window_similarity": rng.random(2 * n)})
    table = copy_report(tiles, percentile=5).table.set_index("group")
    assert table.loc[OVERALL, "share"] == pytest.approx(0.05, abs=0.015)
    assert table.loc[OVERALL, "ci_low"] < 0.05 < table.loc[OVERALL, "ci_high"]
    assert table.loc[OVERALL, "n"] == table.loc["seen", "n"] + table.loc["rare", "n"] == n


def test_a_tile_is_never_compared_with_its_own_patient(real_path, tmp_path):
    region = synthetic_tissue(192, 0)
    training = pd.DataFrame({"path": [str(tmp_path / f"real-{i}.png") for i in range(3)]})
    training["patient_id"] = ["T0", "T1", "T2"]
    tile = region[10:138, 10:138]
    own, foreign = (windows_of_tiles([tile], [patient], training) for patient in (None, "T0"))
    assert own["window_image"][0] == "real-0.png"
    assert own["window_similarity"][0] > 0.98 > foreign["window_similarity"][0]
    assert foreign["window_image"][0] != "real-0.png"


def test_a_tile_without_texture_is_counted_and_not_flagged(real_path, tmp_path, synthetic_path):
    Image.fromarray(np.full((128, 128, 3), 200, np.uint8)).save(tmp_path / "made-3.png")
    report = audit_files(synthetic_path, real_path, percentile=10)
    row = report.table.set_index("group").loc[OVERALL]
    assert (row["n"], row["n_unmeasurable"]) == (3, 1)


def test_what_cannot_be_audited_is_said(synthetic_path, real_path, tmp_path):
    with pytest.raises(TooFewTilesError, match="needs at least 100 real tiles with texture, given 12"):
        audit_files(synthetic_path, real_path)
    held_out = pd.read_csv(real_path).query("split == 'test'")
    held_out.to_csv(tmp_path / "held-out.csv", index=False)
    with pytest.raises(ManifestError, match=r"held-out.csv has no row of the training split"):
        audit_files(synthetic_path, tmp_path / "held-out.csv")
    with pytest.raises(InvalidRequestError, match="tiles of 2 sizes"):
        windows_of_tiles([np.zeros((8, 8, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)], [None] * 2, held_out)
    with pytest.raises(ReferenceSetError, match="not compared with the training regions"):
        copy_report(pd.DataFrame({"origin": ["synthetic"], "window_similarity": [np.nan], "group": ["seen"]}))


def test_the_baseline_takes_every_patient_before_a_second_tile_of_one(monkeypatch):
    monkeypatch.setattr(copy_audit, "MAX_BASELINE", 4)
    real = pd.DataFrame(
        {"origin": "real", "split": "test", "patient_id": list("aaaaabcd"), "slide": None, "dataset": "x"}
    )
    assert sorted(baseline_rows(real)["patient_id"]) == ["a", "b", "c", "d"]
    assert baseline_rows(real).index.tolist() == baseline_rows(real).index.tolist()


def test_the_command_prints_what_is_flagged_and_writes_every_pair(synthetic_path, real_path, tmp_path, capsys):
    out = tmp_path / "pairs.csv"
    flags = ["--synthetic", str(synthetic_path), "--manifest", str(real_path), "--percentile", "10"]
    assert main(["audit-copies", *flags, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "held-out real tiles begin" in text
    assert "real-2.png" in text
    assert len(pd.read_csv(out)) == 4
    assert main(["audit-copies", *flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"][0]["window_image"] == "real-2.png"
    assert main(["audit-copies", *flags[:4]]) == 2
    assert "needs at least 100 real tiles" in capsys.readouterr().err


def test_a_pair_is_the_tile_made_again_and_turned_beside_its_window_if_attached(tiny_services, tmp_path):
    (noise,) = tiny_services.generation.generate(GenerationRequest(MetadataRecord(), (3,)))
    tile = dataclasses.replace(noise, image=synthetic_tissue(128, 9))  # random weights make no texture to compare
    region = np.full((192, 192, 3), 255, np.uint8)
    region[9:137, 5:133] = orient(tile.image, 5)
    row = {"id": "t", "origin": "synthetic", "requested": provenance_json(tile.provenance()), "window_similarity": 0.99}
    tiles = pd.DataFrame([row | {"window_image": "real-0.png", "window_x": 5.0, "window_y": 9.0, "window_turn": 5.0}])
    reference = ReferenceSet(tiles.reindex(columns=COLUMNS), np.zeros((1, 2), np.float32), {})
    attached = AttachedTiles()
    service = CopyAuditService(
        SimpleNamespace(generate=lambda _: [tile]), SimpleNamespace(load=lambda: reference), attached
    )
    pair = service.pair("t")
    assert pair.window is None
    np.testing.assert_array_equal(pair.turned, orient(tile.image, 5))
    Image.fromarray(region).save(tmp_path / "real-0.png")
    pd.DataFrame({"path": ["real-0.png"]}).to_csv(tmp_path / "attach.csv", index=False)
    attached.attach(tmp_path / "attach.csv")
    np.testing.assert_array_equal(service.pair("t").window, region[9:137, 5:133])
    Image.fromarray(synthetic_tissue(192, 3)).save(tmp_path / "real-0.png")
    assert service.pair("t").window is None, "another image under the same name is not shown as evidence"
    with pytest.raises(InvalidRequestError, match="no audited synthetic tile 'u'"):
        service.pair("u")
