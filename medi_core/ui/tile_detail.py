"""One tile of the Generate tab, large: what was asked for, what was measured, and where to take it from here."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from medi_core.metadata.vocabulary import describe
from medi_core.services.generated_tile import GeneratedTile
from medi_core.ui.handlers import gallery_image, png_of, reported, tile_name, write_download
from medi_core.ui.shared import LOOK_QUEUE, LOOKS_AT_ONCE, Shared
from medi_core.ui.tile_view import tile_details
from medi_core.ui.verdict_view import PLAIN, VIEWS, caveat_html, tile_image, verdict_html

LOOK = {"concurrency_id": LOOK_QUEUE, "concurrency_limit": LOOKS_AT_ONCE, "api_visibility": "private"}
CLICK_FOR_VERDICT = '<p class="medi-note">Click the tile for what the classifier sees in it.</p>'


@dataclass(frozen=True)
class TileDetail:
    """The panel, hidden until a tile is shown in it."""

    outputs: tuple[gr.blocks.Block, ...]
    """The panel itself, then what stands in it; the values of `show` are for them."""
    selected_id: gr.State
    """Id of the tile that was shown last."""
    show: Callable[..., tuple]
    """`show(tile, with_verdict=True)`: updates of `outputs`. The verdict takes longer than an instant tile."""


def build_tile_detail(
    shared: Shared, tile_of: Callable[[str, object], GeneratedTile], remade_by: gr.State
) -> TileDetail:
    """Widgets, handlers, wiring.

    Args:
        tile_of: (id, value of `remade_by`) → the tile; a `gr.Error` once it is lost.
        remade_by: what makes the tiles in sight again, or `None`.
    """
    vocabulary, classification = shared.services.generation.vocabulary, shared.services.classification

    # ---------------------------------------------------------------- widgets
    with gr.Column(visible=False) as panel:
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
    selected_id = gr.State("")

    # --------------------------------------------------------------- handlers
    def show(tile: GeneratedTile, with_verdict: bool = True) -> tuple:
        file = write_download(tile_name(tile), png_of(tile))
        image = gr.update(value=gallery_image(tile), alt_text=describe(vocabulary, tile.record))
        seen = verdict_html(classification, tile.image, tile.record.cancer_type) if with_verdict else CLICK_FOR_VERDICT
        plain = (PLAIN, gr.update(visible=False))
        return gr.update(visible=True), image, tile_details(vocabulary, tile), seen, file, tile.id, *plain

    @reported
    def on_view(tile_id: str, view: str, remade_by: object):
        tile = tile_of(tile_id, remade_by)
        text = f"{describe(vocabulary, tile.record)}: {view}"
        image = gr.update(value=tile_image(classification, tile, view), alt_text=text)
        return image, gr.update(visible=view != PLAIN)

    @reported
    def on_hand_over(tile_id: str, remade_by: object) -> tuple[str, float]:
        """The time makes the same tile, handed over again, a change."""
        return tile_of(tile_id, remade_by).id, time.time()

    # ----------------------------------------------------------------- wiring
    view.input(on_view, [selected_id, view, remade_by], [large, caveat], **LOOK)
    for button, state, tab in (
        (to_rerender, shared.base_tile, "rerender"),
        (to_compare, shared.compare_tile, "compare"),
    ):
        button.click(on_hand_over, [selected_id, remade_by], state, **LOOK).then(
            lambda tab=tab: gr.Tabs(selected=tab), None, shared.tabs, api_visibility="private"
        )
    return TileDetail((panel, large, facts, verdict, download, selected_id, view, caveat), selected_id, show)
