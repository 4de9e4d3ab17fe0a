"""Generate: choose cancer type, center and stain; see tiles; look at one closely."""

import io
import secrets
from collections.abc import Iterator

import gradio as gr
from PIL import Image

from medi_core.data.tile_files import encode_zip
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.services.generation import MAX_SEED, GeneratedTile, GenerationRequest
from medi_core.ui.handlers import (
    gallery_image,
    png_of,
    preview_image,
    progress_html,
    reported,
    throttled,
    tile_file,
    tile_name,
    write_download,
)
from medi_core.ui.links import build_link_button, restore
from medi_core.ui.metadata_controls import build_metadata_controls, describe, support_badge
from medi_core.ui.shared import GPU_QUEUE, Shared
from medi_core.ui.tile_view import tile_details

MAX_TILES = 16
SEEDS_OFFERED = 1_000_000
SIDES = (128, 192, 256, 384, 512)
WELCOME_NOTE = "Made by this checkpoint; click a tile for its metadata, or choose your own and press Generate."
MAKING_NOTE = "The first tiles of this checkpoint are being made …"


def build_generate_tab(shared: Shared) -> None:
    """Widgets, handlers, wiring of the first tab."""
    service, vocabulary = shared.services.generation, shared.services.generation.vocabulary
    welcome = shared.services.welcome.cached()
    initial = shared.services.welcome.requests()[0].record  # the pair with most patients

    # ---------------------------------------------------------------- widgets
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            metadata = build_metadata_controls(vocabulary, initial)
            badge = gr.HTML(support_badge(vocabulary, initial), padding=False)
            num_tiles = gr.Slider(1, MAX_TILES, value=8, step=1, label="Number of tiles", buttons=[])
            with gr.Row():
                generate = gr.Button("Generate", variant="primary", elem_id="generate-button", min_width=120)
                cancel = gr.Button("Cancel", interactive=False, min_width=120)
            with gr.Group():
                seed = gr.Number(1, label="Seed of the first tile", precision=0, minimum=0, maximum=MAX_SEED)
                with gr.Row():
                    is_locked = gr.Checkbox(False, label="Keep this seed", min_width=120)
                    new_seed = gr.Button("New seed", size="sm", min_width=120)
            with gr.Accordion("Advanced", open=False):
                steps = gr.Slider(4, 50, value=20, step=1, label="Denoising steps", buttons=[])
                guidance = gr.Slider(
                    1,
                    4,
                    value=1.5,
                    step=0.1,
                    label="Guidance",
                    info="1 = as in the training tiles; more pushes harder towards the chosen metadata",
                    buttons=[],
                )
                center_guidance = gr.Slider(
                    1,
                    4,
                    value=1,
                    step=0.1,
                    label="Extra guidance towards the center",
                    buttons=[],
                    visible="center" in vocabulary.attributes,
                )
                side = gr.Dropdown([(f"{s} × {s} px", s) for s in SIDES], value=SIDES[0], label="Size (0.5 µm per px)")
            controls = dict(zip(vocabulary.attributes, metadata.components, strict=True)) | {
                "num_tiles": num_tiles,
                "seed": seed,
                "is_locked": is_locked,
                "steps": steps,
                "guidance": guidance,
                "center_guidance": center_guidance,
                "side": side,
            }
            build_link_button("generate", controls)
        with gr.Column(scale=3, min_width=320, elem_classes="medi-results"):
            status = gr.HTML(WELCOME_NOTE if welcome else MAKING_NOTE, padding=False, elem_id="generate-status")
            gallery = gr.Gallery(
                [_welcome_item(vocabulary, *item) for item in welcome],
                label="Synthetic tiles",
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
            with gr.Group(visible=False) as detail:
                with gr.Row(equal_height=False):
                    large = gr.Image(
                        label="Tile",
                        format="png",
                        interactive=False,
                        min_width=260,
                        height=384,
                        buttons=["download", "fullscreen"],
                        elem_id="generate-large",
                        elem_classes="medi-large",
                    )
                    facts = gr.HTML()
                with gr.Row():
                    download = gr.DownloadButton("Download PNG", size="sm")
                    to_rerender = gr.Button("Re-render from another center", size="sm")
                    to_compare = gr.Button("Compare with other centers", size="sm")
    tile_ids, selected_id = gr.State([]), gr.State("")

    # --------------------------------------------------------------- handlers
    def on_metadata(*values):
        return support_badge(vocabulary, metadata.record(values))

    def on_seed(is_locked: bool, seed: int):
        return seed if is_locked else secrets.randbelow(SEEDS_OFFERED)

    @reported
    def on_generate(*values) -> Iterator[tuple]:
        request = _request(metadata.record(values[: len(metadata.components)]), *values[len(metadata.components) :])
        yield progress_html(0, 1, "Starting"), gr.skip(), gr.skip(), gr.update(visible=False), gr.update(visible=False)
        for report in throttled(service.stream(request)):
            status = progress_html(report.done, report.total, "Denoising")
            yield status, [preview_image(p) for p in report.previews], gr.skip(), gr.skip(), gr.skip()
        items = [(gallery_image(tile), f"seed {tile.seed}") for tile in report.tiles]
        zipped = write_download("medi-tiles.zip", encode_zip([tile_file(t) for t in report.tiles], {}))
        done = f"{len(items)} tiles: {describe(vocabulary, request.record)}. Click one to look closely."
        yield done, items, [t.id for t in report.tiles], gr.update(visible=True, value=zipped), gr.skip()

    @reported
    def on_select(ids: list[str], event: gr.SelectData):
        tile = service.find(ids[event.index]) if ids else _remake(service, welcome, event.index)
        if tile is None:
            raise gr.Error(
                "This tile is no longer in memory: press Generate with the same seed.", print_exception=False
            )
        file = write_download(tile_name(tile), png_of(tile))
        image = gr.update(value=gallery_image(tile), alt_text=describe(vocabulary, tile.record))
        return gr.update(visible=True), image, tile_details(vocabulary, tile), file, tile.id

    @reported
    def on_first_visit():
        tiles = shared.services.welcome.make()
        items = [(gallery_image(tile), f"{describe(vocabulary, tile.record)} · seed {tile.seed}") for tile in tiles]
        return WELCOME_NOTE, items, [tile.id for tile in tiles]

    def on_restore(request: gr.Request):
        query = dict(request.query_params)
        return restore(query if query.get("tab", "generate") == "generate" else {}, controls)

    # ----------------------------------------------------------------- wiring
    private = {"api_visibility": "private"}
    sampling = [num_tiles, seed, steps, guidance, center_guidance, side]
    for component in metadata.components:
        component.change(on_metadata, list(metadata.components), badge, show_progress="hidden", **private)
    new_seed.click(lambda: secrets.randbelow(SEEDS_OFFERED), None, seed, **private)
    started = generate.click(lambda: gr.update(interactive=True), None, cancel, queue=False, **private)
    run = started.then(
        on_generate,
        [*metadata.components, *sampling],
        [status, gallery, tile_ids, download_all, detail],
        concurrency_id=GPU_QUEUE,
        concurrency_limit=1,
        show_progress="minimal",
        show_progress_on=gallery,
        scroll_to_output=True,  # on a phone the tiles stand above the button
        **private,
    )
    run.then(lambda: gr.update(interactive=False), None, cancel, queue=False, **private)
    run.success(on_seed, [is_locked, seed], seed, queue=False, show_progress="hidden", **private)
    cancel.click(lambda: ("Cancelled.", gr.update(interactive=False)), None, [status, cancel], cancels=[run], **private)
    gallery.select(
        on_select,
        tile_ids,
        [detail, large, facts, download, selected_id],
        concurrency_id=GPU_QUEUE,
        scroll_to_output=True,
        **private,
    )
    for button, state, tab in (
        (to_rerender, shared.base_tile, "rerender"),
        (to_compare, shared.compare_tile, "compare"),
    ):
        button.click(lambda tile_id: tile_id, selected_id, state, **private).then(
            lambda tab=tab: gr.Tabs(selected=tab), None, shared.tabs, **private
        )
    gr.on(None, on_restore, None, list(controls.values()), **private)
    if not welcome:  # a checkpoint without stored welcome tiles, e.g. the user's own
        gr.on(None, on_first_visit, None, [status, gallery, tile_ids], concurrency_id=GPU_QUEUE, **private)


def _request(record: MetadataRecord, num_tiles, seed, steps, guidance, center_guidance, side) -> GenerationRequest:
    first = int(seed or 0)
    return GenerationRequest(
        record,
        seeds=tuple(range(first, first + int(num_tiles))),
        num_inference_steps=int(steps),
        guidance_scale=guidance,
        attribute_guidance=(("center", center_guidance),) if center_guidance != 1 else (),
        side_px=(side, side),
    )


def _welcome_item(vocabulary: Vocabulary, png: bytes, record: MetadataRecord, seed: int) -> tuple[Image.Image, str]:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image, f"{describe(vocabulary, record)} · seed {seed}"


def _remake(service, welcome, index: int) -> GeneratedTile:
    """A welcome tile as an object: made again from its seed."""
    _, record, seed = welcome[index]
    return service.generate(GenerationRequest(record, (seed,)))[0]
