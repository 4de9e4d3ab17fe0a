"""The model card of a checkpoint, written from what the checkpoint itself records. Knows no files."""

from collections.abc import Mapping
from typing import Any

from medi_core.metadata.schema import ATTRIBUTE, display_name
from medi_core.metadata.vocabulary import Support, Vocabulary

FRONT_MATTER = """---
license: cc-by-nc-sa-4.0
library_name: diffusers
pipeline_tag: unconditional-image-generation
tags: [histopathology, diffusion, synthetic-data]
---
"""

USE = """## Intended use

Research on subpopulation shift in computational pathology: looking at counterfactuals (the same noise, another
hospital), studying what a classifier takes from a center, augmenting training sets under study. Every tile is
synthetic.

**Must not be used** for diagnosis, for any decision about a patient, as evidence of what a disease looks like, to pass
synthetic tissue off as real, or commercially.

## Limits

- A tile shows 64 µm of tissue. Glands, architecture and anything larger cannot be judged on it.
- The network is small and was trained for hours, not weeks: chromatin and fine membranes are softer than in real tiles.
- Where a center stands on fewer than three patients (*rare* below), center and patient are the same thing.
- In these data a center is nearly always one data set, so its scanner, compression and case mix come with its stain.
- A pair marked *never seen* is an extrapolation: a hypothesis to test, not a fact about that hospital.
- Whether tiles copy training tiles must be audited: `python -m medi_core audit-copies`; for the shipped checkpoint see
  docs/fidelity.md.
"""

MEASURED = """## Measured

Distance to real tiles beside its real-real floor, speed and cost, each with its command: docs/benchmarks.md.

<!-- release:measured -->
Goals of this checkpoint are not measured yet: `python -m medi_core release` does.
<!-- /release:measured -->
"""


def model_card(name: str, vocabulary: Vocabulary, training: Mapping[str, Any], num_parameters: int) -> str:
    """Markdown with front matter.

    Args:
        name: of the checkpoint.
        vocabulary: with support.
        training: `training_config.json`: configuration, `step`, `minutes` and `data` (data set → counts, licence).
        num_parameters: of the denoiser.
    """
    parts = [
        FRONT_MATTER,
        f"# {name}\n",
        "Metadata-guided diffusion of H&E tiles, 128 × 128 px at 0.5 µm per px, after MeDi (Drexlin et al. 2025, "
        f"arXiv 2506.17140). {num_parameters / 1e6:.1f} M parameters, pixel space, bfloat16 safetensors; "
        f"conditioned on {', '.join(ATTRIBUTE[a].label.lower() for a in vocabulary.attributes)}.\n",
        "```python\nfrom medi_core.pipelines.medi_pipeline import MediPipeline\n"
        f'pipeline = MediPipeline.from_pretrained("checkpoints/{name}")\n```\n',
        USE,
        _training(training),
        _adaptation(training.get("adaptation")),
        _distillation(training.get("distillation")),
        MEASURED,
        _data(training.get("data", {})),
        _support(vocabulary),
        "## Licence\n\nCC BY-NC-SA 4.0, as follows from the training data. The code is Apache-2.0.\n",
    ]
    return "\n".join(part for part in parts if part)


def _training(training: Mapping[str, Any]) -> str:
    if "tiles_seen" not in training:  # adapted from a checkpoint that does not say how it was trained
        return ""
    tiles, before = training["tiles_seen"], training.get("initial_checkpoint")
    origin = f"Trained on from the weights of {before}, whose steps, tiles and hours are counted in. " if before else ""
    return (
        "## Training\n\n"
        f"{training['step']:,} steps, {tiles:,} tiles in all, {training['minutes'] / 60:.1f} hours of wall-clock time "
        f"on {training['hardware']}. {origin}AdamW, EMA {training['ema_decay']}, seed {training['seed']}; the whole "
        "configuration is in `training_config.json`. Weights are the EMA of the training split's run; validation and "
        "test patients were never trained on.\n"
    )


def _adaptation(adaptation: Mapping[str, Any] | None) -> str:
    if not adaptation:
        return ""
    new = "; ".join(f"{ATTRIBUTE[n].label.lower()}: {', '.join(v)}" for n, v in adaptation["new_values"].items())
    validation, data = adaptation["validation"], adaptation["data"].values()
    whom = "the patients learned from" if validation["divided_by"] == "image" else f"{validation['patients']} others"
    return (
        "## Adaptation\n\n"
        f"Adapted from {adaptation['from']}, whose training and data are described here. New values: {new}. Only their "
        f"embedding rows were learned, from {sum(d['tiles'] for d in data):,} tiles of "
        f"{sum(d['patients'] for d in data) or 'not recorded'} patients, in {adaptation['step']:,} steps of "
        f"{adaptation['configuration']['global_batch']} tiles; every other weight is that of the checkpoint before. "
        f"Validation loss, on tiles of {whom}: {validation['loss_before']:.4f} with the value unknown, "
        f"{validation['loss']:.4f} with its row. Distances and probes of the checkpoint before say nothing of the new "
        "values.\n"
    )


def _distillation(distillation: Mapping[str, Any] | None) -> str:
    if not distillation:
        return ""
    num, scale = distillation["num_inference_steps"], distillation.get("guidance_scale", 1)
    how = ""
    if "configuration" in distillation:  # of `distill`; others may record the teacher and the steps alone
        how = (
            "The weights began as those of the teacher and were trained against a discriminator on the same training "
            f"regions: {distillation['tiles_seen']:,} tiles drawn in {distillation['step']:,} steps, "
            f"{distillation['minutes'] / 60:.1f} hours (docs/training.md). "
        )
    return (
        "## Distillation\n\n"
        f"A few-step model, distilled from {distillation['teacher']}, whose training and data are described here: made "
        f"for {num} denoising step{'s' * (num != 1)} and a guidance scale of {scale:g}, not for more. {how}What was "
        "measured of the teacher says nothing of this model.\n"
    )


def _data(data: Mapping[str, Mapping[str, Any]]) -> str:
    if not data:
        return ""
    rows = "\n".join(
        f"| {name} | {d['regions']:,} | {d['tiles']:,} | {d['patients'] or 'not recorded'} | {d['licence']} |"
        for name, d in data.items()
    )
    return (
        "## Training data\n\nNo image is part of this checkpoint. Sources and terms: docs/data.md of the project.\n\n"
        f"| data set | regions | grid tiles | patients | licence |\n| --- | --- | --- | --- | --- |\n{rows}\n"
    )


def _support(vocabulary: Vocabulary) -> str:
    lines = ["## Support\n\nGrid tiles and patients of the training split.\n"]
    for name in ("cancer_type", "center", "preparation"):
        if by_value := vocabulary.support.get(name):
            lines.append(_table(ATTRIBUTE[name].label, {display_name(v): s for v, s in by_value.items()}))
    if vocabulary.pair_support:
        pairs = {display_name(key): s for key, s in vocabulary.pair_support.items()}
        lines.append(_table("Cancer type @ center; every other pair was never seen", pairs))
    return "\n".join(lines)


def _table(title: str, support: Mapping[str, Support]) -> str:
    rows = "\n".join(
        f"| {value} | {s.num_tiles:,} | {s.num_patients or 'not recorded'} | {s.status} |"
        for value, s in support.items()
    )
    return f"| {title} | tiles | patients | |\n| --- | --- | --- | --- |\n{rows}\n"
