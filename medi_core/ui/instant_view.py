"""Instant mode of the Generate tab: tiles of the few-step model follow the controls while they are dragged."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape

import gradio as gr

from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary, count
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation_request import GenerationRequest
from medi_core.services.instant import MAX_INSTANT_TILES, instant_request
from medi_core.ui.handlers import gallery_image, reported, seeds_from
from medi_core.ui.metadata_controls import ANY, MetadataControls, center_choices, support_badge, value_choices
from medi_core.ui.runs import RunStop
from medi_core.ui.shared import INSTANT_QUEUE, INSTANTS_AT_ONCE, Shared
from medi_core.ui.tile_detail import TileDetail

SWITCH = "Instant: the tiles follow while you drag"
SWITCH_INFO = "A few-step model redraws up to {most} tiles at every change; no need to press anything."
GENERATE, FULL = "Generate", "Make with the full model"
STATUS = "Drag a slider, or choose another center: these tiles follow. Click one to look closely."
BLEND_STEP = 0.05
SHARE_OF_RATE_LIMIT = 0.75
"""Of the calls that a session may make in a minute, what dragging takes at most: a click must still get through."""


@dataclass(frozen=True)
class InstantControls:
    """The switch and what belongs to it; all hidden where there is no few-step model."""

    switch: gr.Checkbox
    blending: gr.Column
    """Holds the next three; in sight while the mode is on."""
    towards: gr.Dropdown
    share: gr.Slider
    badge: gr.HTML
    said: gr.HTML
    """Under the tiles: how long the last ones took, and what made them."""
    made: gr.State
    """The request of the instant tiles in sight; `None` if they are not instant."""


def build_switch(is_available: bool) -> gr.Checkbox:
    """On top of the controls."""
    return gr.Checkbox(
        False,
        label=SWITCH,
        info=SWITCH_INFO.format(most=MAX_INSTANT_TILES),
        visible=is_available,
        elem_id="instant-switch",
    )


def build_blending(vocabulary: Vocabulary, initial: MetadataRecord) -> tuple:
    """Below the switch, in sight while it is on: column, second center, share of it, badge of its support."""
    has_centers = "center" in vocabulary.attributes
    ranked = [name for _, name in center_choices(vocabulary, initial.cancer_type)] if has_centers else []
    second = next((name for name in ranked if name not in (ANY, initial.center)), ANY)
    with gr.Column(visible=False) as blending:
        towards = gr.Dropdown(
            [("No second center", ANY), *(value_choices(vocabulary, "center") if has_centers else ())],
            value=second,
            label="Blend the center below into",
            visible=has_centers,
            elem_id="instant-towards",
        )
        share = gr.Slider(
            0,
            1,
            value=0,
            step=BLEND_STEP,
            label="Blend",
            info="0 = the center below, 1 = this one; the same seeds all the way",
            buttons=[],
            visible=has_centers,
            elem_id="instant-blend",
        )
        badge = gr.HTML("", padding=False, visible=has_centers)
    return blending, towards, share, badge


def towards_badge(vocabulary: Vocabulary, record: MetadataRecord, towards: str) -> str:
    """HTML: the support of the second center with this cancer type; "" without one."""
    return support_badge(vocabulary, replace(record, center=towards)) if towards else ""


def said_html(tiles: Sequence[GeneratedTile], seconds: float, has_full: bool) -> str:
    """HTML: how long these tiles took, as measured, and what made them."""
    steps, name = count(tiles[0].num_inference_steps, "step"), escape(tiles[0].checkpoint_id)
    full = f": a few-step model. “{FULL}” makes the same record and seeds with the main checkpoint" if has_full else ""
    return f'<p class="medi-note"><b>{count(len(tiles), "tile")} in {seconds:.2f} s</b>, {steps}, {name}{full}.</p>'


def pause_seconds(rate_limit: float) -> float:
    """How long a render takes at least, so that no dragging uses up the calls of a session; 0 = no limit."""
    return 60 / (rate_limit * SHARE_OF_RATE_LIMIT) if rate_limit else 0.0


def wire_instant(
    shared: Shared,
    controls: InstantControls,
    metadata: MetadataControls,
    drawn_from: tuple[gr.Slider, gr.Number],
    generate: gr.Button,
    stop: gr.State,
    shown: Sequence[gr.blocks.Block],
    detail: TileDetail,
    badge_of: Callable[[MetadataRecord], str],
) -> None:
    """Handlers and wiring: each change is one call, whether the mode is on or not.

    Args:
        drawn_from: number of tiles, seed of the first.
        generate: the button that makes tiles with the main checkpoint.
        stop: `RunStop` of its run, which ends when instant tiles take its place.
        shown: badge, status, gallery, ids of its tiles, download of all of them.
        badge_of: record → HTML of its support and trust.
    """
    instant, vocabulary = shared.services.instant, shared.services.generation.vocabulary
    has_full = instant is not shared.services.generation  # else the main checkpoint is the few-step one
    pause = pause_seconds(shared.services.settings.rate_limit)
    num_tiles, seed = drawn_from
    most_tiles = num_tiles.maximum
    outputs = [*shown, controls.badge, controls.said, controls.made, *detail.outputs]

    def followed(request: GenerationRequest, before: list[str] | None, selected: str) -> tuple[list, float]:
        """Updates of the tiles, and of the large one if it was one of those before; seconds they took."""
        start = time.monotonic()
        tiles = instant.generate(request)
        seconds = time.monotonic() - start
        at = before.index(selected) if before and selected in before else len(tiles)
        large = detail.show(tiles[at], with_verdict=False) if at < len(tiles) else [gr.skip()] * len(detail.outputs)
        items = [(gallery_image(tile), f"seed {tile.seed}") for tile in tiles]
        said = said_html(tiles, seconds, has_full)
        return [items, [t.id for t in tiles], gr.update(visible=False), said, *large], seconds

    @reported
    def on_change(is_on, stop: RunStop | None, before, selected, towards, share, num, first, *values):
        record = metadata.record(values)
        if not is_on or instant is None:
            return [badge_of(record), *[gr.skip()] * (len(outputs) - 1)]
        if stop is not None:
            stop.end(STATUS)
        request = instant_request(record, seeds_from(first, min(num, MAX_INSTANT_TILES)), towards, share)
        (items, ids, all_files, said, *large), seconds = followed(request, before, selected)
        time.sleep(max(0.0, pause - seconds))
        second = towards_badge(vocabulary, record, towards)
        return [badge_of(record), STATUS, items, ids, all_files, second, said, request, *large]

    def on_switch(is_on: bool, num: int):
        tiles = gr.update(maximum=MAX_INSTANT_TILES, value=min(num, MAX_INSTANT_TILES))
        return (
            tiles if is_on else gr.update(maximum=most_tiles),
            gr.update(visible=is_on),
            gr.update(value=FULL if is_on and has_full else GENERATE),
        )

    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    more = (controls.switch, controls.towards, controls.share, num_tiles, seed) if instant else ()
    gr.on(
        [component.change for component in (*metadata.components, *more)],
        on_change,
        [
            *(controls.switch, stop, shown[3], detail.selected_id, controls.towards, controls.share),
            *(num_tiles, seed, *metadata.components),
        ],
        outputs,
        trigger_mode="always_last",  # of the changes during a render the newest is drawn, and no other
        concurrency_id=INSTANT_QUEUE,
        concurrency_limit=INSTANTS_AT_ONCE,
        **quiet,
    )
    controls.switch.change(on_switch, [controls.switch, num_tiles], [num_tiles, controls.blending, generate], **quiet)
