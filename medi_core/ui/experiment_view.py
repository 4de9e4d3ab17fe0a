"""The experiment: choose cancer types, a shift and arms; see what changes, with intervals, and what one may say."""

import json
from collections.abc import Iterator, Sequence
from html import escape

import gradio as gr
import pandas as pd

from medi_core.errors import ReferenceSetError
from medi_core.figures.experiment_figure import experiment_figure
from medi_core.figures.labels import interval_text
from medi_core.metadata.schema import display_name
from medi_core.services.experiment import ExperimentService
from medi_core.services.experiment_config import (
    ARMS,
    CHOSEN_CENTERS,
    CORRELATION,
    DEFAULT_SIZE,
    LEAVE_ONE_OUT,
    LOW_DATA,
    MAX_RATIO,
    PRESETS,
    RANDOM_CENTERS,
    RARE_CENTER,
    SHORTCUT,
    ExperimentConfig,
)
from medi_core.services.experiment_result import ExperimentResult
from medi_core.services.streaming import stream
from medi_core.ui.glossary import term
from medi_core.ui.handlers import alert_html, progress_html, reported, write_download
from medi_core.ui.plot_view import build_plot
from medi_core.ui.runs import wire_run
from medi_core.ui.shared import Shared
from medi_core.ui.tables import table_html

INTRO = (
    f"Do synthetic tiles help? Train a linear {term('probe')} on the {term('features')} of some centers, test it on "
    f"others, with and without synthetic tiles. The {term('shift')} says which; a {term('shortcut')} is one of them. "
    f"All {term('arm', 'arms')} are tested on the same tiles; {term('interval', 'intervals')} hold patients and seeds."
)
NOTHING_YET = "Choose cancer types and a shift, then press Run: the accuracy of each arm at each center appears here."
SIZE_LABELS = {
    RARE_CENTER: "Training patients a class at the rare center",
    LOW_DATA: "Real training tiles a class",
    RANDOM_CENTERS: "Training centers, drawn by seed",
}
TAKES_CENTER = (LEAVE_ONE_OUT, RARE_CENTER)
TAKES_CENTERS = (CHOSEN_CENTERS, SHORTCUT, CORRELATION)
TABLE_COLUMNS = ("arm", "subgroup", "measure", "value", "ci_low", "ci_high", "n", "n_patients")
CHANGE_TITLES = {
    "arm": "Arm",
    "reference": "Over",
    "subgroup": "Center",
    "change": "Change",
    "n": "Tiles",
    "n_patients": "Patients",
    "n_changed": "Tiles that changed",
}
FIGURE_PX = 820


