"""Both trainings share what they should; the report finds, keeps and draws what was measured."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import equal_time, equal_time_report
from benchmarks.equal_time_report import plot_of
from medi_core.metrics.kernel import SubsetDistances
from medi_core.training.train_diffusion import DiffusionTrainingConfig


def parsed(monkeypatch, *flags: str):
    monkeypatch.setattr(sys, "argv", ["equal_time", "--manifest", "m.csv", "--work", "w", *flags])
    return equal_time._parse()


def test_both_configurations_share_batch_warm_up_and_seed_alone(monkeypatch):
    flags = ("--global-batch", "8", "--warmup-steps", "7", "--seed", "3")
    paper, ours = (equal_time.training_config(parsed(monkeypatch, "--train", k, *flags)) for k in ("paper", "ours"))
    for name in ("global_batch", "warmup_steps", "seed", "sampling", "attributes", "side_px"):
        assert getattr(paper, name) == getattr(ours, name)
    assert paper.learning_rate == 1e-4
    assert ours.learning_rate == DiffusionTrainingConfig().learning_rate
    assert ours.block_out_channels == DiffusionTrainingConfig().block_out_channels


def test_class_only_is_ours_in_all_but_the_attributes(monkeypatch):
    flags = ("--global-batch", "8", "--widths", "96,192", "--seed", "3")
    ours, alone = (
        equal_time.training_config(parsed(monkeypatch, "--train", k, *flags)) for k in ("ours", "class-only")
    )
    assert alone == replace(ours, attributes=("cancer_type",))
    assert len(ours.attributes) > 1


def test_ours_can_be_chosen_by_flags(monkeypatch):
    flags = ("--train", "ours", "--widths", "96,192", "--patch-px", "8", "--head-channels", "8")
    config = equal_time.training_config(parsed(monkeypatch, *flags))
    assert (config.block_out_channels, config.patch_px, config.head_channels) == ((96, 192), 8, 8)


def test_a_phase_must_be_chosen(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        parsed(monkeypatch)
    assert "--train --report" in capsys.readouterr().err


def test_a_distance_is_measured_once_and_again_only_when_asked_differently(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(equal_time_report, "load_paper_model", lambda *_: None)
    monkeypatch.setattr(equal_time_report, "PaperPipeline", lambda *_: None)
    monkeypatch.setattr(
        equal_time_report.fidelity, "generated_features", lambda *_: (calls.append(1), (np.zeros(1), 1.0))[1]
    )
    monkeypatch.setattr(
        equal_time_report.fidelity, "distance_to", lambda *_: SubsetDistances(np.array([len(calls), 2.0]))
    )
    real = type("Real", (), {"describe": lambda self: "val, 3 tiles"})()
    folder = tmp_path / "minutes-0005.00"
    folder.mkdir()
    flags = ("--report", "--tiles", "128")
    first = equal_time_report._distance(parsed(monkeypatch, *flags), "paper", folder, real, None)
    again = equal_time_report._distance(parsed(monkeypatch, *flags), "paper", folder, real, None)
    assert list(first.values) == list(again.values) == [1.0, 2.0]
    other = equal_time_report._distance(parsed(monkeypatch, *flags, "--paper-steps", "50"), "paper", folder, real, None)
    assert list(other.values) == [2.0, 2.0]
    assert json.loads((tmp_path / "minutes-0005.00.kid.json").read_text())["how"]["steps"] == 50


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_accelerator")
def test_both_are_trained_compared_and_drawn(monkeypatch, toy_manifest, tmp_path, capsys):
    work, plot = tmp_path / "work", tmp_path / "plot.svg"
    flags = ["--manifest", str(toy_manifest), "--work", str(work)]
    training = [*flags, "--at", "0.001", "--global-batch", "1", "--precision", "no"]
    report = [*flags, "--report", "--tiles", "2", "--subset-size", "2", "--paper-steps", "1", "--steps", "1"]
    for more in (
        [*training, "--train", "paper"],
        [*training, "--train", "ours", "--widths", "96", "--patch-px", "8", "--head-channels", "4"],
        [*report, "--dtype", "float32", "--plot", str(plot)],
    ):
        monkeypatch.setattr(sys, "argv", ["equal_time", *more])
        equal_time.main()
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0].split(",")[0] for row in table[-2:]] == ["| paper's", "| ours"]
    assert all("±" in row[7] and int(row[4]) > 0 for row in table[-2:])
    assert plot.read_text().startswith("<svg")


def test_the_plot_has_both_configurations_by_time_and_by_tiles():
    kid = SubsetDistances(np.array([100.0, 110.0]))
    points = [({"minutes": m, "tiles_seen": 50 * m}, kid) for m in (5, 10)]
    svg = ElementTree.fromstring(plot_of({"paper": points, "ours": points}, 15.0))
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("ours") == texts.count("paper's") == 2
    assert {"minutes of processor time", "training tiles seen"} <= set(texts)
