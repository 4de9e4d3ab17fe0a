"""The administrator's part of the Review tab: unlock, make a study, follow it, close it, read its results.

Every handler asks for the session's unlocked state, which lives on the server: a browser cannot send it.
"""

import secrets
import tempfile
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path

import gradio as gr

from medi_core.errors import InvalidRequestError
from medi_core.figures.review_figures import heat_figure, realism_figure, subgroup_figure
from medi_core.metadata.schema import display_name
from medi_core.metadata.vocabulary import Vocabulary, count
from medi_core.review.review_store import Study
from medi_core.review.study import DISPLAY_PX, MAX_ITEMS, StudyDesign
from medi_core.review.tasks import TASKS
from medi_core.services.streaming import stream
from medi_core.services.studies import StudyService
from medi_core.services.study_answers import export_zip
from medi_core.services.study_results import study_results
from medi_core.storage import volatile_reason
from medi_core.ui.handlers import progress_html, reported, write_download
from medi_core.ui.plot_view import build_plot
from medi_core.ui.review_results import progress_table, results_html
from medi_core.ui.runs import wire_run
from medi_core.ui.shared import Shared

SWITCHED_OFF = (
    "Administration in the app is off. To switch it on, start with the environment variable MEDI_ADMIN_PASSPHRASE set; "
    "or use the command line: <code>python -m medi_core review --help</code>."
)
WRONG_SECONDS = 1.0
"""A wrong passphrase waits: guessing is slow."""
PRIVATE = {"api_visibility": "private"}


def build_review_admin(shared: Shared) -> None:
    """Widgets, handlers, wiring."""
    settings, service = shared.services.settings, shared.services.studies
    if not settings.admin_passphrase:
        gr.HTML(f'<p class="medi-note">{SWITCHED_OFF}</p>', padding=False)
        return
    is_admin = gr.State(False)
    with gr.Row(elem_id="review-unlock"):
        passphrase = gr.Textbox(label="Passphrase", type="password", scale=3)
        unlock = gr.Button("Unlock", scale=1)
    with gr.Column(visible=False) as inside:
        if reason := volatile_reason(settings.data_dir):
            text = f"Answers will be lost: {escape(reason)}. Set MEDI_DATA_DIR to a disk or a mounted volume."
            gr.HTML(f'<p role="alert"><b>{text}</b></p>', padding=False)
        chosen = _build_studies(service, is_admin)
        _build_new(service, shared.services.checkpoint.vocabulary, is_admin, chosen)

    @reported
    def on_unlock(given: str):
        if not secrets.compare_digest((given or "").encode(), settings.admin_passphrase.encode()):
            time.sleep(WRONG_SECONDS)
            raise InvalidRequestError("this is not the passphrase that the app was started with")
        shown = gr.update(visible=True)
        return True, shown, gr.update(visible=False), gr.update(visible=False), _study_choices(service)

    unlock_outputs = [is_admin, inside, passphrase, unlock, chosen]
    gr.on([unlock.click, passphrase.submit], on_unlock, passphrase, unlock_outputs, **PRIVATE)


def _build_new(service: StudyService, vocabulary: Vocabulary, is_admin: gr.State, chosen: gr.Dropdown) -> None:
    """The form of a new study."""
    off = service.unavailable_tasks()
    values = {
        name: [(display_name(v), v) for v in vocabulary.values.get(name, ())] for name in ("cancer_type", "center")
    }
    with gr.Accordion("New study", open=False, elem_id="review-new"):
        name = gr.Textbox(label="Name (readers see it)", max_length=80)
        tasks = gr.CheckboxGroup([(t.label, n) for n, t in TASKS.items() if n not in off], label="Tasks")
        if off:
            gr.CheckboxGroup(
                [(TASKS[n].label, n) for n in off],
                label="Not available now",
                info="; ".join(dict.fromkeys(off.values())),
                interactive=False,
                elem_id="review-off-tasks",
            )
        with gr.Row():
            num_tiles = gr.Number(40, label="Tiles", precision=0, minimum=2, maximum=MAX_ITEMS)
            has_real = service.has_real_tiles
            share_real = gr.Slider(0, 1, 0.5 if has_real else 0, step=0.05, label="Share of real tiles", buttons=[])
            share_real.interactive = has_real
            repeats = gr.Number(0, label="Shown twice", precision=0, minimum=0)
            pairs = gr.Number(10, label="Pairs (if asked)", precision=0, minimum=1)
            practice = gr.Number(4, label="Practice tiles", precision=0, minimum=0, maximum=20)
        types = gr.Dropdown(values["cancer_type"], multiselect=True, label="Cancer types (none: the best supported)")
        centers = gr.Dropdown(values["center"], multiselect=True, label="Centers (none: those each type was seen with)")
        with gr.Row():
            seed = gr.Number(0, label="Seed", precision=0, minimum=0)
            low, high = DISPLAY_PX
            display = gr.Slider(low, high, value=384, step=32, label="Largest size on the screen, px", buttons=[])
        with gr.Row():
            create = gr.Button("Make the study", variant="primary", elem_id="review-create")
            cancel = gr.Button("Cancel", interactive=False)
        status = gr.HTML("", padding=False, elem_id="review-new-status")

    @reported
    def on_create(admin: bool, *given) -> Iterator:
        _require(admin)
        design = _design(*given)
        yield progress_html(0, 1, "Drawing tiles"), gr.skip()
        for report in stream(lambda emit: service.create(design, lambda *done: emit(done))):
            if isinstance(report, tuple):
                yield progress_html(*report, "Rendering tiles"), gr.skip()
        yield _made_html(report), _study_choices(service, report.id)

    form = [name, tasks, num_tiles, share_real, types, centers, repeats, pairs, practice, seed, display]
    wire_run(create, cancel, status, on_create, [is_admin, *form], [status, chosen], shown=status)


