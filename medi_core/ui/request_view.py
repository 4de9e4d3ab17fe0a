"""Fidelity, second view: how often a probe sees in synthetic tiles what was asked for, beside real tiles."""

import gradio as gr
import pandas as pd

from medi_core.errors import ReferenceSetError
from medi_core.figures.dot_plot import dot_plot
from medi_core.figures.labels import interval_text
from medi_core.metadata.schema import ATTRIBUTE, display_name
from medi_core.services.asked_versus_got import AGREEMENT, ASKED_IN
from medi_core.ui.glossary import term
from medi_core.ui.handlers import alert_html, reported, write_download
from medi_core.ui.plot_view import build_plot
from medi_core.ui.shared import Shared
from medi_core.ui.tables import table_html

REAL = "held-out real"
SERIES = ("seen", "rare", "never seen", "attribute sweep", REAL)
NOTE = (
    f"A {term('probe')} learns each value on real tiles of training patients. Shown is how often it names the value "
    f"asked for: on synthetic tiles, by the {term('support')} of their cancer type at their center, and on real tiles "
    "of other patients. Read the one against the other, which it may exceed. Bars: 95 % "
    f"{term('interval', 'intervals')}, over patients for real tiles. Values that the probe could not learn are in the "
    "table."
)


def build_request_view(shared: Shared) -> None:
    """Widgets, handlers, wiring."""
    service = shared.services.fidelity
    choices = [(ATTRIBUTE[name].label, name) for name in ASKED_IN]

    # ---------------------------------------------------------------- widgets
    gr.HTML(f'<p class="medi-note">{NOTE}</p>', padding=False)
    attribute = gr.Radio(choices, value="center", label="Asked for", elem_id="request-attribute")
    status = gr.HTML("", padding=False, elem_id="request-status")
    plot = build_plot("Agreement of synthetic and real tiles with what was asked for", "request-plot", 300)
    table = gr.HTML("", padding=False, elem_id="request-table")
    as_csv = gr.DownloadButton("Download table (CSV)", size="sm", visible=False)
    is_dark = gr.State(None)

    # --------------------------------------------------------------- handlers
    def shown(attribute: str, dark: bool):
        frame = service.asked_versus_got(attribute)
        file = write_download(f"medi-asked-{attribute}.csv", frame.to_csv(index=False).encode())
        figure = dot_plot(dots(frame), SERIES, "Share of tiles on which the probe names it", dark)
        return figure.to_json(), stain_sentence(service.stains()), table_of(frame), gr.update(visible=True, value=file)

    @reported
    def on_sight(attribute: str, event: gr.EventData):
        try:
            return event.dark, *shown(attribute, event.dark)
        except ReferenceSetError as error:  # there is nothing to draw: its place says why
            return None, gr.skip(), alert_html(error), gr.skip(), gr.skip()

    @reported
    def on_choice(attribute: str, dark: bool | None):
        return [gr.skip()] * 4 if dark is None else shown(attribute, dark)

    # ----------------------------------------------------------------- wiring
    quiet = {"api_visibility": "private"}
    outputs = [plot, status, table, as_csv]
    plot.focus(on_sight, attribute, [is_dark, *outputs], **quiet)
    attribute.change(on_choice, [attribute, is_dark], outputs, **quiet)


def dots(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `asked_versus_got` as `dot_plot` takes them: a dot a group, and one of real tiles a value."""
    made = _dots(frame, frame["group"], "", frame["n"].map("{:,} synthetic tiles".format))
    of_value = frame.drop_duplicates("value")
    num_real = [
        f"{n:,} tiles of {patients:,} patients" for n, patients in of_value[["real_n", "real_patients"]].to_numpy(int)
    ]
    return pd.concat([made, _dots(of_value, REAL, "real_", num_real)], ignore_index=True)


def _dots(frame: pd.DataFrame, series, prefix: str, n) -> pd.DataFrame:
    columns = {"label": "value", "value": f"{prefix}agreement", "low": f"{prefix}ci_low", "high": f"{prefix}ci_high"}
    rows = pd.DataFrame({name: frame[column] for name, column in columns.items()}).assign(series=series, n=n)
    shares = [interval_text(*each, digits=2) for each in rows[["value", "low", "high"]].to_numpy(float)]
    return rows.assign(text=rows["label"] + "\n" + rows["series"] + ": " + shares + "\n" + rows["n"])


def stain_sentence(stains: pd.DataFrame) -> str:
    """How well the strength measured on a tile follows the bin asked for."""
    parts = [
        f"{ATTRIBUTE[row.attribute].label.lower()} {row.spearman:.2f} ({int(row.n):,} tiles)"
        for row in stains.dropna(subset=["spearman"]).itertuples()
    ]
    if not parts:
        return ""
    what = "Stain strength asked for against measured, Spearman's rank correlation (1 = always in order): "
    return f'<p class="medi-note">{what}{"; ".join(parts)}.</p>'


def table_of(frame: pd.DataFrame) -> str:
    """All rows, with intervals in words."""
    got, real = (
        [interval_text(*row, digits=2) for row in frame[[f"{of}{name}" for name in AGREEMENT]].to_numpy(float)]
        for of in ("", "real_")
    )
    shown = frame.assign(value=frame["value"].map(display_name), got=got, real=real)
    titles = {"value": "Asked for", "group": "Tiles", "n": "n", "got": "Synthetic", "real": "Held-out real"}
    titles |= {"real_n": "n real", "real_patients": "Patients", "ratio": "Ratio", "chance": "Chance"}
    return table_html(shown, titles)
