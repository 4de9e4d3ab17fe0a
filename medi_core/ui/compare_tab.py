"""Compare: the same seeds under other metadata, and the way between two conditions."""

from collections.abc import Iterator
from html import escape

import gradio as gr

from medi_core.data.tile_files import encode_zip
from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary, count, describe
from medi_core.services.comparison import ComparisonRequest, Grid
from medi_core.services.contact_sheet import sheet_png
from medi_core.services.export import SHEET_NAME
from medi_core.services.generation_request import GenerationRequest
from medi_core.services.streaming import stream
from medi_core.ui.grid_view import empty_grid_html, frame_alt, grid_html
from medi_core.ui.handlers import (
    gallery_image,
    progress_html,
    reported,
    seeds_from,
    throttled,
    tile_file,
    write_download,
)
from medi_core.ui.links import build_link_button, restore
from medi_core.ui.metadata_controls import ANY, center_choices, value_choices
from medi_core.ui.runs import wire_run
from medi_core.ui.sampling_controls import build_sampling_controls
from medi_core.ui.shared import Shared

NO_ROWS = "none"
FRAMES = 9
SHOWN_CENTERS, SHOWN_TYPES = 4, 3


def build_compare_tab(shared: Shared) -> None:
    """Widgets, handlers, wiring of the comparison tab."""
    generation, vocabulary = shared.services.generation, shared.services.generation.vocabulary
    service = shared.services.comparison
    swept = [(ATTRIBUTE[name].label, name) for name in vocabulary.attributes]
    columns, rows = _default_axes(vocabulary)

    # ---------------------------------------------------------------- widgets
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            column_attribute = gr.Dropdown(swept, value=columns[0], label="Sweep across (columns)")
            column_values = _values_dropdown(vocabulary, *columns, label="Values across")
            row_attribute = gr.Dropdown([("Nothing", NO_ROWS), *swept], value=rows[0], label="Sweep down (rows)")
            row_values = _values_dropdown(vocabulary, *rows, label="Values down")
            with gr.Accordion("Held the same in every cell", open=False):
                held = [_held_dropdown(vocabulary, name) for name in vocabulary.attributes]
            with gr.Row():
                seed = gr.Number(1, label="First seed", precision=0)
                num_seeds = gr.Slider(1, 4, value=1, step=1, label="Seeds a cell", buttons=[])
            with gr.Accordion("Advanced", open=False):
                steps, guidance = build_sampling_controls(*generation.default_sampling)
            with gr.Row():
                compare = gr.Button("Compare", variant="primary", elem_id="compare-button")
                cancel = gr.Button("Cancel", interactive=False)
            controls = {
                "column_attribute": column_attribute,
                "column_values": column_values,
                "row_attribute": row_attribute,
                "row_values": row_values,
                "seed": seed,
                "num_seeds": num_seeds,
                "steps": steps,
                "guidance": guidance,
                **{f"held_{name}": held_in for name, held_in in zip(vocabulary.attributes, held, strict=True)},
            }
            build_link_button("compare", controls)
        with gr.Column(scale=3, min_width=320):
            status = gr.HTML("", padding=False)
            grid_view = gr.HTML(empty_grid_html(), padding=False, elem_id="compare-grid")
            with gr.Row():
                as_png = gr.DownloadButton("Download grid (PNG)", size="sm", visible=False)
                as_zip = gr.DownloadButton("Download tiles (zip with manifest)", size="sm", visible=False)
    with gr.Accordion("Interpolate between two conditions", open=True), gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            start_type, start_center = _pair(vocabulary, "From", columns, rows, 0)
            end_type, end_center = _pair(vocabulary, "To", columns, rows, 1)
            with gr.Row():
                interpolate = gr.Button("Interpolate", variant="primary", elem_id="interpolate-button", min_width=120)
                cancel_interpolation = gr.Button("Cancel", interactive=False, min_width=120)
            interpolation_status = gr.HTML("", padding=False)
        with gr.Column(scale=3, min_width=320):
            position = gr.Slider(
                0,
                FRAMES - 1,
                value=0,
                step=1,
                label="From → To",
                interactive=False,
                buttons=[],
                elem_id="interpolation",
            )
            frame = gr.Image(
                label="Interpolated tile",
                format="png",
                interactive=False,
                height=300,
                buttons=["download", "fullscreen"],
                elem_id="interpolated-tile",
                elem_classes="medi-large",
            )
    frames = gr.State([])

    # --------------------------------------------------------------- handlers
    def request_of(column, column_chosen, row, row_chosen, first, num, num_steps, scale, *held_values):
        values = zip(vocabulary.attributes, held_values, strict=True)
        record = MetadataRecord(**{n: v for n, v in values if v != ANY and n not in (column, row)})
        base = GenerationRequest(record, seeds_from(first, num), int(num_steps), scale)
        rows_chosen = (None, ()) if row == NO_ROWS else (row, tuple(row_chosen))
        return ComparisonRequest(base, column, tuple(column_chosen), *rows_chosen)

    @reported
    def on_compare(*values) -> Iterator[tuple]:
        request = request_of(*values)
        hidden = gr.update(visible=False)
        empty: Grid = [[] for _ in request.records()]  # the grid of the run before would pass for this one's
        yield progress_html(0, 1, "Starting"), grid_html(vocabulary, request, empty), hidden, hidden
        for report, grid in throttled(service.stream(request), lambda pair: pair[0]):
            status_now = progress_html(report.done, report.total, "Denoising")
            yield status_now, grid_html(vocabulary, request, grid) if report.tiles else gr.skip(), hidden, hidden
        sheet = sheet_png(vocabulary, request, grid, generation.checkpoint.id)
        tiles = [tile for row in grid for cell in row for tile in cell.tiles]
        files = [tile_file(tile) for tile in {tile.id: tile for tile in tiles}.values()]
        png = gr.update(visible=True, value=write_download("medi-grid.png", sheet))
        zipped = encode_zip(files, {SHEET_NAME: sheet})
        download = gr.update(visible=True, value=write_download("medi-grid.zip", zipped))
        yield (
            f"{count(len(tiles), 'tile')}, same seeds in every cell.",
            grid_html(vocabulary, request, grid),
            png,
            download,
        )

    @reported
    def on_interpolate(from_type, from_center, to_type, to_center, first, num_steps, scale) -> Iterator[tuple]:
        start, end = _record(from_type, from_center), _record(to_type, to_center)
        request = GenerationRequest(start, seeds_from(first, 1), int(num_steps), scale)
        weights = [i / (FRAMES - 1) for i in range(FRAMES)]
        for report in stream(lambda emit: service.interpolate(request, end, weights, lambda *done: emit(done))):
            if isinstance(report, tuple):
                yield progress_html(*report, "Making tiles"), [], gr.skip(), gr.skip()
        alts = [frame_alt(vocabulary, start, end, weight) for weight in weights]
        supports = [
            f"{end_name}: {vocabulary.support_of(r).describe()}" for end_name, r in (("From", start), ("To", end))
        ]
        made = list(zip([tile.id for tile in report], alts, strict=True))
        shown = gr.update(value=gallery_image(report[0]), alt_text=alts[0])
        yield " · ".join(supports), made, gr.update(value=0, interactive=True), shown

    def on_position(i: int, made: list[tuple[str, str]]):
        tile = generation.find(made[int(i)][0]) if made else None
        return gr.skip() if tile is None else gr.update(value=gallery_image(tile), alt_text=made[int(i)][1])

    def on_axis(attribute: str):
        return _values_update(vocabulary, attribute, _default_values(vocabulary, attribute))

    def on_tile(handed: tuple[str, float]):
        tile = generation.find(handed[0])
        if tile is None:
            return [gr.skip()] * (1 + len(controls))
        axes = _axes_around(vocabulary, tile.record)
        asked = tile.record.to_dict()
        note = f"From {escape(describe(vocabulary, tile.record))}, seed {tile.seed}: press Compare."
        updates = [gr.update(value=value) if is_axis else _values_update(vocabulary, *value) for is_axis, value in axes]
        is_ours = tile.checkpoint_id == generation.checkpoint.id  # an instant tile has few steps, of another network
        sampled = (tile.num_inference_steps, tile.guidance_scale) if is_ours else generation.default_sampling
        sampling = [tile.seed, 1, *sampled]
        return [note, *updates, *sampling, *(asked.get(name, ANY) for name in vocabulary.attributes)]

    def on_restore(request: gr.Request):
        query = dict(request.query_params)
        if query.get("tab") != "compare":
            return [gr.skip()] * len(controls)
        choices = {
            values: value_choices(vocabulary, query[attribute]) if query.get(attribute) in vocabulary.attributes else []
            for attribute, values in (("column_attribute", "column_values"), ("row_attribute", "row_values"))
        }
        updates = dict(zip(controls, restore(query, controls, choices), strict=True))
        if query.get("row_attribute") == NO_ROWS:
            updates["row_values"] = _values_update(vocabulary, NO_ROWS, [])
        return list(updates.values())

    # ----------------------------------------------------------------- wiring
    private = {"api_visibility": "private"}
    for attribute, values in ((column_attribute, column_values), (row_attribute, row_values)):
        attribute.input(on_axis, attribute, values, show_progress="hidden", **private)
    wire_run(
        compare, cancel, status, on_compare, controls.values(), [status, grid_view, as_png, as_zip], shown=grid_view
    )
    wire_run(
        interpolate,
        cancel_interpolation,
        interpolation_status,
        on_interpolate,
        [start_type, start_center, end_type, end_center, seed, steps, guidance],
        [interpolation_status, frames, position, frame],
        shown=frame,
    )
    for cancer_type, center in ((start_type, start_center), (end_type, end_center)):
        cancer_type.change(
            lambda chosen: gr.update(choices=center_choices(vocabulary, chosen)),
            cancer_type,
            center,
            show_progress="hidden",
            **private,
        )
    position.change(on_position, [position, frames], frame, queue=False, show_progress="hidden", **private)
    shared.compare_tile.change(on_tile, shared.compare_tile, [status, *controls.values()], **private)
    gr.on(None, on_restore, None, list(controls.values()), **private)