def _build_studies(service: StudyService, is_admin: gr.State) -> gr.Dropdown:
    """What is there: follow, close, read; returns the choice of a study."""
    chosen = gr.Dropdown([], label="Study", elem_id="review-study")
    state = gr.HTML("", padding=False, elem_id="review-progress")
    with gr.Row():
        refresh = gr.Button("Refresh", size="sm")
        results = gr.Button("Show results", size="sm", elem_id="review-show-results")
        backup = gr.Button("Make a backup", size="sm")
        as_backup = gr.DownloadButton("Download backup", size="sm", visible=False)
    with gr.Row():
        sure = gr.Checkbox(label="Close it for good: no more answers, origins are revealed", elem_id="review-sure")
        close = gr.Button("Close the study", size="sm", variant="stop", elem_id="review-close")
    numbers = gr.HTML("", padding=False, elem_id="review-numbers")
    with gr.Column(visible=False) as drawn:
        realism, subgroups, heat = (
            build_plot(label, f"review-{name}", height)
            for label, name, height in (
                ("Realism of real and synthetic tiles", "realism", 320),
                ("Accuracy by subgroup", "subgroups", 420),
                ("Where artefacts were marked", "heat", 360),
            )
        )
    as_zip = gr.DownloadButton("Download answers, codebook and results (zip)", size="sm", visible=False)

    @reported
    def on_choice(admin: bool, study_id: str | None):
        _require(admin)
        if not study_id:
            return ""
        study = service.store.study(study_id)
        return progress_table(study, service.progress(study_id))

    @reported
    def on_close(admin: bool, is_sure: bool, study_id: str | None):
        _require(admin)
        if not is_sure:
            raise InvalidRequestError("closing cannot be undone: tick the box beside the button first")
        service.close(_chosen(study_id))
        return False, on_choice(admin, study_id), _study_choices(service, study_id)

    @reported
    def on_results(admin: bool, study_id: str | None):
        _require(admin)
        study = service.store.study(_chosen(study_id))
        rows = service.store.revealed(study.id)
        answer = study_results(study, rows)
        file = write_download(f"review-{study.id}.zip", export_zip(answer, rows))
        html = results_html(answer, lambda item: service.store.review_item(item).images)
        return html, gr.update(visible=True), *_figures(answer), gr.update(visible=True, value=file)

    @reported
    def on_backup(admin: bool):
        _require(admin)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "review.sqlite3"
            service.backup(copy)
            file = write_download("medi-review-backup.sqlite3", copy.read_bytes())
        return gr.update(visible=True, value=file)

    quiet = PRIVATE | {"show_progress": "hidden"}
    chosen.change(on_choice, [is_admin, chosen], state, **quiet)
    refresh.click(on_choice, [is_admin, chosen], state, **quiet)
    close.click(on_close, [is_admin, sure, chosen], [sure, state, chosen], **PRIVATE)
    results.click(on_results, [is_admin, chosen], [numbers, drawn, realism, subgroups, heat, as_zip], **PRIVATE)
    backup.click(on_backup, is_admin, as_backup, **PRIVATE)
    return chosen


def _figures(answer: dict) -> list[str]:
    """Realism, subgroups and artefacts; "" for what was not asked."""
    rows = [row for row in answer["by_subgroup"] if row["task"] == answer["by_subgroup"][0]["task"]]
    heats = {kind: part["heat"] for kind, part in answer.get("artefacts", {}).items()}
    return [
        realism_figure(answer["realism"]["counts"]).to_json() if "realism" in answer else "",
        subgroup_figure(rows).to_json() if rows else "",
        heat_figure(heats).to_json() if heats else "",
    ]


def _design(name, tasks, num_tiles, share_real, types, centers, repeats, pairs, practice, seed, display) -> StudyDesign:
    numbers = {"tiles": num_tiles, "repeats": repeats, "pairs": pairs, "practice tiles": practice, "seed": seed}
    if empty := [label for label, value in numbers.items() if value is None]:
        raise InvalidRequestError(f"{', '.join(empty)}: enter a whole number")
    return StudyDesign(
        name=name or "",
        tasks=tuple(tasks or ()),
        num_tiles=int(num_tiles),
        share_real=float(share_real),
        cancer_types=tuple(types or ()),
        centers=tuple(centers or ()),
        num_repeats=int(repeats),
        num_pairs=int(pairs),
        num_practice=int(practice),
        seed=int(seed),
        display_px=int(display),
    )


def _require(is_admin: bool) -> None:
    if is_admin is not True:
        raise InvalidRequestError("unlock the administration first: this session is not, or no longer, unlocked")


def _chosen(study_id: str | None) -> str:
    if not study_id:
        raise InvalidRequestError("choose a study first")
    return study_id


def _study_choices(service: StudyService, selected: str | None = None):
    studies = service.studies()
    choices = [(f"{s.design.name} ({'closed' if s.closed_at else 'open'}, {s.created_at[:10]})", s.id) for s in studies]
    return gr.update(choices=choices, value=selected or (studies[0].id if studies else None))


def _made_html(study: Study) -> str:
    link = f"?tab=review&amp;study={escape(study.id)}"
    tiles = count(study.design.num_tiles, "tile") if study.design.tile_tasks else count(study.design.num_pairs, "pair")
    return (
        f'<p>Made with {tiles}. Give readers this link: <a href="{link}" id="review-link">{link}</a>, '
        f"or the study code <b>{escape(study.id)}</b>.</p>"
    )
