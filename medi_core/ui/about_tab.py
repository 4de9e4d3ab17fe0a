"""About: what this is, what it may be used for, the model card and where the data come from."""

import gradio as gr

from medi_core.checkpoints import Checkpoint
from medi_core.metadata.schema import ATTRIBUTE
from medi_core.metadata.vocabulary import count
from medi_core.ui.glossary import glossary_html
from medi_core.ui.shared import Shared

WHAT = """## What this is

MeDi Explorer makes synthetic H&E tiles of 128 × 128 px at 0.5 µm per px with a diffusion model that is told the
cancer type **and** the metadata: the hospital, the preparation, the stain. One can ask for combinations that are rare,
or that nobody has seen, and look at what changes when only the hospital changes.

The method is Metadata-Guided Diffusion: Drexlin et al., *MeDi* (MICCAI 2025),
[arXiv 2506.17140](https://arxiv.org/abs/2506.17140). The network, the
guidance by attribute and this app are an independent implementation.

**For research only. Not for diagnosis.** Every tile is synthetic; a downloaded tile says so in its PNG text, with
checkpoint, seed and metadata, so that it can be made again.

● seen · ◐ rare: fewer than 3 known patients · ○ never seen together in training
"""


def build_about_tab(shared: Shared) -> None:
    """Text only."""
    checkpoint, classification = shared.services.checkpoint, shared.services.classification
    gr.Markdown(WHAT)
    instant = shared.services.instant
    gr.Markdown(_running(checkpoint))
    gr.Markdown(_instant(instant and instant.checkpoint, shared.services.instant_off))
    with gr.Accordion("The words of this page", open=False):
        gr.HTML(glossary_html(), padding=False)
    with gr.Accordion("Model card of the generator, data and licences", open=True):
        gr.Markdown(_without_front_matter(checkpoint.model_card) or "This checkpoint has no model card.")
    if instant not in (None, shared.services.generation):
        with gr.Accordion("Model card of the few-step model of instant tiles", open=False):
            gr.Markdown(_without_front_matter(instant.checkpoint.model_card) or "It has no model card.")
    with gr.Accordion("Model card of the classifier", open=False):
        gr.Markdown(_without_front_matter(classification.model_card) or "There is no classifier with a model card.")


def _running(checkpoint: Checkpoint) -> str:
    pipeline = checkpoint.pipeline
    parameters = sum(p.numel() for p in pipeline.denoiser.parameters()) / 1e6
    vocabulary = checkpoint.vocabulary
    return (
        f"**Loaded:** `{checkpoint.id}`, {parameters:.1f} M parameters, {pipeline.device.type}, "
        f"{str(pipeline.denoiser.dtype).removeprefix('torch.')}; "
        + "conditioned on "
        + ", ".join(f"{ATTRIBUTE[name].label.lower()} ({len(values)})" for name, values in vocabulary.values.items())
        + _few_steps(checkpoint)
    )


def _instant(fast: Checkpoint | None, reason: str) -> str:
    """What makes instant tiles, or why nothing does."""
    return f"**Instant mode:** `{fast.id}`{_few_steps(fast)}" if fast else f"**Instant mode is off:** {reason}."


def _few_steps(checkpoint: Checkpoint) -> str:
    if (few := checkpoint.distillation) is None:
        return ""
    guided = f", guidance {few.guidance_scale:g}" if few.guidance_scale != 1 else ""
    return f"; a few-step model, {count(few.num_inference_steps, 'step')}{guided}, distilled from `{few.teacher}`"


def _without_front_matter(card: str) -> str:
    if not card.startswith("---"):
        return card
    return card.split("---", 2)[2]
