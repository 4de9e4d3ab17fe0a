"""Generate: choose cancer type, center and stain; see tiles; look at one closely."""

import secrets
import time
from collections.abc import Iterator
from html import escape

import gradio as gr
from PIL import Image

from medi_core.data.tile_files import encode_zip
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import count, describe
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation import GenerationRequest
from medi_core.ui.examples import examples_html
from medi_core.ui.glossary import term
from medi_core.ui.handlers import (
    gallery_image,
    png_of,
    preview_image,
    progress_html,
    reported,
    seeds_from,
    throttled,
    tile_file,
    tile_name,
    write_download,
)
from medi_core.ui.links import build_link_button, restore
from medi_core.ui.metadata_controls import build_metadata_controls, support_badge
from medi_core.ui.runs import wire_run
from medi_core.ui.sampling_controls import (
    build_guidance_slider,
    build_interval_controls,
    build_sampling_controls,
    build_size_controls,
    window_of,
)
from medi_core.ui.shared import GPU_QUEUE, LOOK_QUEUE, LOOKS_AT_ONCE, Shared
from medi_core.ui.tile_view import tile_details
from medi_core.ui.trust_badge import trust_badge
from medi_core.ui.verdict_view import PLAIN, VIEWS, caveat_html, tile_image, verdict_html

MAX_TILES = 16
MAX_MAP_TILES = 200
SEEDS_OFFERED = 1_000_000
WELCOME_NOTE = (
    "Made by this model, none of them real. Click a tile to look closely, or choose what to ask for and press Generate."
)
WORDS = (
    f'<p class="medi-note">What do the words mean? {term("tile", "Tile")} · {term("center")} · {term("TSS")} · '
    f"{term('preparation')} · {term('stain')} · {term('support')} · {term('trust')} · {term('seed')} · "
    f"{term('guidance')} · {term('denoising steps')}</p>"
)
MAKING_NOTE = "The first tiles of this checkpoint are being made …"