def _default_axes(vocabulary: Vocabulary) -> tuple[tuple[str, list[str]], tuple[str, list[str]]]:
    """Centers across and cancer types down where the checkpoint knows both."""
    names = vocabulary.attributes
    column = "center" if "center" in names else names[0]
    row = "cancer_type" if "cancer_type" in names else NO_ROWS
    return (column, _default_values(vocabulary, column)), (row, _default_values(vocabulary, row))


def _axes_around(vocabulary: Vocabulary, record: MetadataRecord) -> list[tuple[bool, object]]:
    """The four axis controls for "this tile from other centers": its own center first, then the best supported."""
    (column, columns), (row, rows) = _default_axes(vocabulary)
    if column == "center":
        ranked = [center for _, center in center_choices(vocabulary, record.cancer_type) if center != ANY]
        columns = list(dict.fromkeys([*filter(None, [record.center]), *ranked]))[:SHOWN_CENTERS]
    if row == "cancer_type" and record.cancer_type:
        rows = [record.cancer_type]
    return [(True, column), (False, (column, columns)), (True, row), (False, (row, rows))]


def _values_update(vocabulary: Vocabulary, attribute: str, chosen: list[str]):
    """Update of a dropdown of values: choices and choice belong together."""
    choices = [] if attribute == NO_ROWS else value_choices(vocabulary, attribute)
    return gr.update(choices=choices, value=chosen, visible=attribute != NO_ROWS)


