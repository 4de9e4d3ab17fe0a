"""Fidelity, first view: how far synthetic tiles are from held-out real ones, beside what real tiles give."""

from html import escape

import gradio as gr
import pandas as pd

from medi_core.errors import ReferenceSetError
from medi_core.figures.dot_plot import dot_plot
from medi_core.services.fidelity import ASKED, BLUR, FLOOR, OPEN, SHUFFLE, FidelityService
from medi_core.ui.glossary import term
from medi_core.ui.handlers import alert_html, reported, write_download
from medi_core.ui.plot_view import build_plot
from medi_core.ui.shared import Shared
from medi_core.ui.tables import table_html

BY = [("All tiles", "overall"), ("By cancer type", "cancer_type"), ("By center", "center")]
SERIES = (ASKED, OPEN, FLOOR, SHUFFLE, BLUR)
MEASURES = {
    "kid": "Kernel distance (KID): 0 = alike",
    "fd": "Fréchet distance (FD): 0 = alike",
    "precision": "Precision: share of the compared tiles that lie where held-out real ones lie",
    "recall": "Recall: share of held-out real tiles that lie where the compared ones lie",
    "density": "Density: how densely held-out real tiles surround the compared ones",
    "coverage": "Coverage: share of held-out real tiles with a compared one nearby",
}
NOTE = (
    f"Everything is compared with {term('held-out')} real tiles, of patients that the generator never saw, as many of "
    f"each cancer type and center on both sides (class only: of each cancer type), by default by {term('KID')}. Read a "
    "value against <b>real, other patients</b> of the "
    "same row, never against 0. Blurred and stain-shuffled real tiles show what the measure sees. Bars: spread over 50 "
    "random subsets (kernel distance)."
)


def build_distance_view(shared: Shared) -> None:
    """Widgets, handlers, wiring."""
    service = shared.services.fidelity

    # ---------------------------------------------------------------- widgets
    gr.HTML(f'<p class="medi-note">{NOTE}</p>', padding=False)
    with gr.Row():
        by = gr.Radio(BY, value="overall", label="Subgroups", min_width=320, elem_id="distance-by")
        choices = [(text, name) for name, text in MEASURES.items()]
        measure = gr.Dropdown(choices, value="kid", label="Measure", min_width=320)
    status = gr.HTML("", padding=False, elem_id="distance-status")
    plot = build_plot("Distances of synthetic and real tiles from held-out real tiles", "distance-plot", 300)
    table = gr.HTML("", padding=False, elem_id="distance-table")
    as_csv = gr.DownloadButton("Download table (CSV)", size="sm", visible=False)
    is_dark = gr.State(None)

    # --------------------------------------------------------------- handlers
    def shown(by: str, measure: str, dark: bool):
        frame = service.fidelity(by)
        file = write_download(f"medi-fidelity-{by}.csv", frame.to_csv(index=False).encode())
        figure = dot_plot(dots(frame, measure), SERIES, MEASURES[measure].split(":")[0], dark)
        return figure.to_json(), left_out(frame), table_of(frame, service), gr.update(visible=True, value=file)

    @reported
    def on_sight(by: str, measure: str, event: gr.EventData):
        try:
            return event.dark, *shown(by, measure, event.dark)
        except ReferenceSetError as error:  # there is nothing to draw: its place says why
            return None, gr.skip(), alert_html(error), gr.skip(), gr.skip()

    @reported
    def on_choice(by: str, measure: str, dark: bool | None):
        return [gr.skip()] * 4 if dark is None else shown(by, measure, dark)

    # ----------------------------------------------------------------- wiring
    quiet = {"api_visibility": "private"}
    outputs = [plot, status, table, as_csv]
    plot.focus(on_sight, [by, measure], [is_dark, *outputs], **quiet)
    gr.on([by.change, measure.change], on_choice, [by, measure, is_dark], outputs, **quiet)


def dots(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Rows of `fidelity_table` as `dot_plot` takes them; only the kernel distance has a spread."""
    spread = frame["kid_sd"] if measure == "kid" else pd.Series(float("nan"), frame.index)
    text = [
        f"{row.subgroup}\n{row.compared}: {getattr(row, measure):.3g}\n"
        f"{row.n:,} tiles a side, {row.n_patients:,} held-out patients"
        for row in frame.itertuples()
    ]
    value = frame[measure]
    columns = {"label": frame["subgroup"], "series": frame["compared"], "value": value}
    return pd.DataFrame({**columns, "low": value - spread, "high": value + spread, "text": text})


def left_out(frame: pd.DataFrame) -> str:
    """Which subgroups have too few tiles to be compared, each with its n."""
    n = frame[frame["kid"].isna()].drop_duplicates("subgroup").set_index("subgroup")["n"]
    n = n.drop(frame.loc[frame["kid"].notna(), "subgroup"].unique(), errors="ignore")
    if n.empty:
        return ""
    names = ", ".join(f"{escape(str(name)).replace('_', ' ')} ({num})" for name, num in n.items())
    return f'<p class="medi-note">Not measured, too few tiles (n a side): {names}.</p>'


def table_of(frame: pd.DataFrame, service: FidelityService) -> str:
    """Every measured row; the Fréchet distance is named after its encoder, for it is no FID."""
    titles = {"subgroup": "Subgroup", "compared": "Compared", "n": "n a side", "n_patients": "Patients", "kid": "KID"}
    titles |= {"kid_sd": "± spread", "fd": f"FD-{service.encoder}"}
    titles |= {name: name.capitalize() for name in ("precision", "recall", "density", "coverage")}
    return table_html(frame.dropna(subset=["kid"]), titles)
