"""Re-render: a tile as if it came from another center, or with another stain."""

from collections.abc import Iterator
from html import escape

import gradio as gr

from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import describe
from medi_core.services.generation_request import GenerationRequest
from medi_core.services.rerender import BaseImage, prepare_base_image, read_base_image
from medi_core.ui.handlers import (
    gallery_image,
    png_of,
    preview_image,
    progress_html,
    reported,
    seeds_from,
    throttled,
    tile_name,
    write_download,
)
from medi_core.ui.metadata_controls import build_metadata_controls, support_badge
from medi_core.ui.runs import wire_run
from medi_core.ui.sampling_controls import build_sampling_controls
from medi_core.ui.shared import Shared
from medi_core.ui.tile_view import stain_table
from medi_core.ui.verdict_view import verdict_html

EXPLANATION = (
    "Noise is added to the tile up to the chosen strength, then removed under the new metadata. Low strength keeps "
    "every nucleus and changes little; high strength follows the metadata and redraws the tissue."
)
NO_BASE = "Upload a tile, or take one from the Generate tab."
UPLOAD_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
UPLOAD_NOTE = (
    '<p class="medi-note">PNG, JPEG or TIFF, at most 10 MB, about 0.5 µm per px. The central part is used: '
    "multiples of 32 px, at most 512. It stays on this server and is not kept.</p>"
)
NO_TARGET = "Choose what it should look like it came from: a center, a cancer type, a preparation or a stain."


def build_rerender_tab(shared: Shared) -> None:
    """Widgets, handlers, wiring of the re-render tab."""
    service, vocabulary = shared.services.generation, shared.services.generation.vocabulary
    classification = shared.services.classification

    # ---------------------------------------------------------------- widgets
    gr.HTML(f'<p class="medi-note">{EXPLANATION}</p>', padding=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            # a file, not an image component: browsers cannot show TIFF, and a damaged file gets our message
            upload = gr.File(
                label="Your tile",
                file_types=list(UPLOAD_SUFFIXES),
                type="filepath",
                height=170,
                elem_id="rerender-upload",
            )
            base_note = gr.HTML(UPLOAD_NOTE, padding=False, elem_id="rerender-base-note")
            base_view = gr.Image(
                label="Will be re-rendered",
                format="png",
                interactive=False,
                height=200,
                visible=False,
                buttons=["fullscreen"],
                elem_id="rerender-base",
                elem_classes="medi-large",
            )
            base_verdict = gr.HTML("", padding=False, elem_id="rerender-verdict")
            gr.HTML("<b>As from …</b>", padding=False)
            metadata = build_metadata_controls(vocabulary, MetadataRecord())
            badge = gr.HTML(support_badge(vocabulary, MetadataRecord()), padding=False)
            strength = gr.Slider(0.1, 1.0, value=0.5, step=0.05, label="Strength", buttons=[])
            with gr.Accordion("Advanced", open=False):
                seed = gr.Number(1, label="Seed", precision=0)
                steps, guidance = build_sampling_controls(*service.default_sampling)
            with gr.Row():
                run_button = gr.Button("Re-render", variant="primary", elem_id="rerender-button")
                cancel = gr.Button("Cancel", interactive=False)
        with gr.Column(scale=3, min_width=320):
            status = gr.HTML("", padding=False, elem_id="rerender-status")
            slider = gr.ImageSlider(
                label="Before | after",
                type="numpy",
                format="png",
                interactive=False,
                height=420,
                elem_id="rerender-result",
                elem_classes="medi-large",
            )
            stains = gr.HTML()
            after_verdict = gr.HTML("", padding=False, elem_id="rerender-after-verdict")
            download = gr.DownloadButton("Download re-rendered PNG", size="sm", visible=False)
    base_id = gr.State("")

    # --------------------------------------------------------------- handlers
    def base_of(path: str | None, tile_id: str) -> BaseImage:
        if path:
            return read_base_image(path)
        tile = service.find(tile_id) if tile_id else None
        if tile is None:
            raise gr.Error(NO_BASE, print_exception=False)
        return prepare_base_image(tile.image)

    @reported
    def on_rerender(path, tile_id, strength, seed, steps, guidance, *values) -> Iterator[tuple]:
        base = base_of(path, tile_id)
        record = metadata.record(values)
        if record == MetadataRecord():
            raise InvalidRequestError(NO_TARGET)
        request = GenerationRequest(
            record,
            seeds_from(seed, 1),
            int(steps),
            guidance,
            side_px=base.image.shape[:2],
            base_image=base.image,
            strength=strength,
        )
        for report in throttled(service.stream(request)):
            status = progress_html(report.done, report.total, "Denoising")
            yield status, (base.image, preview_image(report.previews[0])), gr.skip(), gr.skip(), gr.skip()
        tile = report.tiles[0]
        columns = {"Before": (base.hematoxylin, base.eosin), "After": (tile.hematoxylin, tile.eosin)}
        file = gr.update(visible=True, value=write_download("rerendered_" + tile_name(tile), png_of(tile)))
        done = f"As from: {escape(describe(vocabulary, tile.record))}, strength {strength:g}. Drag the handle."
        seen = verdict_html(classification, tile.image, record.cancer_type)
        yield done, (base.image, gallery_image(tile)), stain_table(vocabulary, columns), seen, file

    @reported
    def on_upload(path: str):
        base = read_base_image(path)
        return _shown(base, "your upload"), verdict_html(classification, base.image, None), "", UPLOAD_NOTE

    @reported
    def on_base(handed: tuple[str, float]):
        tile = service.find(handed[0])
        if tile is None:
            return [gr.skip()] * (5 + len(metadata.components))
        what = f"{describe(vocabulary, tile.record)}, seed {tile.seed}"
        note = f'<p class="medi-note">Taken from Generate: {escape(what)}. Now choose another center.</p>'
        kept = MetadataRecord(cancer_type=tile.record.cancer_type, preparation=tile.record.preparation)
        base = prepare_base_image(tile.image)
        seen = verdict_html(classification, base.image, tile.record.cancer_type)
        return tile.id, None, note, _shown(base, what), seen, *metadata.values(kept)

    # ----------------------------------------------------------------- wiring
    private = {"api_visibility": "private"}
    wire_run(
        run_button,
        cancel,
        status,
        on_rerender,
        [upload, base_id, strength, seed, steps, guidance, *metadata.components],
        [status, slider, stains, after_verdict, download],
        shown=slider,
    )
    for component in metadata.components:
        component.change(
            lambda *values: support_badge(vocabulary, metadata.record(values)),
            list(metadata.components),
            badge,
            show_progress="hidden",
            **private,
        )
    shared.base_tile.change(
        on_base,
        shared.base_tile,
        [base_id, upload, base_note, base_view, base_verdict, *metadata.components],
        **private,
    )
    upload.upload(on_upload, upload, [base_view, base_verdict, base_id, base_note], show_progress="hidden", **private)
    upload.clear(
        lambda: (gr.update(visible=False), ""), None, [base_view, base_verdict], show_progress="hidden", **private
    )


def _shown(base: BaseImage, what: str):
    """Update of the image that shows what enters the model: after cutting, at the size the model sees."""
    height, width = base.image.shape[:2]
    return gr.update(value=base.image, visible=True, label=f"Will be re-rendered: {width}×{height} px", alt_text=what)
