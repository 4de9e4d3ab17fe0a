"""Generate: choose cancer type, center and stain; see tiles; look at one closely."""

import secrets
from collections.abc import Iterator
from html import escape

import gradio as gr
from PIL import Image

from medi_core.data.tile_files import encode_zip
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import count, describe
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation_request import GenerationRequest
from medi_core.services.instant import blended, found_or_remade
from medi_core.ui.examples import examples_html
from medi_core.ui.glossary import term
from medi_core.ui.handlers import (
    gallery_image,
    preview_image,
    progress_html,
    reported,
    seeds_from,
    throttled,
    tile_file,
    write_download,
)
from medi_core.ui.instant_view import (
    GENERATE,
    InstantControls,
    build_blending,
    build_switch,
    wire_instant,
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
from medi_core.ui.shared import GPU_QUEUE, Shared
from medi_core.ui.tile_detail import LOOK, build_tile_detail
from medi_core.ui.trust_badge import trust_badge

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
    instant = shared.services.instant
    welcome = shared.services.welcome.cached()
    initial = shared.services.welcome.requests()[0].record  # the pair with most patients

    def welcome_item(tile: GeneratedTile) -> tuple[Image.Image, str]:
        return gallery_image(tile), f"{describe(vocabulary, tile.record)} · seed {tile.seed}"

    def badge_of(record: MetadataRecord) -> str:
        return support_badge(vocabulary, record) + trust_badge(shared.services.fidelity, record)

    def made_tile(tile_id: str, request: GenerationRequest | None) -> GeneratedTile:
        tile = found_or_remade(service, instant, tile_id, request)
        if tile is None:
            raise gr.Error(
                "This tile is no longer in memory: press Generate with the same seed.", print_exception=False
            )
        return tile

    # ---------------------------------------------------------------- widgets
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            switch = build_switch(instant is not None)
            blending, towards, share, towards_badge = build_blending(vocabulary, initial)
            gr.HTML(WORDS, padding=False)
            metadata = build_metadata_controls(vocabulary, initial)
            badge = gr.HTML(badge_of(initial), padding=False, elem_id="generate-badge")
            num_tiles = gr.Slider(1, MAX_TILES, value=8, step=1, label="Number of tiles", buttons=[])
            with gr.Row():
                generate = gr.Button(GENERATE, variant="primary", elem_id="generate-button", min_width=120)
                cancel = gr.Button("Cancel", interactive=False, min_width=120)
            with gr.Column():
                seed = gr.Number(1, label="Seed of the first tile", precision=0)
                with gr.Row(equal_height=True):
                    is_locked = gr.Checkbox(False, label="Keep this seed", min_width=120)
                    new_seed = gr.Button("New seed", size="sm", min_width=120)
            with gr.Accordion("Advanced", open=False):
                steps, guidance = build_sampling_controls(*service.default_sampling)
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
            if instant:
                controls |= {"instant": switch, "blend_towards": towards, "blend": share}
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
            said = gr.HTML("", padding=False, elem_id="instant-said")
            download_all = gr.DownloadButton("Download all (zip with manifest)", size="sm", visible=False)
            gr.HTML(examples_html(vocabulary, instant is not None), padding=False)
            tile_ids, made = gr.State([tile.id for tile in welcome]), gr.State(None)
            detail = build_tile_detail(shared, made_tile, made)
    follow = InstantControls(switch, blending, towards, share, towards_badge, said, made)

    # --------------------------------------------------------------- handlers
    def on_handed_over(handed: tuple[dict[str, str], float]):
        """A record from another tab; what it leaves open is left open here."""
        return metadata.values(MetadataRecord(**handed[0]))

    def on_start(is_locked: bool, is_instant: bool, seed: int | None):
        """The seed of this run stays in sight: a link, or "keep", means these tiles. None can be clicked yet."""
        keeps = is_locked or is_instant
        return seed if keeps else secrets.randbelow(SEEDS_OFFERED), None, "", None, "", gr.update(visible=False)

    @reported
    def on_generate(is_instant, towards, share, known, *values) -> Iterator[tuple]:
        request = _request(metadata.record(values[: len(metadata.components)]), *values[len(metadata.components) :])
        if is_instant:
            request = blended(request, towards, share)
        yield progress_html(0, 1, "Starting"), gr.skip(), gr.skip(), gr.update(visible=False), gr.skip()
        for report in throttled(service.stream(request)):
            status = progress_html(report.done, report.total, "Denoising")
            yield status, [preview_image(p) for p in report.previews], gr.skip(), gr.skip(), gr.skip()
        items = [(gallery_image(tile), f"seed {tile.seed}") for tile in report.tiles]
        zipped = write_download("medi-tiles.zip", encode_zip([tile_file(t) for t in report.tiles], {}))
        done = (
            f"{count(len(items), 'tile')}: {escape(describe(vocabulary, request.record))}. Click one to look closely."
        )
        ids = [tile.id for tile in report.tiles]
        yield done, items, ids, gr.update(visible=True, value=zipped), _on_map(known, ids)

    @reported
    def on_select(ids: list[str] | None, request: GenerationRequest | None, known: list[str], event: gr.SelectData):
        if ids is None:
            raise gr.Error("These tiles are unfinished: wait, or press Generate.", print_exception=False)
        tile = made_tile(ids[event.index], request)
        # who drags makes hundreds of instant tiles: those looked at are put on the map, the others are not
        return *detail.show(tile), gr.skip() if request is None else _on_map(known, [tile.id])

    @reported
    def on_first_visit(known: list[str]):
        tiles = shared.services.welcome.make()
        ids = [tile.id for tile in tiles]
        return WELCOME_NOTE, [welcome_item(tile) for tile in tiles], ids, _on_map(known, ids)

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
    shared.generate_record.change(
        on_handed_over, shared.generate_record, list(metadata.components), show_progress="hidden", **private
    )
    new_seed.click(lambda: secrets.randbelow(SEEDS_OFFERED), None, seed, **private)
    stop = wire_run(
        generate,
        cancel,
        status,
        on_generate,
        [switch, towards, share, shared.map_tiles, *metadata.components, *sampling],
        [status, gallery, tile_ids, download_all, shared.map_tiles],
        shown=gallery,
        prepare=(
            on_start,
            [is_locked, switch, seed],
            [seed, tile_ids, said, made, detail.selected_id, detail.outputs[0]],
        ),
    )
    shown = [badge, status, gallery, tile_ids, download_all]
    wire_instant(shared, follow, metadata, (num_tiles, seed), generate, stop, shown, detail, badge_of)
    gallery.select(
        on_select,
        [tile_ids, made, shared.map_tiles],
        [*detail.outputs, shared.map_tiles],
        scroll_to_output=True,
        **LOOK,
    )
    gr.on(None, on_restore, None, list(controls.values()), **private)
    if not welcome:  # a checkpoint without stored welcome tiles, e.g. the user's own
        first = [status, gallery, tile_ids, shared.map_tiles]
        gr.on(None, on_first_visit, shared.map_tiles, first, concurrency_id=GPU_QUEUE, **private)


def _on_map(known: list[str], ids: list[str]) -> list[str]:
    """The tiles of this session for the map, the newest ones last."""
    return [*(each for each in known if each not in ids), *ids][-MAX_MAP_TILES:]


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
