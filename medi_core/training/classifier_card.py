"""The model card of a tile classifier, written from its record and its measures. Knows no files."""

from collections.abc import Mapping
from typing import Any

from medi_core.metadata.schema import display_name
from medi_core.models.tile_classifier import ClassifierConfig

FRONT_MATTER = """---
license: cc-by-nc-sa-4.0
library_name: timm
pipeline_tag: image-classification
tags: [histopathology]
---
"""

USE = """## Intended use

Research on subpopulation shift in computational pathology: a second opinion on synthetic tiles, and a classifier whose
errors by hospital can be audited.

**Must not be used** for diagnosis, for any decision about a patient, or commercially.

## Limits

- A verdict says what the classifier sees in 64 µm of tissue. It knows the classes below and no others; a tile of
  another organ gets one of them all the same.
- In these data a cancer type often comes from few hospitals, so the classifier may read the hospital, not the disease.
- A class without held-out tiles is shown, and its accuracy is not known. Where there are few patients an interval is
  too narrow.
- Calibrated on the validation patients, which have few of the classes: for the others the temperature is a guess.
- Its tiles of training are also those of the generator: that it recognises a synthetic tile is no proof that a
  pathologist would.
"""


def classifier_card(
    name: str, config: ClassifierConfig, training: Mapping[str, Any], measured: Mapping[str, Any], num_parameters: int
) -> str:
    """Markdown with front matter.

    Args:
        name: of the checkpoint.
        training: `training.json`.
        measured: `measured.json`: split → what `measure_classifier` gives.
    """
    parts = [
        FRONT_MATTER,
        f"# {name}\n",
        f"Cancer type of an H&E tile, {config.side_px} × {config.side_px} px at {config.mpp:g} µm per px: "
        f"{config.backbone}, its stages averaged, one linear layer over {len(config.classes)} classes. "
        f"{num_parameters / 1e6:.1f} M "
        f"parameters, {_stored(config)}. Probabilities are calibrated by the temperature {config.temperature:.2f}.\n",
        "```python\nfrom pathlib import Path\n\nfrom medi_core.classifier_checkpoint import load_classifier\n\n"
        f'classifier = load_classifier(Path("checkpoints/{name}")).classifier\n'
        "probabilities = classifier.probabilities(tiles)  # uint8 (N, H, W, 3) → (N, classes)\n```\n",
        USE,
        _training(training),
        _data(training),
        *(_measured(split, facts) for split, facts in measured.items()),
        _recalls(measured),
        "## Licence\n\nCC BY-NC-SA 4.0, as follows from the training data. The code is Apache-2.0.\n",
    ]
    return "\n".join(part for part in parts if part)


def interval_text(facts: Mapping[str, Any]) -> str:
    """`0.83 [0.71, 0.92]`, `0.83 (no interval: fewer than 2 patients)`, or `not known`."""
    if facts["value"] is None:
        return "not known"
    if facts["ci_low"] is None:
        return f"{facts['value']:.2f} (no interval: {facts['interval'].removeprefix('none: ')})"
    return f"{facts['value']:.2f} [{facts['ci_low']:.2f}, {facts['ci_high']:.2f}]"


def _stored(config: ClassifierConfig) -> str:
    if config.is_backbone_trained:
        return "float16 safetensors (norms and biases float32)"
    return "of which this folder holds the head (safetensors): the backbone has its ImageNet weights, from its package"


def _training(training: Mapping[str, Any]) -> str:
    history = "\n".join(
        f"| {row['step']:,} | {_number(row['training_loss'])} | {row['nll']:.3f} | {row['balanced_accuracy']:.3f} |"
        for row in training["history"]
    )
    return (
        f"## Training\n\n`{training['command']}`, seed {training['seed']}.\n\n"
        "The backbone starts with its ImageNet weights and the head as a logistic regression on its features, classes "
        f"and centers balanced. {_fine_tuning(training)} Test patients decided nothing.\n\n"
        "| step | training loss | validation loss, calibrated | validation balanced accuracy |\n"
        f"| --- | --- | --- | --- |\n{history}\n"
    )


def _fine_tuning(training: Mapping[str, Any]) -> str:
    if not training["num_steps"]:
        return "This linear start (step 0) is all of it: the backbone was not fine-tuned."
    return (
        f"Then all but the first {training['frozen_stages']} stages are fine-tuned on balanced draws, turned, mirrored "
        "and stained anew. Kept are the weights with the lowest calibrated loss on the validation patients: those of "
        f"step {training['step']:,} ({training['tiles_seen']:,} tiles drawn); step 0 is the linear start."
    )


def _data(training: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f"| {name} | {d['regions']:,} | {d['tiles']:,} | {d['patients'] or 'not recorded'} | {d['licence']} |"
        for name, d in training["data"].items()
    )
    held_out = {split: len(patients) for split, patients in training["held_out_patients"].items()}
    return (
        "## Data\n\nNo image is part of this checkpoint. Sources and terms: docs/data.md of the project.\n\n"
        f"| training data | regions | tiles | patients | licence |\n| --- | --- | --- | --- | --- |\n{rows}\n\n"
        f"Held out, and named in `training.json`: {held_out['val']} validation and {held_out['test']} test patients "
        "(a tile without a patient counts for its slide or data set).\n"
    )


def _measured(split: str, facts: Mapping[str, Any]) -> str:
    overall = facts["overall"]
    titles = {
        "accuracy": "Accuracy",
        "balanced_accuracy": "Balanced accuracy (mean recall of the classes that occur)",
        "f1": "F1, mean over classes",
        "ece_uncalibrated": "ECE before calibration (15 bins)",
        "ece": "ECE after calibration (15 bins)",
    }
    rows = [f"| {title} | {interval_text(overall[name])} |" for name, title in titles.items()]
    if auc := facts["tumor_auc"]:
        rows.append(
            f"| AUC of tumor against benign, by one minus the benign classes ({auc['n']:,} tiles of "
            f"{auc['n_patients']:,} patients) | {interval_text(auc)} |"
        )
    how, n = facts["resampling"], overall["accuracy"]
    note = {
        "val": "The weights and the temperature were chosen on these patients: their numbers are too good.",
        "test": "These patients were used for nothing else.",
    }[split]
    title = {"val": "Validation", "test": "Test"}[split]
    return (
        f"## {title} patients\n\n{n['n']:,} tiles of {n['n_patients']:,} patients. "
        f"{note} {how['level']:.0%} intervals: {how['num']:,} resamples of the patients, seed {how['seed']}.\n\n"
        "| measure | value |\n| --- | --- |\n" + "\n".join(rows) + "\n"
    )


def _recalls(measured: Mapping[str, Any]) -> str:
    if "test" not in measured:
        return ""
    rows = "\n".join(
        f"| {display_name(label)} | {facts['n']:,} | {facts['n_patients']:,} | {interval_text(facts)} |"
        for label, facts in measured["test"]["recall"].items()
    )
    head = "| class | tiles | patients | recall |\n| --- | --- | --- | --- |"
    return f"## Recall by class, test patients\n\n{head}\n{rows}\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
