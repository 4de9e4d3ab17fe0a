"""Fidelity, third view: does a synthetic tile repeat a training region? The most similar pairs, side by side."""

import gradio as gr
import pandas as pd
from PIL import Image

from medi_core.data.tile_files import png_text
from medi_core.errors import MediError
from medi_core.figures.labels import interval_text
from medi_core.figures.similarity_histogram import similarity_histogram
from medi_core.services.cohort import Cohort
from medi_core.services.copy_audit import CopyReport
from medi_core.ui.handlers import alert_html, reported, write_download
from medi_core.ui.plot_view import build_plot
from medi_core.ui.shared import LOOK_QUEUE, LOOKS_AT_ONCE, Shared
from medi_core.ui.tables import table_html

NUM_PAIRS = 20
NOTE = (
    "Each tile is compared, in all 8 orientations, with every window of every training region, and so are real tiles "
    "of other patients: they tell how similar tissue is that nobody copied. A flag means “look at these two”, not "
    "“copied”: about one in a hundred honest tiles is flagged by construction."
)
COLUMNS = {
    **{"window_similarity": "Similarity", "flagged": "Flagged", "cancer_type": "Cancer type", "center": "Center"},
    **{"group": "Tiles", "seed": "Seed", "window_image": "Training image"},
}
COLUMN_WIDTHS = ["105px", "90px", "220px", "240px", "130px", "80px", "210px"]


def build_copy_view(shared: Shared) -> None:
    """Widgets, handlers, wiring."""
    service = shared.services.copies

    # ---------------------------------------------------------------- widgets
    gr.HTML(f'<p class="medi-note">{NOTE}</p>', padding=False)
    status = gr.HTML("", padding=False, elem_id="copy-status")
    plot = build_plot("Similarity of synthetic and real tiles to their nearest training window", "copy-plot", 300)
    gr.Markdown(f"**The {NUM_PAIRS} most similar pairs.** Choose a row to see it.")
    pairs = gr.Dataframe(
        headers=list(COLUMNS.values()),
        column_widths=COLUMN_WIDTHS,
        interactive=False,
        wrap=True,
        max_height=320,
        elem_id="copy-pairs",
    )
    with gr.Row(equal_height=False):
        made = build_image("Synthetic tile, turned as compared", "copy-tile")
        real = build_image("Training window", "copy-window")
    pair_note = gr.HTML("", padding=False, elem_id="copy-note")
    as_csv = gr.DownloadButton("Download all tiles (CSV)", size="sm", visible=False)
    ids = gr.State([])

    # --------------------------------------------------------------- handlers
    @reported
    def on_sight(event: gr.EventData):
        try:
            report = service.report()
        except MediError as error:  # there is nothing to draw: its place says why
            return gr.skip(), alert_html(error), gr.skip(), gr.skip(), gr.skip()
        similarity = report.pairs["window_similarity"].to_numpy(float)
        figure = similarity_histogram(similarity, report.baseline, 1 - report.threshold, event.dark)
        file = write_download("medi-copy-audit.csv", csv_of(report))
        top = report.pairs.head(NUM_PAIRS)
        return figure.to_json(), summary(report), rows_of(top), top["id"].tolist(), gr.update(visible=True, value=file)

    @reported
    def on_pair(ids: list[str], cohort: Cohort | None, event: gr.SelectData):
        pair = service.pair(ids[event.index[0]], cohort and cohort.attached)
        turned = Image.fromarray(pair.turned)
        turned.info.update(png_text(pair.tile.provenance()))
        note = "" if pair.window is not None else missing_window()
        return (
            gr.update(value=turned, visible=True),
            gr.update(value=pair.window, visible=pair.window is not None),
            note,
        )

    # ----------------------------------------------------------------- wiring
    quiet = {"api_visibility": "private"}
    plot.focus(on_sight, None, [plot, status, pairs, ids, as_csv], **quiet)
    shown = [made, real, pair_note]
    pairs.select(
        on_pair,
        [ids, shared.cohort],
        shown,
        concurrency_id=LOOK_QUEUE,
        concurrency_limit=LOOKS_AT_ONCE,
        **quiet,
    )  # the tile is made again


def build_image(label: str, elem_id: str) -> gr.Image:
    """One side of a pair, large and in its own pixels."""
    return gr.Image(
        **{"label": label, "format": "png", "interactive": False, "height": 300, "visible": False},
        buttons=["download", "fullscreen"],
        elem_id=elem_id,
        elem_classes="medi-large",
    )


def summary(report: CopyReport) -> str:
    """The share that is flagged, by group, with what it is read against."""
    shares = [interval_text(*row, digits=2) for row in report.table[["share", "ci_low", "ci_high"]].to_numpy(float)]
    titles = {"group": "Tiles", "n": "n", "n_unmeasurable": "Too plain to compare", "flagged": "Flagged"}
    table = table_html(report.table.assign(with_interval=shares), titles | {"with_interval": "Share, 95 % interval"})
    line = (
        f"Flagged from a similarity of {1 - report.threshold:.3f} on: where the nearest "
        f"{report.percentile:g} % of {len(report.baseline):,} held-out real tiles begin."
    )
    return f'{table}<p class="medi-note">{line}</p>'


def rows_of(pairs: pd.DataFrame) -> list[list[object]]:
    """Cells of the table of pairs, readable."""
    shown = pairs.assign(
        window_similarity=pairs["window_similarity"].map("{:.3f}".format),
        flagged=pairs["flagged"].map({True: "yes", False: "no"}),
        center=pairs["center"].fillna("any"),
        cancer_type=pairs["cancer_type"].str.replace("_", " "),
        seed=pairs["seed"].map("{:.0f}".format),
    )
    return shown[list(COLUMNS)].to_numpy(object).tolist()


def csv_of(report: CopyReport) -> bytes:
    """Every audited tile with its window."""
    return report.pairs.dropna(axis="columns", how="all").to_csv(index=False).encode()


def missing_window() -> str:
    return (
        '<p class="medi-note">The training image is not part of this app. Start it with '
        "<code>--tiles manifest.csv</code>, or upload a zip in the tab Data, to see the window beside the tile.</p>"
    )