def _default_values(vocabulary: Vocabulary, attribute: str) -> list[str]:
    """The best supported few values; all bins of a binned attribute."""
    if attribute == NO_ROWS:
        return []
    if attribute in vocabulary.bin_edges:
        return list(vocabulary.values[attribute])
    support = vocabulary.support.get(attribute, {})
    ranked = sorted(support, key=lambda value: -support[value].num_patients) or list(vocabulary.values[attribute])
    return ranked[: SHOWN_CENTERS if attribute == "center" else SHOWN_TYPES]


def _values_dropdown(vocabulary: Vocabulary, attribute: str, chosen: list[str], label: str) -> gr.Dropdown:
    choices = [] if attribute == NO_ROWS else value_choices(vocabulary, attribute)
    return gr.Dropdown(choices, value=chosen, multiselect=True, label=label, visible=attribute != NO_ROWS)


def _held_dropdown(vocabulary: Vocabulary, name: str) -> gr.Dropdown:
    return gr.Dropdown([("Any", ANY), *value_choices(vocabulary, name)], value=ANY, label=ATTRIBUTE[name].label)


def _pair(vocabulary: Vocabulary, title: str, columns, rows, i: int) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Cancer type and center of one end."""
    types = [("Any", ANY), *(value_choices(vocabulary, "cancer_type") if rows[0] != NO_ROWS else [])]
    centers = center_choices(vocabulary, None) if columns[0] == "center" else [("Any", ANY)]
    cancer_type = gr.Dropdown(types, value=rows[1][0] if rows[1] else ANY, label=f"{title}: cancer type")
    value = columns[1][min(i, len(columns[1]) - 1)] if columns[0] == "center" else ANY
    return cancer_type, gr.Dropdown(centers, value=value, label=f"{title}: center")


def _record(cancer_type: str, center: str) -> MetadataRecord:
    return MetadataRecord(cancer_type=cancer_type or None, center=center or None)