def build_generate_tab(shared: Shared) -> None:
    """Widgets, handlers, wiring of the first tab."""
    service, vocabulary = shared.services.generation, shared.services.generation.vocabulary
    classification = shared.services.classification
    welcome = shared.services.welcome.cached()
    initial = shared.services.welcome.requests()[0].record  # the pair with most patients

    def welcome_item(tile: GeneratedTile) -> tuple[Image.Image, str]:
        return gallery_image(tile), f"{describe(vocabulary, tile.record)} · seed {tile.seed}"

    def badge_of(record: MetadataRecord) -> str:
        return support_badge(vocabulary, record) + trust_badge(shared.services.fidelity, record)

    # ---------------------------------------------------------------- widgets
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            gr.HTML(WORDS, padding=False)
            metadata = build_metadata_controls(vocabulary, initial)
            badge = gr.HTML(badge_of(initial), padding=False, elem_id="generate-badge")
            num_tiles = gr.Slider(1, MAX_TILES, value=8, step=1, label="Number of tiles", buttons=[])
            with gr.Row():
                generate = gr.Button("Generate", variant="primary", elem_id="generate-button", min_width=120)
                cancel = gr.Button("Cancel", interactive=False, min_width=120)
            with gr.Column():
                seed = gr.Number(1, label="Seed of the first tile", precision=0)
                with gr.Row(equal_height=True):
                    is_locked = gr.Checkbox(False, label="Keep this seed", min_width=120)
                    new_seed = gr.Button("New seed", size="sm", min_width=120)
            with gr.Accordion("Advanced", open=False):
                steps, guidance = build_sampling_controls()
                center_guidance = build_guidance_slider(
                    "Extra guidance towards the center", 1, visible="center" in vocabulary.attributes
                )
                guide_low, guide_high = build_interval_controls()
                size = build_size_controls(service.side_multiple_px)
            controls = dict(zip(vocabulary.attributes, metadata.components, strict=True)) | {
                "num_tiles": num_tiles,
                "seed": seed,
                "is_locked": is_locked,
                "steps": steps,
                "guidance": guidance,
                "center_guidance": center_guidance,
                "guide_low": guide_low,
                "guide_high": guide_high,
                "side": size.side,
                "window": size.window,
            }
            build_link_button("generate", controls)
        with gr.Column(scale=3, min_width=320, elem_classes="medi-results"):
            status = gr.HTML(WELCOME_NOTE if welcome else MAKING_NOTE, padding=False, elem_id="generate-status")
            gallery = gr.Gallery(
                [welcome_item(tile) for tile in welcome],
                label="Synthetic tiles",
                show_label=False,
                format="png",
                columns=4,
                object_fit="contain",
                height="auto",
                allow_preview=False,
                interactive=False,
                buttons=[],
                elem_id="generate-gallery",
            )
            download_all = gr.DownloadButton("Download all (zip with manifest)", size="sm", visible=False)
            gr.HTML(examples_html(vocabulary), padding=False)
            with gr.Column(visible=False) as detail:
                with gr.Row(equal_height=False):
                    with gr.Column(min_width=260):
                        large = gr.Image(
                            label="Tile",
                            show_label=False,
                            format="png",
                            interactive=False,
                            height=384,
                            buttons=["download", "fullscreen"],
                            elem_id="generate-large",
                            elem_classes="medi-large",
                        )
                        view = gr.Radio(list(VIEWS), value=PLAIN, label="Show", elem_id="generate-view")
                        caveat = gr.HTML(caveat_html(), padding=False, visible=False, elem_id="generate-caveat")
                    with gr.Column(min_width=300):
                        facts = gr.HTML(padding=False, elem_id="generate-facts")
                        verdict = gr.HTML(padding=False, elem_id="generate-verdict")
                with gr.Row():
                    download = gr.DownloadButton("Download PNG", size="sm")
                    to_rerender = gr.Button("Re-render from another center", size="sm")
                    to_compare = gr.Button("Compare with other centers", size="sm")
    tile_ids, selected_id = gr.State([tile.id for tile in welcome]), gr.State("")

    # --------------------------------------------------------------- handlers
    def made_tile(tile_id: str) -> GeneratedTile:
        tile = service.find(tile_id)
        if tile is None:
            raise gr.Error(
                "This tile is no longer in memory: press Generate with the same seed.", print_exception=False
            )
        return tile

    def on_metadata(*values):
        return badge_of(metadata.record(values))

    def on_handed_over(handed: tuple[dict[str, str], float]):
        """A record from another tab; what it leaves open is left open here."""
        return metadata.values(MetadataRecord(**handed[0]))

    def on_start(is_locked: bool, seed: int | None):
        """The seed of this run stays in sight: a link, or "keep", means these tiles. None can be clicked yet."""
        return seed if is_locked else secrets.randbelow(SEEDS_OFFERED), None

    @reported
    def on_generate(*values) -> Iterator[tuple]:
        request = _request(metadata.record(values[: len(metadata.components)]), *values[len(metadata.components) :])
        yield progress_html(0, 1, "Starting"), gr.skip(), gr.skip(), gr.update(visible=False), gr.update(visible=False)
        for report in throttled(service.stream(request)):
            status = progress_html(report.done, report.total, "Denoising")
            yield status, [preview_image(p) for p in report.previews], gr.skip(), gr.skip(), gr.skip()
        items = [(gallery_image(tile), f"seed {tile.seed}") for tile in report.tiles]
        zipped = write_download("medi-tiles.zip", encode_zip([tile_file(t) for t in report.tiles], {}))
        done = (
            f"{count(len(items), 'tile')}: {escape(describe(vocabulary, request.record))}. Click one to look closely."
        )
        yield done, items, [t.id for t in report.tiles], gr.update(visible=True, value=zipped), gr.skip()

    @reported
    def on_select(ids: list[str] | None, event: gr.SelectData):
        if ids is None:
            raise gr.Error("These tiles are unfinished: wait, or press Generate.", print_exception=False)
        tile = made_tile(ids[event.index])
        file = write_download(tile_name(tile), png_of(tile))
        image = gr.update(value=gallery_image(tile), alt_text=describe(vocabulary, tile.record))
        seen = verdict_html(classification, tile.image, tile.record.cancer_type)
        plain = (PLAIN, gr.update(visible=False))
        return gr.update(visible=True), image, tile_details(vocabulary, tile), seen, file, tile.id, *plain

    @reported
    def on_view(tile_id: str, view: str):
        tile = made_tile(tile_id)
        text = f"{describe(vocabulary, tile.record)}: {view}"
        image = gr.update(value=tile_image(classification, tile, view), alt_text=text)
        return image, gr.update(visible=view != PLAIN)

    @reported
    def on_first_visit():
        tiles = shared.services.welcome.make()
        return WELCOME_NOTE, [welcome_item(tile) for tile in tiles], [tile.id for tile in tiles]

    def on_restore(request: gr.Request):
        query = dict(request.query_params)
        if query.get("tab", "generate") != "generate":
            return [gr.skip()] * len(controls)
        if "seed" in query:
            query["is_locked"] = "true"  # a link means its tiles
        return restore(query, controls)

    # ----------------------------------------------------------------- wiring
    private = {"api_visibility": "private"}
    sampling = [num_tiles, seed, steps, guidance, center_guidance, guide_low, guide_high, size.side, size.window]
    for component in metadata.components:
        component.change(on_metadata, list(metadata.components), badge, show_progress="hidden", **private)
    shared.generate_record.change(
        on_handed_over, shared.generate_record, list(metadata.components), show_progress="hidden", **private
    )
    new_seed.click(lambda: secrets.randbelow(SEEDS_OFFERED), None, seed, **private)
    wire_run(
        generate,
        cancel,
        status,
        on_generate,
        [*metadata.components, *sampling],
        [status, gallery, tile_ids, download_all, detail],
        shown=gallery,
        prepare=(on_start, [is_locked, seed], [seed, tile_ids]),
    )
    look = {"concurrency_id": LOOK_QUEUE, "concurrency_limit": LOOKS_AT_ONCE}
    gallery.select(
        on_select,
        tile_ids,
        [detail, large, facts, verdict, download, selected_id, view, caveat],
        **look,
        scroll_to_output=True,
        **private,
    )
    view.input(on_view, [selected_id, view], [large, caveat], **look, **private)
    for button, state, tab in (
        (to_rerender, shared.base_tile, "rerender"),
        (to_compare, shared.compare_tile, "compare"),
    ):
        # the time makes the same tile, handed over again, a change
        button.click(lambda tile_id: (tile_id, time.time()), selected_id, state, **private).then(
            lambda tab=tab: gr.Tabs(selected=tab), None, shared.tabs, **private
        )
    tile_ids.change(
        lambda made, known: [*known, *(made or [])][-MAX_MAP_TILES:],
        [tile_ids, shared.map_tiles],
        shared.map_tiles,
        show_progress="hidden",
        **private,
    )
    gr.on(None, on_restore, None, list(controls.values()), **private)
    if not welcome:  # a checkpoint without stored welcome tiles, e.g. the user's own
        gr.on(None, on_first_visit, None, [status, gallery, tile_ids], concurrency_id=GPU_QUEUE, **private)


def _request(
    record: MetadataRecord, num_tiles, seed, steps, guidance, center_guidance, guide_low, guide_high, side, window
) -> GenerationRequest:
    return GenerationRequest(
        record,
        seeds=seeds_from(seed, num_tiles),
        num_inference_steps=int(steps),
        guidance_scale=guidance,
        attribute_guidance=(("center", center_guidance),) if center_guidance != 1 else (),
        side_px=(side, side),
        window_px=window_of(side, window),
        guidance_interval=(guide_low, guide_high),
    )