def build_experiment_view(shared: Shared) -> None:
    """Widgets, handlers, wiring of the experiment; it needs a reference set, and says so where there is none."""
    service = shared.services.experiment

    # ---------------------------------------------------------------- widgets
    gr.HTML(f'<p class="medi-note">{INTRO}</p>', padding=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            types = gr.Dropdown([], multiselect=True, label="Cancer types (at least 2)", elem_id="experiment-types")
            preset = gr.Dropdown(list(PRESETS), value=LEAVE_ONE_OUT, label="Shift", info=PRESETS[LEAVE_ONE_OUT])
            center = gr.Dropdown([("each in turn, or the best supported", "")], value="", label="Center")
            centers = gr.Dropdown([], multiselect=True, label="Training centers", visible=False)
            size = gr.Number(1, label=SIZE_LABELS[RARE_CENTER], precision=0, minimum=1, visible=False)
            correlation = gr.Slider(0, 1, value=1, step=0.25, label="Correlation", visible=False, buttons=[])
            arms = gr.CheckboxGroup(list(ARMS), value=list(ARMS), label="Arms")
            ratio = gr.Slider(0, MAX_RATIO, value=1, step=0.25, label="Tiles to add for each real one", buttons=[])
            num_seeds = gr.Slider(1, 20, value=5, step=1, label="Seeds", buttons=[])
            held_out = gr.Checkbox(False, label="Test only patients that the generator never saw")
            with gr.Row():
                run = gr.Button("Run", variant="primary", elem_id="experiment-run")
                cancel = gr.Button("Cancel", interactive=False)
        with gr.Column(scale=7, min_width=320):
            status = gr.HTML("", padding=False, elem_id="experiment-status")
            said = gr.HTML(f'<p class="medi-note">{NOTHING_YET}</p>', padding=False, elem_id="experiment-said")
            plot = build_plot("Accuracy of each arm by center, with intervals", "experiment-plot", FIGURE_PX)
            with gr.Row():
                as_csv = gr.DownloadButton("Download accuracy (CSV)", size="sm", visible=False)
                changes_csv = gr.DownloadButton("Download changes (CSV)", size="sm", visible=False)
                as_json = gr.DownloadButton("Download all (JSON)", size="sm", visible=False)
            table = gr.Dataframe(
                headers=list(TABLE_COLUMNS),
                interactive=False,
                label="Accuracy",
                visible=False,
                elem_id="experiment-table",
            )
            changes = gr.HTML("", padding=False, elem_id="experiment-changes")
    is_dark = gr.State(False)

    # --------------------------------------------------------------- handlers
    @reported
    def on_sight(event: gr.EventData):
        try:
            names, chosen = _types_and_default(service.cells())
        except ReferenceSetError as error:  # nothing to run on: the place of the result says why
            return gr.skip(), gr.skip(), gr.skip(), event.dark, alert_html(error)
        return gr.update(choices=names, value=chosen), *_center_choices(service, chosen), event.dark, ""

    @reported
    def on_types(chosen: list[str]):
        return _center_choices(service, chosen)

    def on_preset(name: str):
        return (
            gr.update(info=PRESETS[name]),
            gr.update(visible=name in TAKES_CENTER),
            gr.update(visible=name in TAKES_CENTERS),
            gr.update(visible=name in SIZE_LABELS, label=SIZE_LABELS.get(name, ""), value=DEFAULT_SIZE.get(name, 1)),
            gr.update(visible=name == CORRELATION),
        )

    @reported
    def on_run(dark: bool, *settings) -> Iterator:
        config = _config(*settings)
        rest = [gr.skip()] * 7
        yield progress_html(0, 1, "Starting"), *rest
        for report in stream(lambda emit: service.run(config, lambda *done: emit(done))):
            if isinstance(report, tuple):
                yield progress_html(*report, "Training and testing"), *rest
        yield "", *_shown(report, dark)

    # ----------------------------------------------------------------- wiring
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    plot.focus(on_sight, None, [types, center, centers, is_dark, status], **quiet)
    types.input(on_types, types, [center, centers], **quiet)
    preset.input(on_preset, preset, [preset, center, centers, size, correlation], **quiet)
    wire_run(
        run,
        cancel,
        status,
        on_run,
        [is_dark, types, preset, center, centers, size, correlation, arms, ratio, num_seeds, held_out],
        [status, said, plot, table, as_csv, as_json, changes, changes_csv],
        shown=status,
        queue="experiment",
    )


def said_html(result: ExperimentResult) -> str:
    """The sentences that the numbers allow; then what limits them, the mark of the generator first."""
    sentences = "".join(f"<li>{escape(display_name(line))}</li>" for line in result.sentences())
    mark, *others = result.limits()
    kind = "clean" if result.is_clean else "in-sample generator"
    limits = "".join(f"<li>{escape(display_name(line))}</li>" for line in others)
    more = f"<details><summary>What limits these numbers</summary><ul>{limits}</ul></details>" if others else ""
    return f'<p data-generator="{kind}"><strong>{escape(mark)}</strong></p><ul>{sentences}</ul>{more}'


def changes_html(result: ExperimentResult) -> str:
    """Each paired change, of all centers, the worst, the gap and each center, with its interval, folded away."""
    rows = result.differences
    if rows.empty:
        return ""
    ends = rows[["value", "ci_low", "ci_high"]].itertuples(index=False, name=None)
    told = rows.assign(change=[interval_text(*numbers) for numbers in ends])
    return f"<details><summary>Paired changes</summary>{table_html(told, CHANGE_TITLES)}</details>"


def _shown(result: ExperimentResult, dark: bool) -> tuple:
    """Sentences, figure, table, CSV and JSON; the table of changes and its CSV."""
    figure = experiment_figure(result.accuracy, dark)
    figure.update_layout(height=None)
    numbers = result.accuracy[list(TABLE_COLUMNS)].round(3)
    csv = write_download("medi-experiment.csv", result.accuracy.to_csv(index=False).encode())
    changes = write_download("medi-experiment-changes.csv", result.differences.to_csv(index=False).encode())
    text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    whole = write_download("medi-experiment.json", text.encode())
    return (
        said_html(result),
        figure.to_json(),
        gr.update(value=numbers, visible=True),
        gr.update(value=csv, visible=True),
        gr.update(value=whole, visible=True),
        changes_html(result),
        gr.update(value=changes, visible=True),
    )


def _config(
    types: Sequence[str],
    preset: str,
    center: str,
    centers: Sequence[str],
    size: float | None,
    correlation: float,
    arms: Sequence[str],
    ratio: float,
    num_seeds: float,
    held_out: bool,
) -> ExperimentConfig:
    """Widget values → config; what the preset does not show is not passed on."""
    return ExperimentConfig(
        cancer_types=tuple(types or ()),
        preset=preset,
        arms=tuple(arms or ()),
        training_centers=tuple(centers or ()) if preset in TAKES_CENTERS else (),
        center=(center or None) if preset in TAKES_CENTER else None,
        size=int(size) if size is not None and preset in SIZE_LABELS else None,
        correlation=correlation,
        ratio=ratio,
        num_seeds=int(num_seeds),
        held_out_only=held_out,
    )


def _types_and_default(cells: pd.DataFrame) -> tuple[list[tuple[str, str]], list[str]]:
    """All cancer types, and the two that most centers share, then with most patients at them."""
    at = cells[cells["n_patients"] > 0].groupby("cancer_type")["center"].agg(set)
    patients = cells.groupby("cancer_type")["n_patients"].sum()
    names = sorted(cells["cancer_type"].unique())
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if a in at and b in at]
    best = max(pairs, key=lambda pair: (len(at[pair[0]] & at[pair[1]]), patients[list(pair)].min()), default=())
    return [(display_name(name), name) for name in names], list(best)


def _center_choices(service: ExperimentService, chosen: Sequence[str]) -> tuple:
    """Choices of the two center controls: centers of these cancer types, with their patients."""
    cells = service.cells()
    patients = cells[cells["cancer_type"].isin(chosen or ())].groupby("center")["n_patients"].sum()
    options = [(f"{name} ({num} patients)", name) for name, num in patients.items()]
    return (
        gr.update(choices=[("each in turn, or the best supported", ""), *options], value=""),
        gr.update(choices=options, value=[]),
    )
