"""Audit: where a classifier is worst, from predictions of any model; click a cell to look inside."""

import time
from html import escape
from pathlib import Path

import gradio as gr

from medi_core.data.predictions import METADATA, PredictionSet
from medi_core.errors import MediError, UnknownValueError
from medi_core.figures.labels import title_of
from medi_core.figures.subgroup_heatmap import subgroup_heatmap
from medi_core.figures.subgroup_ranking import subgroup_ranking
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.services.audit import Audit, AuditConfig, available_measures, held_out
from medi_core.services.cohort import Cohort
from medi_core.services.subgroup_columns import TRUE, recorded_columns
from medi_core.ui.audit_tables import MEASURES, cell_html, measure_title, minimum_text, overall_html, ranking_html
from medi_core.ui.glossary import term
from medi_core.ui.handlers import alert_html, reported, write_download
from medi_core.ui.plot_view import build_plot
from medi_core.ui.shared import Shared

INTRO = (
    f"How right a classifier of tiles is in each {term('subgroup')}, and which is the {term('worst group')}, with the "
    f"number of tiles and patients behind every value. The measure to start with is {term('balanced accuracy')}; where "
    f"a subgroup has one true class only, its value is the {term('recall')} of that class and is called so."
)
FORMAT = (
    "One row a tile: <code>tile</code> (the id of a tile of the reference set; the map's selection has them), "
    "<code>true</code>, and <code>predicted</code> and/or a column <code>p:&lt;class&gt;</code> with the probability "
    "of each class. What the reference set knows of a tile is joined; for tiles of your own give "
    f"<code>patient_id</code> and what you know of: {', '.join(METADATA)}."
)
NOTHING = (
    "No predictions come with this app. Upload those of a model of your own to audit it, or, in the tab Data, tiles of "
    "your own to audit the classifier of this app on them."
)
NO_COLUMN, ALL_TILES, HELD_OUT = "", "all", "held out"
START_MEASURE = "balanced_accuracy"


