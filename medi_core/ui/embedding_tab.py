"""Map: real and synthetic tiles by what an encoder sees in them; click a point for its tile, draw a lasso to count."""

from collections.abc import Iterator
from functools import partial
from html import escape

import gradio as gr
import numpy as np

from medi_core.errors import ReferenceSetError
from medi_core.figures.embedding_map import embedding_map_figure
from medi_core.metadata.schema import ATTRIBUTE
from medi_core.metadata.vocabulary import count
from medi_core.projection import ProjectionConfig
from medi_core.services.cohort import Cohort
from medi_core.services.cohort_use import OwnTiles
from medi_core.services.streaming import stream
from medi_core.ui.glossary import term
from medi_core.ui.handlers import alert_html, gallery_image, progress_html, reported, write_download
from medi_core.ui.plot_view import build_plot
from medi_core.ui.point_view import counts_html, facts_html, neighbours_html, point_verdict_html
from medi_core.ui.runs import wire_run
from medi_core.ui.shared import LOOK_QUEUE, LOOKS_AT_ONCE, Shared

OTHER_COLUMNS = (("Origin", "origin"), ("Support of the pair", "group"), ("Data set", "dataset"), ("Split", "split"))
READ_OUT = "element.setAttribute('aria-live', 'polite')"
"""What appears is read out by a screen reader: the focus stays where the point was chosen."""
INTRO = (
    f"Each point is a tile, placed so that tiles with like {term('features')} lie near each other. Distances across "
    "the map, and the axes, mean nothing. Click a point for its tile; draw a lasso or a box to count what is inside. "
    "The controls below the map do both by keys. "
    f"The {term('robustness index')} says whether like tiles share their disease or their hospital."
)
OWN_NOTE = (
    "Real tiles are shown where you have the same pixels, and tiles of your own are placed beside them: upload them, "
    "as a zip with a table, in the tab Data."
)


