"""README and docs name what is there, and nothing else; the shipped files belong together."""

import json
import re
from pathlib import Path

import pytest
import torch

from medi_core.checkpoints import list_checkpoints, load_checkpoint
from medi_core.classifier_checkpoint import load_classifier
from medi_core.data.predictions import read_predictions
from medi_core.data.reference_set import read_reference, require_match
from medi_core.data.tile_files import read_provenance
from medi_core.models.encoder_catalogue import DEFAULT_ENCODER
from medi_core.services.release import STALE, Places, artefacts
from medi_core.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_tree_in_the_readme_names_every_module():
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("## The tree")[1].split("## Data")[0]
    modules = [p for p in (ROOT / "medi_core").rglob("*.py") if p.name != "__init__.py"]
    missing = [p.name for p in modules if f" {p.name} " not in tree]
    assert not missing
    assert len(modules) > 40


def test_the_shipped_checkpoint_its_card_and_its_welcome_tiles_belong_together():
    checkpoint = load_checkpoint(Settings().checkpoint, ROOT / "checkpoints", torch.device("cpu"), torch.float32)
    record = json.loads((checkpoint.folder / "training_config.json").read_text())
    assert f"{record['step']:,} steps, {record['tiles_seen']:,} tiles" in " ".join(checkpoint.model_card.split())
    welcome = [read_provenance(path.read_bytes()) for path in sorted((ROOT / "assets/welcome").glob("*.png"))]
    assert [tile["checkpoint"] for tile in welcome] == [checkpoint.id] * 8
    assert {"cancer_type", "center", "preparation", "hematoxylin", "eosin"} <= set(checkpoint.vocabulary.attributes)


def test_no_shipped_artefact_table_or_sentence_is_of_another_checkpoint():
    """What is stale is named: `release` makes it anew, but for sentences, which somebody writes (docs/release.md)."""
    checkpoint = load_checkpoint(Settings().checkpoint, ROOT / "checkpoints", torch.device("cpu"), torch.float32)
    found = artefacts(Places(ROOT / "assets", ROOT / "docs", checkpoint.folder), checkpoint.id)
    assert [(a.where, a.name, a.checkpoints) for a in found if a.status(checkpoint.id) == STALE] == []
    current = {a.name for a in found if a.status(checkpoint.id) == "current"}
    assert {"welcome", "reference", "docs/fidelity.md:targets", "docs/fidelity.md:regions"} <= current


def test_the_shipped_reference_set_is_of_the_shipped_checkpoint_and_the_default_encoder():
    checkpoint = load_checkpoint(Settings().checkpoint, ROOT / "checkpoints", torch.device("cpu"), torch.float32)
    reference = read_reference(ROOT / "assets/reference")
    require_match(reference, checkpoint.id, DEFAULT_ENCODER)
    requested = [json.loads(text) for text in reference.synthetic.tiles["requested"]]
    assert {provenance["checkpoint"] for provenance in requested} == {checkpoint.id}
    assert {"seen", "rare", "never seen", "class only", "attribute sweep"} == set(reference.synthetic.tiles["group"])
    controls = reference.tiles[reference.tiles["origin"] == "control"]
    assert {"blurred", "stain-shuffled", "stain-jittered"} == set(controls["group"])
    assert reference.synthetic.tiles["window_similarity"].notna().mean() > 0.9, "the audit for copies was made"
    assert all(reference.facts["asked"].values()), "what probes see of every request was measured"
    assert len(reference.real.tiles) > 9000
    assert {path.suffix for path in (ROOT / "assets/reference").iterdir()} == {".json", ".parquet"}, (
        "no image is shipped"
    )


def test_the_shipped_classifier_its_card_and_its_predictions_belong_together():
    classifier = load_classifier(ROOT / "checkpoints/tile-classifier")
    known = read_reference(ROOT / "assets/reference").real.tiles
    predictions = read_predictions(ROOT / "assets/predictions.parquet", known)
    assert predictions.model == classifier.id
    assert predictions.classes == classifier.classifier.config.classes
    assert list(predictions.tiles["true"]) == list(predictions.tiles["cancer_type"])
    test = predictions.tiles[predictions.tiles["split"] == "test"]
    measured = classifier.measured["test"]["overall"]["accuracy"]
    assert (test["true"] == test["predicted"]).mean() == pytest.approx(measured["value"])
    assert len(test) == measured["n"]
    card = (ROOT / "checkpoints/tile-classifier/README.md").read_text(encoding="utf-8")
    assert f"{measured['n']:,} tiles of {measured['n_patients']} patients" in card
    assert f"{measured['value']:.2f} [{measured['ci_low']:.2f}, {measured['ci_high']:.2f}]" in card
    trained = set(known[known["split"] == "train"]["patient_id"].dropna())
    assert not trained & set(classifier.training["held_out_patients"]["test"])
    assert "tile-classifier" not in list_checkpoints(ROOT / "checkpoints")


@pytest.mark.parametrize("folder", ["checkpoints", "assets"])
def test_no_shipped_file_needs_large_file_storage(folder):
    large = [p.name for p in (ROOT / folder).rglob("*") if p.is_file() and p.stat().st_size >= 10_000_000]
    assert large == []
