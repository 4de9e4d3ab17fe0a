"""Augment: from "this subgroup is weak" to a plan of synthetic tiles, and the tiles themselves."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import gradio as gr
import pandas as pd

from medi_core.errors import MediError, ReferenceSetError
from medi_core.figures.plan_heatmaps import plan_heatmaps
from medi_core.metadata.schema import ATTRIBUTE, display_name
from medi_core.metadata.vocabulary import count
from medi_core.planning.plan import AugmentationPlan, plan_json
from medi_core.planning.targets import LIFT, MATCH, UNIFORM, WORST, Target
from medi_core.services.augmentation import CELL, Key, PlanConfig, plan_table
from medi_core.services.cohort import Cohort
from medi_core.services.dataset_generation import MAX_TILES_IN_APP, DatasetProgress
from medi_core.services.plan_tables import DEFAULT_NUM_WORST, read_shares, read_worst
from medi_core.services.streaming import stream
from medi_core.ui.glossary import term
from medi_core.ui.handlers import alert_html, progress_html, reported, session_folder, write_download
from medi_core.ui.links import build_link_button, restore
from medi_core.ui.plot_view import build_plot
from medi_core.ui.runs import wire_run
from medi_core.ui.shared import Shared
from medi_core.ui.tables import table_html

INTRO = (
    f"Count the tiles of each {term('subgroup')}, here called a cell, and plan the synthetic ones that balance them. A "
    f"cell whose {term('trust')}, as measured in Fidelity, is too low can be left out; it is listed with the reason."
)
TARGET_LABELS = {
    UNIFORM: "All cells alike",
    LIFT: "Lift the small ones",
    MATCH: "Match a distribution",
    WORST: "Only chosen cells",
}
TARGET_INFO = {
    UNIFORM: "Every cell comes to the same number of tiles.",
    LIFT: "Cells smaller than a quantile of all cells come to it.",
    MATCH: "Cells come to the shares of a table, with as few tiles as possible.",
    WORST: "The chosen cells come to the number of tiles below, the others stay as they are.",
}
NUMBER_TITLES = {
    "real_tiles": "Real tiles",
    "real_patients": "Patients",
    "support_patients": "Patients in training",
    "trust": "Trust",
    "planned_tiles": "Planned tiles",
    "left_out": "Left out",
}
TABLE_LABELS = {
    MATCH: "Shares (CSV with a column share)",
    WORST: f"Or an audit (CSV): its {DEFAULT_NUM_WORST} worst",
}
SEPARATOR = " | "
REFERENCE, COHORT = "reference", "cohort"
IS_DARK = "(_, ...rest) => [document.body.classList.contains('dark'), ...rest]"


def build_augment_tab(shared: Shared) -> None:
    """Widgets, handlers, wiring."""
    service, datasets = shared.services.augmentation, shared.services.datasets
    names = [name for name in shared.services.checkpoint.vocabulary.attributes if name in ATTRIBUTE]
    crossed = [name for name in CELL if name in names] or names[:1]

    # ---------------------------------------------------------------- widgets
    gr.HTML(f'<p class="medi-note">{INTRO}</p>', padding=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            choices = [(ATTRIBUTE[name].label, name) for name in names]
            source = gr.Radio(
                [("Training tiles of the reference set", REFERENCE), ("Your cohort", COHORT)],
                value=REFERENCE,
                label="Tiles to balance",
                visible=False,
                elem_id="augment-source",
            )
            by = gr.Dropdown(choices, value=crossed, multiselect=True, label="Subgroups by", elem_id="augment-by")
            target = gr.Radio(
                [(label, name) for name, label in TARGET_LABELS.items()],
                value=UNIFORM,
                label="Target",
                info=TARGET_INFO[UNIFORM],
                elem_id="augment-target",
            )
            level = gr.Number(
                0, label="Tiles a cell, real and synthetic (0: as the largest has)", precision=0, minimum=0
            )
            quantile = gr.Slider(0, 1, value=0.5, step=0.05, label="Quantile to lift to", visible=False, buttons=[])
            cells = gr.Dropdown([], multiselect=True, label="Cells to fill", visible=False, elem_id="augment-cells")
            given = gr.File(
                label=TABLE_LABELS[MATCH],
                file_types=[".csv"],
                type="filepath",
                height=140,
                visible=False,
                elem_id="augment-table-given",
            )
            cap = gr.Number(200, label="Synthetic tiles a cell, at most (0: no limit)", precision=0, minimum=0)
            ratio = gr.Slider(0, 4, value=1, step=0.05, label="Synthetic tiles per real one, at most", buttons=[])
            min_trust = gr.Slider(0, 1, value=0, step=0.05, label="Trust from", buttons=[])
            measured_only = gr.Checkbox(False, label="Leave out cells whose trust is not measured")
            empty = gr.Checkbox(False, label="Plan combinations without any tile, too")
            seed = gr.Number(0, label="Seed", precision=0, minimum=0)
            run = gr.Button("Plan", variant="primary", elem_id="augment-run")
            controls = {
                **{"by": by, "target": target, "level": level, "quantile": quantile, "cap": cap, "ratio": ratio},
                **{"min_trust": min_trust, "measured_only": measured_only, "empty": empty, "plan_seed": seed},
            }
            build_link_button("augment", controls)
        with gr.Column(scale=7, min_width=320):
            said = gr.HTML("", padding=False, elem_id="augment-said")
            plot = build_plot("Tiles of each cell, before and after the plan", "augment-plot", 620)
            with gr.Row():
                as_json = gr.DownloadButton("Download plan (JSON)", size="sm", visible=False)
                as_csv = gr.DownloadButton("Download table (CSV)", size="sm", visible=False)
            with gr.Row():
                make = gr.Button("Make these tiles", interactive=False, elem_id="augment-make")
                cancel = gr.Button("Cancel", interactive=False)
            status = gr.HTML("", padding=False, elem_id="augment-status")
            as_zip = gr.DownloadButton("Download the made tiles (ZIP)", visible=False, elem_id="augment-zip")
            table = gr.HTML("", padding=False, elem_id="augment-table")
    current = gr.State(None)
    is_dark = gr.Checkbox(visible=False)  # no state: the browser fills it in, also where the figure was never in sight

    # --------------------------------------------------------------- handlers
    @reported
    def on_sight(cohort: Cohort | None, source: str, event: gr.EventData, *settings):
        try:
            return event.dark, *shown(event.dark, cohort, source, *settings)
        except ReferenceSetError as error:  # nothing to count: its place says why
            return event.dark, alert_html(error), *[gr.skip()] * 8

    def on_plan(dark: bool, cohort: Cohort | None, source: str, *settings):
        try:
            return shown(dark, cohort, source, *settings)
        except MediError as error:  # an earlier plan beside it would pass for what was asked
            hidden = gr.update(visible=False)
            return alert_html(error), "", hidden, hidden, "", gr.skip(), None, gr.update(interactive=False), hidden

    def tiles_of(cohort: Cohort | None, source: str) -> pd.DataFrame:
        return cohort.tiles if source == COHORT and cohort is not None else service.training_tiles()

    def shown(dark: bool, cohort: Cohort | None, source: str, *settings) -> tuple:
        plan = service.plan(tiles_of(cohort, source), _config(*settings))
        names = [SEPARATOR.join(key) for key in keys_of(plan)]
        can_be_made = gr.update(interactive=0 < plan.num_tiles <= MAX_TILES_IN_APP)
        return *plan_shown(plan, dark), gr.update(choices=names), plan, can_be_made, gr.update(visible=False)

    @reported
    def on_make(plan: AugmentationPlan) -> Iterator:
        folder = session_folder()
        yield progress_html(0, plan.num_tiles, "Making tiles"), gr.update(visible=False)
        for report in stream(lambda emit: datasets.zip_of(plan, folder, emit)):
            if isinstance(report, DatasetProgress):
                yield progress_html(report.done, report.total, _with_time_left(report)), gr.skip()
        yield f"{count(plan.num_tiles, 'tile')} with their manifest.", gr.update(value=str(report), visible=True)

    def on_cohort(cohort: Cohort | None):
        return gr.update(visible=cohort is not None, value=REFERENCE if cohort is None else COHORT)

    @reported
    def on_cells(cohort: Cohort | None, source: str, by: list[str]):
        """Cells to choose from; of others than these none stays chosen."""
        keys = service.keys(tiles_of(cohort, source), by) if by else []
        return gr.update(choices=[SEPARATOR.join(key) for key in keys], value=[])

    def on_target(name: str):
        visible = (name in (UNIFORM, WORST), name == LIFT, name == WORST)
        table = gr.update(visible=name in TABLE_LABELS, label=TABLE_LABELS.get(name), value=None)
        return gr.update(info=TARGET_INFO[name]), *(gr.update(visible=is_shown) for is_shown in visible), table

    def on_cell(handed: tuple[dict[str, str], float]):
        """A cell of the audit: fill it, and nothing else, also where no tile of it is known."""
        values, cell = handed[0], SEPARATOR.join(handed[0].values())
        named = gr.update(choices=[cell], value=[cell], visible=True)
        return list(values), gr.update(value=WORST, info=TARGET_INFO[WORST]), named

    def on_restore(request: gr.Request):
        query = dict(request.query_params)
        return restore(query, controls) if query.get("tab") == "augment" else [gr.skip()] * len(controls)

    # ----------------------------------------------------------------- wiring
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    settings = [
        shared.cohort,
        source,
        by,
        target,
        level,
        quantile,
        cells,
        given,
        cap,
        ratio,
        min_trust,
        measured_only,
        empty,
        seed,
    ]
    outputs = [said, plot, as_json, as_csv, table, cells, current, make, as_zip]
    plan = {
        "fn": on_plan,
        "inputs": [is_dark, *settings],
        "outputs": outputs,
        "js": IS_DARK,
        "api_visibility": "private",
        "show_progress": "minimal",
        "show_progress_on": said,
    }
    plot.focus(on_sight, settings, [is_dark, *outputs], **quiet)
    run.click(**plan)
    shared.cohort.change(on_cohort, shared.cohort, source, **quiet)
    wire_run(make, cancel, status, on_make, [current], [status, as_zip], shown=status)
    target.change(on_target, target, [target, level, quantile, cells, given], **quiet)
    gr.on([by.input, target.input, source.input], on_cells, [shared.cohort, source, by], cells, **quiet)
    shared.plan_cell.change(on_cell, shared.plan_cell, [by, target, cells], **quiet).then(**plan)
    gr.on(None, on_restore, None, list(controls.values()), **quiet)


def plan_shown(plan: AugmentationPlan, dark: bool) -> tuple:
    """Words, figure, JSON, CSV and table of a plan."""
    frame = plan_table(plan)
    figure = plan_heatmaps(frame, *plan.by[:2], dark).to_json() if len(plan.by) > 1 else ""
    return (
        said_html(plan),
        figure,
        gr.update(value=write_download("plan.json", plan_json(plan).encode()), visible=True),
        gr.update(value=write_download("plan.csv", frame.to_csv(index=False).encode()), visible=True),
        table_html(frame, {name: ATTRIBUTE[name].label for name in plan.by} | NUMBER_TITLES),
    )


def said_html(plan: AugmentationPlan) -> str:
    """How many tiles in how many cells, who is left out and why, and the command that makes them."""
    filled = sum(cell.planned_tiles > 0 for cell in plan.cells)
    real = sum(cell.real_tiles for cell in plan.cells)
    never = sum(cell.planned_tiles for cell in plan.cells if not cell.support_tiles)
    lines = [
        f"<b>{count(plan.num_tiles, 'synthetic tile')}</b> in {filled} of {count(len(plan.cells), 'cell')}, beside "
        f"{count(real, 'real tile')}. {plan.target['tiles_without_a_cell']:,} more real tiles are in no cell: an "
        "attribute is not recorded.",
    ]
    if never:
        lines.append(f"{never:,} of them are of values or pairs that the generator never saw in training.")
    unmeasured = sum(cell.planned_tiles > 0 and cell.trust is None for cell in plan.cells)
    if unmeasured:
        lines.append(f"In {count(unmeasured, 'cell')} of these the trust is not measured.")
    out = [cell for cell in plan.cells if cell.left_out]
    if out:
        named = "".join(
            f"<li>{escape(display_name(', '.join(cell.record.to_dict().values())))}: {escape(cell.left_out)}</li>"
            for cell in out
        )
        lines.append(f"<details><summary>{count(len(out), 'cell')} left out</summary><ul>{named}</ul></details>")
    command = "python -m medi_core generate-dataset plan.json --out tiles --format webdataset"
    if plan.num_tiles > MAX_TILES_IN_APP:
        lines.append(f"More than {MAX_TILES_IN_APP} are not made here: download the plan, then <code>{command}</code>")
    return "".join(f"<p>{line}</p>" if not line.startswith("<details") else line for line in lines)


def _with_time_left(progress: DatasetProgress) -> str:
    left = progress.seconds_left
    return "Making tiles" if left is None else f"Making tiles, about {count(max(1, round(left / 60)), 'minute')} left"


def keys_of(plan: AugmentationPlan) -> list[Key]:
    """The cells, fewest real tiles first: what one would fill."""
    ordered = sorted(plan.cells, key=lambda cell: cell.real_tiles)
    return [tuple(cell.record.to_dict()[name] for name in plan.by) for cell in ordered]


def _config(
    by: Sequence[str], target: str, level, quantile, cells, given, cap, ratio, min_trust, measured_only, empty, seed
) -> PlanConfig:
    """Widget values → config; 0 is no limit, and what the target does not show is not passed on.

    Args:
        given: path of the table of `TABLE_LABELS`, or `None`.
    """
    by, table = tuple(by or ()), Path(given) if given else None
    chosen = [tuple(cell.split(SEPARATOR)) for cell in cells or ()] if target == WORST else []
    if target == WORST and table:
        chosen += read_worst(table, by)
    return PlanConfig(
        by,
        Target(
            target,
            int(level or 0) or None if target in (UNIFORM, WORST) else None,
            quantile,
            int(cap or 0) or None,
            ratio=ratio,
        ),
        with_empty=empty,
        min_trust=min_trust,
        measured_only=measured_only,
        chosen=tuple(dict.fromkeys(chosen)),
        shares=read_shares(table, by) if target == MATCH and table else {},
        seed=int(seed or 0),
    )