def build_embedding_tab(shared: Shared) -> None:
    """Widgets, handlers, wiring of the map."""
    service = shared.services.embedding
    attributes = shared.services.checkpoint.vocabulary.attributes
    columns = [*((ATTRIBUTE[name].label, name) for name in attributes), *OTHER_COLUMNS]
    initial = "center" if "center" in attributes else columns[0][1]

    # ---------------------------------------------------------------- widgets
    gr.HTML(f'<p class="medi-note">{INTRO}</p>', padding=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            colour_by = gr.Dropdown(columns, value=initial, label="Colour by", elem_id="map-colour")
            status = gr.HTML("", padding=False, elem_id="map-status")
            plot = build_plot("Map of real and synthetic tiles", "map-plot", 620, by_keys=True)
            counts = gr.HTML("", padding=False, elem_id="map-counts", js_on_load=READ_OUT)
            as_csv = gr.DownloadButton("Download selection (CSV)", size="sm", visible=False)
        with gr.Column(scale=3, min_width=300):
            tile = gr.Image(
                **{"label": "Tile", "show_label": False, "format": "png", "interactive": False, "height": 256},
                buttons=["download", "fullscreen"],
                visible=False,
                elem_id="map-tile",
                elem_classes="medi-large",
            )
            facts = gr.HTML(
                "Click a point to see its tile.",
                padding=False,
                elem_id="map-facts",
                js_on_load=READ_OUT,
            )
            verdict = gr.HTML("", padding=False, elem_id="map-verdict")
            neighbours = gr.HTML("", padding=False, elem_id="map-neighbours")
    with gr.Row():
        gr.HTML(f'<p class="medi-note">{OWN_NOTE}</p>', padding=False)
        to_data = gr.Button("Upload tiles of your own", size="sm", scale=0, min_width=220, elem_id="map-to-data")
    with gr.Accordion("Fit the map anew", open=False):
        with gr.Row():
            method = gr.Radio([("UMAP", "umap"), ("PCA, fast", "pca")], value="umap", label="Method")
            metric = gr.Radio(["euclidean", "cosine"], value="euclidean", label="Distance")
            n_neighbors = gr.Slider(5, 100, value=15, step=1, label="Neighbours", buttons=[])
            min_dist = gr.Slider(0, 0.99, value=0.1, step=0.01, label="Minimal distance", buttons=[])
            num_pca = gr.Slider(0, 200, value=50, step=10, label="PCA components first (0 = none)", buttons=[])
            seed = gr.Number(0, label="Seed", precision=0)
        with gr.Row():
            refit = gr.Button("Fit", variant="primary", elem_id="map-fit")
            cancel = gr.Button("Cancel", interactive=False)
    places, is_dark, selected = gr.State(None), gr.State(None), gr.State([])  # dark: unknown until it is in sight

    # --------------------------------------------------------------- handlers
    def figure_of(by: str, dark: bool, coordinates: np.ndarray | None, tile_ids: list[str], own) -> str:
        points = service.points_with(tile_ids, coordinates, own)
        return embedding_map_figure(points, by, dark).to_json()

    @reported
    def on_sight(by: str, coordinates, tile_ids: list[str], own, event: gr.EventData):
        try:
            return figure_of(by, event.dark, coordinates, tile_ids, own), event.dark, escape(service.describe())
        except ReferenceSetError as error:  # there is nothing to draw: the place of the map says why
            return gr.skip(), None, alert_html(error)

    @reported
    def on_colour(by: str, dark: bool, coordinates, tile_ids: list[str], own):
        return figure_of(by, dark, coordinates, tile_ids, own)

    @reported
    def on_new_tiles(by: str, dark: bool | None, coordinates, tile_ids: list[str], own):
        return gr.skip() if dark is None else figure_of(by, dark, coordinates, tile_ids, own)

    @reported
    def on_click(cohort: Cohort | None, own: OwnTiles | None, event: gr.EventData):
        attached = cohort and cohort.attached
        details = service.details(str(event.point), attached, own)
        image = details.image if details.tile is None else gallery_image(details.tile)
        shown = gr.update(value=image, visible=image is not None, alt_text=f"{details.facts['origin']} tile")
        seen = point_verdict_html(shared.services.classification, details)
        image_of = partial(service.real_image, attached=attached)
        return shown, facts_html(details), seen, neighbours_html(details, image_of)

    @reported
    def on_lasso(by: str, event: gr.EventData):
        points = list(map(str, event.points))
        return *selection_view(points, by), points

    @reported
    def on_recount(by: str, points: list[str]):
        return selection_view(points, by) if points else (gr.skip(), gr.skip())

    def selection_view(points: list[str], by: str):
        table = service.selection(points)
        file = write_download("medi-selection.csv", table.to_csv(index=False).encode())
        return counts_html(service.counts(points, by), by), gr.update(visible=True, value=file)

    @reported
    def on_fit(by: str, dark: bool | None, tile_ids: list[str], own, *settings) -> Iterator:
        config = _config(*settings)
        yield progress_html(0, 1, "Starting"), gr.skip(), gr.skip()
        for report in stream(lambda emit: service.refit(config, lambda *done: emit(done))):
            if isinstance(report, tuple):
                yield progress_html(*report, "Fitting the map"), gr.skip(), gr.skip()
        note = f"{count(len(report), 'tile')} placed anew by {config.method.upper()}."
        yield note, report, figure_of(by, bool(dark), report, tile_ids, own)

    # ----------------------------------------------------------------- wiring
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    drawing = [colour_by, is_dark, places, shared.map_tiles, shared.own_tiles]
    plot.focus(on_sight, [colour_by, places, shared.map_tiles, shared.own_tiles], [plot, is_dark, status], **quiet)
    colour_by.input(on_colour, drawing, plot, **quiet).then(
        on_recount, [colour_by, selected], [counts, as_csv], **quiet
    )
    gr.on([shared.map_tiles.change, shared.own_tiles.change], on_new_tiles, drawing, plot, **quiet)
    to_data.click(lambda: gr.Tabs(selected="data"), None, shared.tabs, **quiet)
    plot.click(
        on_click,
        [shared.cohort, shared.own_tiles],
        [tile, facts, verdict, neighbours],
        concurrency_id=LOOK_QUEUE,
        concurrency_limit=LOOKS_AT_ONCE,
        api_visibility="private",
    )  # a synthetic tile is made again from its seed
    plot.select(on_lasso, colour_by, [counts, as_csv, selected], **quiet)
    wire_run(
        refit,
        cancel,
        status,
        on_fit,
        [colour_by, is_dark, shared.map_tiles, shared.own_tiles, method, metric, n_neighbors, min_dist, num_pca, seed],
        [status, places, plot],
        shown=status,
        queue="map",
    )


def _config(method: str, metric: str, n_neighbors, min_dist, num_pca, seed) -> ProjectionConfig:
    return ProjectionConfig(method, int(n_neighbors), min_dist, metric, int(num_pca), int(seed or 0))
