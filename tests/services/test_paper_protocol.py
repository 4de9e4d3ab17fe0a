"""The published protocols on a miniature TCGA-UT tree: who trains, who is tested, and what is missing is said."""

import argparse
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medi_core.commands.paper import add_paper_commands
from medi_core.data.reference_set import COLUMNS, ReferenceSet
from medi_core.errors import InvalidRequestError, ManifestError, ReferenceSetError
from medi_core.services.encoding import EncodingService
from medi_core.services.experiment_config import DUPLICATED, MEDI, REAL, ExperimentConfig
from medi_core.services.paper_protocol import (
    PAPER_TYPES,
    SLIDE_COLUMNS,
    encode_manifest,
    paper_manifest,
    pathorob_manifest,
    run_paper,
    run_pathorob,
    subgroup_accuracy,
)
from tests.toys import synthetic_tissue

SITES = {"Lung_adenocarcinoma": ("05", "44", "49"), "Lung_squamous_cell_carcinoma": ("18", "22", "33")}
"""Tissue source sites of each class; the last one is held out."""
QUICK = ExperimentConfig(PAPER_TYPES, num_seeds=2)


def slides() -> list[tuple[str, str, str, str]]:
    """(cancer type, site, slide, split): 4 patients a site."""
    return [
        (name, site, f"TCGA-{site}-{1000 + i}-01Z-00-DX1", "holdout" if site == sites[-1] else "train")
        for name, sites in SITES.items()
        for site in sites
        for i in range(4)
    ]


@pytest.fixture
def tree(tmp_path):
    """3 tiles a slide at 0.5 µm per px, and a slide of another scale and of another cancer type."""
    root = tmp_path / "tcga_ut"
    for number, (name, _, slide, _) in enumerate(slides()):
        folder = root / name / "0" / slide
        folder.mkdir(parents=True)
        for i in range(3):
            Image.fromarray(synthetic_tissue(128, 10 * number + i)).save(folder / f"0_{i}_521.png")
    other = root / "Thymoma" / "0" / "TCGA-3G-AB0O-01Z-00-DX1"
    other.mkdir(parents=True)
    Image.fromarray(synthetic_tissue(128, 999)).save(other / "0_0_521.png")
    people = itertools.cycle([("female", "white"), ("male", None)])
    records = [(slide, split, site, *next(people)) for _, site, slide, split in slides()]
    table = pd.DataFrame(records, columns=list(SLIDE_COLUMNS))
    table.to_csv(tmp_path / "slides.csv", index=False)
    return tmp_path


def bank_of(num: int = 9) -> ReferenceSet:
    """Synthetic tiles of every cell of the hold-out, one patient that the generator knew, their features."""
    centers = {"49": "Johns Hopkins", "33": "Johns Hopkins"}
    rows = [
        {"origin": "synthetic", "group": "seen", "cancer_type": name, "center": center, "id": f"{name}{center}{i}"}
        for name in PAPER_TYPES
        for center in sorted(set(centers.values()))
        for i in range(num)
    ]
    rows.append({"origin": "real", "group": "real", "split": "train", "patient_id": "TCGA-49-1000", "id": "known"})
    frame = pd.DataFrame(rows).reindex(columns=COLUMNS)
    features = EncodingService().features_of([synthetic_tissue(128, 5000 + i) for i in range(len(frame))])
    return ReferenceSet(frame, features, {"checkpoint": "toy@1", "encoder": "toy-encoder"})


def test_slides_of_the_table_train_and_are_tested_as_it_says(tree, cheap_encoder):
    manifest = paper_manifest(tree / "tcga_ut", tree / "slides.csv")
    assert manifest.groupby("part").size().to_dict() == {"holdout": 24, "train": 48}
    assert set(manifest["cancer_type"]) == set(PAPER_TYPES)
    encoded = encode_manifest(manifest, EncodingService(), None)
    result = run_paper(encoded, QUICK)
    assert result.training.set_index("arm").loc[[REAL, DUPLICATED], "real"].tolist() == [48, 48]
    assert (result.facts["num_tiles"], result.facts["num_patients"]) == (24, 8)
    assert any(line.startswith(f"{MEDI}: left out, in 2 of 2 folds the bank holds no tile") for line in result.limits())


def test_the_bank_of_the_reference_set_fills_the_cells_of_the_hold_out(tree, cheap_encoder):
    manifest = paper_manifest(tree / "tcga_ut", tree / "slides.csv")
    encoded = encode_manifest(manifest, EncodingService(), bank_of())
    result = run_paper(encoded, ExperimentConfig(PAPER_TYPES, arms=(REAL, DUPLICATED, MEDI), num_seeds=2))
    assert result.training.set_index("arm").loc[MEDI, "added"] > 0
    assert result.facts["num_in_generator"] == 1, "the patient of the reference set's training split"
    assert not result.is_clean


