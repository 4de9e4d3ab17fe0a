"""Map: real and synthetic tiles by what an encoder sees in them; click a point for its tile, draw a lasso to count."""

import shutil
from collections.abc import Iterator
from functools import partial
from html import escape
from pathlib import Path

import gradio as gr
import numpy as np

from medi_core.errors import ReferenceSetError
from medi_core.figures.embedding_map import embedding_map_figure
from medi_core.metadata.schema import ATTRIBUTE
from medi_core.metadata.vocabulary import count
from medi_core.projection import ProjectionConfig
from medi_core.services.streaming import stream
from medi_core.ui.handlers import alert_html, gallery_image, progress_html, reported, session_folder, write_download
from medi_core.ui.plot_view import build_plot
from medi_core.ui.point_view import counts_html, facts_html, neighbours_html, point_verdict_html
from medi_core.ui.runs import wire_run
from medi_core.ui.shared import GPU_QUEUE, SessionTiles, Shared

OTHER_COLUMNS = (("Origin", "origin"), ("Support of the pair", "group"), ("Data set", "dataset"), ("Split", "split"))
INTRO = (
    "Each point is a tile, placed so that tiles with like features lie near each other. Distances across the map, and "
    "the axes, mean nothing. Click a point for its tile; draw a lasso or a box to count what is inside."
)
UPLOAD_NOTE = (
    '<p class="medi-note">A zip of the images and one manifest (.csv with the column path; x and y for tiles of a '
    "larger image), at most 100 MB. Seen by you alone, and deleted after an hour or when you upload another one.</p>"
)
UPLOADED = "{} of the map stand where yours do; click one: it is shown where the pixels are the same."


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
            plot = build_plot("Map of real and synthetic tiles", "map-plot", 620)
            counts = gr.HTML("", padding=False, elem_id="map-counts")
            as_csv = gr.DownloadButton("Download selection (CSV)", size="sm", visible=False)
        with gr.Column(scale=3, min_width=300):
            tile = gr.Image(
                **{"label": "Tile", "show_label": False, "format": "png", "interactive": False, "height": 256},
                buttons=["download", "fullscreen"],
                visible=False,
                elem_id="map-tile",
                elem_classes="medi-large",
            )
            facts = gr.HTML("Click a point to see its tile.", padding=False, elem_id="map-facts")
            verdict = gr.HTML("", padding=False, elem_id="map-verdict")
            neighbours = gr.HTML("", padding=False, elem_id="map-neighbours")
    with gr.Accordion("Show the real tiles", open=False):
        gr.HTML(UPLOAD_NOTE, padding=False)
        upload = gr.File(label="Zip", file_types=[".zip"], type="filepath", height=120, elem_id="map-upload")
        upload_note = gr.HTML("", padding=False, elem_id="map-upload-note")
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
    def figure_of(by: str, dark: bool, coordinates: np.ndarray | None, tile_ids: list[str]) -> str:
        points = service.points_with(tile_ids, coordinates)
        return embedding_map_figure(points, by, dark).to_json()

    @reported
    def on_sight(by: str, coordinates, tile_ids: list[str], event: gr.EventData):
        try:
            return figure_of(by, event.dark, coordinates, tile_ids), event.dark, escape(service.describe())
        except ReferenceSetError as error:  # there is nothing to draw: the place of the map says why
            return gr.skip(), None, alert_html(error)

    @reported
    def on_colour(by: str, dark: bool, coordinates, tile_ids: list[str]):
        return figure_of(by, dark, coordinates, tile_ids)

    @reported
    def on_new_tiles(by: str, dark: bool | None, coordinates, tile_ids: list[str]):
        return gr.skip() if dark is None else figure_of(by, dark, coordinates, tile_ids)

    @reported
    def on_upload(path: str | None, before: SessionTiles | None):
        if path is None:
            return gr.skip(), gr.skip()
        folder = session_folder()
        try:
            tiles, num = service.attach_upload(Path(path), folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            Path(path).unlink(missing_ok=True)
        if before is not None:
            before.delete()
        return SessionTiles(folder, tiles), UPLOADED.format(count(num, "real tile"))

    @reported
    def on_click(uploaded: SessionTiles | None, event: gr.EventData):
        attached = uploaded and uploaded.tiles
        details = service.details(str(event.point), attached)
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
    def on_fit(by: str, dark: bool | None, tile_ids: list[str], *settings) -> Iterator:
        config = _config(*settings)
        yield progress_html(0, 1, "Starting"), gr.skip(), gr.skip()
        for report in stream(lambda emit: service.refit(config, lambda *done: emit(done))):
            if isinstance(report, tuple):
                yield progress_html(*report, "Fitting the map"), gr.skip(), gr.skip()
        note = f"{count(len(report), 'tile')} placed anew by {config.method.upper()}."
        yield note, report, figure_of(by, bool(dark), report, tile_ids)

    # ----------------------------------------------------------------- wiring
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    drawing = [colour_by, is_dark, places, shared.map_tiles]
    plot.focus(on_sight, [colour_by, places, shared.map_tiles], [plot, is_dark, status], **quiet)
    colour_by.input(on_colour, drawing, plot, **quiet).then(
        on_recount, [colour_by, selected], [counts, as_csv], **quiet
    )
    shared.map_tiles.change(on_new_tiles, drawing, plot, **quiet)
    upload.upload(on_upload, [upload, shared.attached], [shared.attached, upload_note], api_visibility="private")
    plot.click(
        on_click,
        shared.attached,
        [tile, facts, verdict, neighbours],
        concurrency_id=GPU_QUEUE,
        api_visibility="private",
    )  # a synthetic tile is made again from its seed
    plot.select(on_lasso, colour_by, [counts, as_csv, selected], **quiet)
    wire_run(
        refit,
        cancel,
        status,
        on_fit,
        [colour_by, is_dark, shared.map_tiles, method, metric, n_neighbors, min_dist, num_pca, seed],
        [status, places, plot],
        shown=status,
        queue="map",
    )


def _config(method: str, metric: str, n_neighbors, min_dist, num_pca, seed) -> ProjectionConfig:
    return ProjectionConfig(method, int(n_neighbors), min_dist, metric, int(num_pca), int(seed or 0))