def build_audit_view(shared: Shared) -> None:
    """Widgets, handlers, wiring of the audit."""
    service, attached = shared.services.audit, shared.services.embedding.attached
    vocabulary = shared.services.checkpoint.vocabulary

    # ---------------------------------------------------------------- widgets
    gr.HTML(f'<p class="medi-note">{INTRO}</p>', padding=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            source = gr.HTML("", padding=False, elem_id="audit-source")
            upload = gr.File(
                label="Predictions of your model (CSV)",
                file_types=[".csv"],
                elem_id="audit-upload",
                height=170,
            )
            with gr.Accordion("What the CSV holds", open=False):
                gr.HTML(FORMAT, padding=False)
            measure = gr.Dropdown([], label="Measure", elem_id="audit-measure")
            rows = gr.Dropdown([], label="Subgroups by", elem_id="audit-rows")
            columns = gr.Dropdown([], label="crossed with", elem_id="audit-columns")
            tiles = gr.Radio([("All", ALL_TILES), ("Test split", HELD_OUT)], value=ALL_TILES, label="Tiles")
            min_tiles = gr.Slider(1, 200, value=20, step=1, label="Ranked from so many tiles", buttons=[])
            min_patients = gr.Slider(1, 50, value=3, step=1, label="and so many patients", buttons=[])
        with gr.Column(scale=7, min_width=320):
            overall = gr.HTML("", padding=False, elem_id="audit-overall")
            plot = build_plot("A measure by subgroup", "audit-plot", 560)
    with gr.Column(visible=False) as inside:
        cell = gr.HTML("", padding=False, elem_id="audit-cell")
        with gr.Row(visible=False) as offers:
            to_generate = gr.Button("Generate tiles of this cell", size="sm")
            to_plan = gr.Button("Plan to fill this cell", size="sm")
    ranking = gr.HTML("", padding=False, elem_id="audit-ranking")
    as_csv = gr.DownloadButton("Download table (CSV)", size="sm", visible=False)
    predictions, is_dark, cell_record = gr.State(None), gr.State(False), gr.State({})

    # --------------------------------------------------------------- handlers
    def on_sight(own: PredictionSet | None, event: gr.EventData):
        try:
            found = own or service.shipped()
        except MediError as error:  # there is nothing to audit, and the view says why
            return None, event.dark, alert_html(error), *[gr.skip()] * 4
        text = NOTHING if found is None else _described(found)
        return found, event.dark, text, *(_choices(found) if found else [gr.skip()] * 4)

    @reported
    def on_upload(file: str):
        found = service.read(Path(file))
        return found, _described(found), *_choices(found)

    @reported
    def on_clear():
        """Back to what comes with the app, if anything does."""
        found = service.shipped()
        return (found, _described(found), *_choices(found)) if found else (None, NOTHING, *[gr.skip()] * 4)

    @reported
    def on_own(own: PredictionSet | None):
        """The visitor's cohort, classified; without one, as if an upload was removed."""
        return (own, _described(own), *_choices(own)) if own else on_clear()

    @reported
    def on_audit(found: PredictionSet | None, dark: bool, measure, rows, columns, tiles, min_tiles, min_patients):
        if found is None:
            return "", "", "", gr.update(visible=False), gr.update(visible=False)
        chosen = held_out(found) if tiles == HELD_OUT else found
        audit = service.audit(chosen, _by(rows, columns), AuditConfig(measure, int(min_tiles), int(min_patients)))
        file = write_download("medi-audit.csv", audit.subgroups.to_csv(index=False).encode())
        shown = overall_html(chosen, audit), _figure(audit, dark), ranking_html(audit)
        return *shown, gr.update(visible=True, value=file), gr.update(visible=False)

    @reported
    def on_cell(found: PredictionSet, measure, rows, columns, tiles, cohort: Cohort | None, event: gr.EventData):
        chosen, by = held_out(found) if tiles == HELD_OUT else found, _by(rows, columns)
        subgroup = [str(value) for value in event.point]
        cell = service.cell(chosen, by, subgroup, AuditConfig(measure))
        record = _record(vocabulary, dict(zip(by, subgroup, strict=True)))
        offered = gr.update(visible=bool(record))
        image_of = (cohort.attached if cohort else attached).image
        return gr.update(visible=True), cell_html(cell, image_of), offered, record

    # ----------------------------------------------------------------- wiring
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    settings = [measure, rows, columns, tiles]
    audit = {
        "fn": on_audit,
        "inputs": [predictions, is_dark, *settings, min_tiles, min_patients],
        "outputs": [overall, plot, ranking, as_csv, inside],
        "api_visibility": "private",
        "show_progress": "minimal",
        "show_progress_on": overall,
    }
    # one after the other: what comes with the app must not arrive after an upload and take its place
    in_order = {"concurrency_id": "audit source", "concurrency_limit": 1}
    chosen = [predictions, source, *settings]
    own, first = shared.own_predictions, [predictions, is_dark, source, *settings]
    plot.focus(on_sight, own, first, **quiet, **in_order).then(**audit)
    upload.upload(on_upload, upload, chosen, api_visibility="private", show_progress_on=source, **in_order).success(
        **audit
    )
    own.change(on_own, own, chosen, **quiet, **in_order).success(**audit)
    upload.clear(on_clear, None, chosen, **quiet, **in_order).success(**audit)
    gr.on(
        [*(control.input for control in settings), min_tiles.release, min_patients.release],
        trigger_mode="always_last",
        **audit,
    )
    plot.click(
        on_cell,
        [predictions, *settings, shared.cohort],
        [inside, cell, offers, cell_record],
        scroll_to_output=True,
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=cell,
    )
    for button, state, tab in (
        (to_generate, shared.generate_record, "generate"),
        (to_plan, shared.plan_cell, "augment"),
    ):
        # the time makes the same cell, handed over again, a change
        button.click(lambda record: (record, time.time()), cell_record, state, **quiet).then(
            lambda tab=tab: gr.Tabs(selected=tab), None, shared.tabs, **quiet
        )


def _described(predictions: PredictionSet) -> str:
    return (
        f"<b>{escape(predictions.model)}</b>: {len(predictions.tiles):,} tiles, {len(predictions.classes)} classes, "
        f"{'with' if predictions.probabilities is not None else 'without'} probabilities."
    )


def _choices(predictions: PredictionSet) -> list[object]:
    """Updates of measure, rows, columns and tiles: what these predictions allow, at its start values."""
    names = recorded_columns(predictions.tiles)
    choices = [("true class" if name == TRUE else title_of(name), name) for name in names]
    rows = "cancer_type" if "cancer_type" in names else TRUE
    columns = "center" if "center" in names else NO_COLUMN
    measures = [(MEASURES[name], name) for name in MEASURES if name in available_measures(predictions)]
    return [
        gr.Dropdown(measures, value=START_MEASURE),
        gr.Dropdown(choices, value=rows),
        gr.Dropdown([("nothing", NO_COLUMN), *choices], value=columns),
        ALL_TILES,
    ]


def _figure(audit: Audit, dark: bool) -> str:
    """A heat map of two attributes, dots of one, as JSON."""
    title, table = measure_title(audit), audit.subgroups
    if len(audit.by) == 2:
        return subgroup_heatmap(table, *audit.by, title, minimum_text(audit), dark).to_json()
    return subgroup_ranking(table, list(audit.by), audit.overall, title, minimum_text(audit), dark).to_json()


def _by(rows: str, columns: str) -> tuple[str, ...]:
    return (rows,) if columns in (NO_COLUMN, rows) else (rows, columns)


def _record(vocabulary: Vocabulary, values: dict[str, str]) -> dict[str, str]:
    """Cancer type and center of a cell, to ask this checkpoint for; empty if it does not know them."""
    asked = {name: values[name] for name in ("cancer_type", "center") if name in values}
    try:
        vocabulary.encode(MetadataRecord(**asked))
    except UnknownValueError:
        return {}
    return asked