def test_the_papers_subgroups_are_site_gender_and_race_of_the_hold_out(tree, cheap_encoder):
    encoded = encode_manifest(paper_manifest(tree / "tcga_ut", tree / "slides.csv"), EncodingService(), None)
    result = run_paper(encoded, ExperimentConfig(PAPER_TYPES, arms=(REAL, DUPLICATED), num_seeds=2))
    table = subgroup_accuracy(result, encoded)
    assert set(table["subgroup"]) == {
        f"{site} · {who}" for site in ("49", "33") for who in ("female · white", "male · not recorded")
    }
    assert set(zip(table["n"], table["n_patients"], strict=True)) == {(6, 2)}, "2 of 4 patients a site, 3 tiles each"
    of_real = table[table["arm"] == REAL]
    assert of_real["value"].is_monotonic_increasing, "worst first"
    assert of_real["change"].isna().all()
    assert table.loc[table["arm"] == DUPLICATED, "change"].notna().all()
    overall = np.average(of_real["value"], weights=of_real["n"])
    assert overall == pytest.approx(result.hits[REAL].mean()), "the subgroups are all that is tested"
    assert table["measure"].str.startswith("recall of").all(), "each site has one cancer type"


def test_pathorobs_split_takes_its_classes_and_centers_from_the_table(tree, cheap_encoder):
    records = [
        ("OOD" if split == "holdout" else "ID", slide, f"0_{i}_521", name, site)
        for name, site, slide, split in slides()
        for i in range(3)
    ]
    columns = ["subset", "slide_id", "patch_id", "biological_class", "medical_center"]
    pd.DataFrame(records, columns=columns).to_csv(tree / "split.csv", index=False)
    manifest = pathorob_manifest(tree / "tcga_ut", tree / "split.csv")
    assert manifest.groupby("part").size().to_dict() == {"ID": 48, "OOD": 24}
    one_each = manifest.assign(
        center=manifest["slide"].map(lambda s: {"05": "A", "44": "B", "18": "A", "22": "B"}.get(s[5:7], "C"))
    )
    result = run_pathorob(
        encode_manifest(one_each, EncodingService(), None), ExperimentConfig(PAPER_TYPES, correlation=0.0)
    )
    assert result.config.training_centers == ("A", "B")
    centers = set(result.accuracy["subgroup"])
    assert {"A", "B", "C"} <= centers
    assert result.training["real"].iloc[0] == 12  # 6 a class: what its own center could give at correlation 1


def test_what_cannot_be_used_is_named(tree, cheap_encoder):
    root = tree / "tcga_ut"
    with pytest.raises(ManifestError, match=r"split\.csv does not exist"):
        pathorob_manifest(root, tree / "split.csv")
    pd.DataFrame({"slide_submitter_id": ["x"]}).to_csv(tree / "bad.csv", index=False)
    with pytest.raises(ManifestError, match=r"bad\.csv lacks the columns medi_split, tissue_source_site, gender, race"):
        paper_manifest(root, tree / "bad.csv")
    pd.DataFrame([["x", "train", "05", "male", "white"]], columns=list(SLIDE_COLUMNS)).to_csv(
        tree / "other.csv", index=False
    )
    with pytest.raises(ManifestError, match=r"is of a slide of other\.csv: check both paths"):
        paper_manifest(root, tree / "other.csv")


def test_the_command_runs_both_and_says_when_there_are_no_synthetic_tiles(tree, cheap_encoder, monkeypatch, capsys):
    def refuse():
        raise ReferenceSetError("there is no reference set")

    services = SimpleNamespace(encoding=EncodingService(), reference=SimpleNamespace(load=refuse))
    monkeypatch.setattr("medi_core.bootstrap.build_services", lambda _: services)
    parser = argparse.ArgumentParser()
    add_paper_commands(parser.add_subparsers())
    line = ["paper", "--tcga-ut", str(tree / "tcga_ut"), "--seeds", "1"]
    flags = parser.parse_args([*line, "--slides", str(tree / "slides.csv"), "--out", str(tree / "out")])
    answer = flags.run(flags)
    json.dumps(answer, allow_nan=False)
    assert "no synthetic tiles: there is no reference set" in capsys.readouterr().err
    assert flags.text(answer).startswith("# paper\n\n")
    assert (tree / "out" / "paper" / "accuracy.csv").is_file()
    assert len(pd.read_csv(tree / "out" / "paper" / "subgroups.csv")) == len(answer["paper"]["subgroups"]) > 0
    assert "33 · female · white" in flags.text(answer)
    flags = parser.parse_args(line)
    with pytest.raises(InvalidRequestError, match="give --slides CSV"):
        flags.run(flags)


def test_the_command_runs_pathorobs_split_alone(tree, cheap_encoder, monkeypatch):
    def refuse():
        raise ReferenceSetError("there is no reference set")

    services = SimpleNamespace(encoding=EncodingService(), reference=SimpleNamespace(load=refuse))
    monkeypatch.setattr("medi_core.bootstrap.build_services", lambda _: services)
    first = {sites[0] for sites in SITES.values()}
    records = [
        ("ID" if site in first else "OOD", slide, f"0_{i}_521") for _, site, slide, _ in slides() for i in range(3)
    ]
    pd.DataFrame(records, columns=["subset", "slide_id", "patch_id"]).to_csv(tree / "split.csv", index=False)
    parser = argparse.ArgumentParser()
    add_paper_commands(parser.add_subparsers())
    line = ["paper", "--tcga-ut", str(tree / "tcga_ut"), "--pathorob", str(tree / "split.csv"), "--seeds", "1"]
    flags = parser.parse_args(line)
    answer = flags.run(flags)
    assert set(answer) == {"pathorob"}
    assert answer["pathorob"]["facts"]["num_tiles"] > 0
    assert flags.text(answer).startswith("# pathorob\n\n")
