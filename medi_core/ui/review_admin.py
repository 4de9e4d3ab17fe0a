"""The administrator's part of the Review tab: unlock, make a study, follow it, close it, read its results.

Every handler asks for the session's unlocked state, which lives on the server: a browser cannot send it.
"""

import asyncio
import secrets
import tempfile
from html import escape
from pathlib import Path

import gradio as gr

from medi_core.errors import InvalidRequestError
from medi_core.figures.review_figures import heat_figure, realism_figure, roc_figure, subgroup_figure
from medi_core.services.studies import StudyService
from medi_core.services.study_answers import export_zip
from medi_core.services.study_results import POOLED, study_results
from medi_core.storage import volatile_reason
from medi_core.ui.handlers import reported, write_download
from medi_core.ui.links import link_js
from medi_core.ui.plot_view import build_plot
from medi_core.ui.review_new_study import build_new_study, require_admin, study_choices
from medi_core.ui.review_results import progress_table, results_html
from medi_core.ui.shared import Shared

SWITCHED_OFF = (
    "Administration in the app is off. To switch it on, start with the environment variable MEDI_ADMIN_PASSPHRASE set; "
    "or use the command line: <code>python -m medi_core review --help</code>."
)
WRONG_SECONDS = 1.0
"""A wrong passphrase waits, and the next attempt waits for it: guessing is slow, and holds no thread of a reader's."""
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
        build_new_study(service, shared.services.checkpoint.vocabulary, is_admin, chosen)

    @reported
    async def on_unlock(given: str):
        if not secrets.compare_digest((given or "").encode(), settings.admin_passphrase.encode()):
            await asyncio.sleep(WRONG_SECONDS)
            raise InvalidRequestError("this is not the passphrase that the app was started with")
        shown = gr.update(visible=True)
        return True, shown, gr.update(visible=False), gr.update(visible=False), study_choices(service)

    unlock_outputs = [is_admin, inside, passphrase, unlock, chosen]
    gr.on([unlock.click, passphrase.submit], on_unlock, passphrase, unlock_outputs, concurrency_limit=1, **PRIVATE)


def _build_studies(service: StudyService, is_admin: gr.State) -> gr.Dropdown:
    """What is there: follow, close, read; returns the choice of a study."""
    chosen = gr.Dropdown([], label="Study", elem_id="review-study")
    link = gr.Textbox(label="Link for its readers", interactive=False, buttons=["copy"], elem_id="review-link")
    state = gr.HTML("", padding=False, elem_id="review-progress")
    with gr.Row():
        refresh = gr.Button("Refresh", size="sm")
        results = gr.Button("Show results", size="sm", elem_id="review-show-results")
        backup = gr.Button("Make a backup", size="sm")
        as_backup = gr.DownloadButton("Download backup", size="sm", visible=False)
    with gr.Row():
        sure = gr.Checkbox(label="Close it for good: no more answers, origins are revealed", elem_id="review-sure")
        close = gr.Button("Close the study", size="sm", variant="stop", elem_id="review-close")
    _build_delete(service, is_admin, chosen, state)
    numbers = gr.HTML("", padding=False, elem_id="review-numbers")
    with gr.Column(visible=False) as drawn:
        roc, realism, subgroups, heat = (
            build_plot(label, f"review-{name}", height)
            for label, name, height in (
                ("ROC curves of telling synthetic from real", "roc", 460),
                ("Realism of real and synthetic tiles", "realism", 320),
                ("Accuracy by subgroup", "subgroups", 420),
                ("Where artefacts were marked", "heat", 360),
            )
        )
    as_zip = gr.DownloadButton("Download answers, codebook and results (zip)", size="sm", visible=False)

    @reported
    def on_choice(admin: bool, study_id: str | None):
        require_admin(admin)
        if not study_id:
            return ""
        study = service.store.study(study_id)
        return progress_table(study, service.progress(study_id))

    @reported
    def on_close(admin: bool, is_sure: bool, study_id: str | None):
        require_admin(admin)
        if not is_sure:
            raise InvalidRequestError("closing cannot be undone: tick the box beside the button first")
        service.close(_chosen(study_id))
        return False, on_choice(admin, study_id), study_choices(service, study_id)

    @reported
    def on_results(admin: bool, study_id: str | None):
        require_admin(admin)
        study = service.store.study(_chosen(study_id))
        rows = service.store.revealed(study.id)
        answer = study_results(study, rows)
        file = write_download(f"review-{study.id}.zip", export_zip(answer, rows))
        html = results_html(answer, lambda item: service.store.review_item(item).images)
        return html, gr.update(visible=True), *_figures(answer), gr.update(visible=True, value=file)

    @reported
    def on_backup(admin: bool):
        require_admin(admin)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "review.sqlite3"
            service.backup(copy)
            file = write_download("medi-review-backup.sqlite3", copy.read_bytes())
        return gr.update(visible=True, value=file)

    quiet = PRIVATE | {"show_progress": "hidden"}
    chosen.change(on_choice, [is_admin, chosen], state, **quiet)
    chosen.change(None, chosen, link, js=f"study => study ? ({link_js('review', ['study'])})(study) : ''", **PRIVATE)
    refresh.click(on_choice, [is_admin, chosen], state, **quiet)
    close.click(on_close, [is_admin, sure, chosen], [sure, state, chosen], **PRIVATE)
    results.click(on_results, [is_admin, chosen], [numbers, drawn, roc, realism, subgroups, heat, as_zip], **PRIVATE)
    backup.click(on_backup, is_admin, as_backup, **PRIVATE)
    return chosen


def _build_delete(service: StudyService, is_admin: gr.State, chosen: gr.Dropdown, state: gr.HTML) -> None:
    """Delete one reader; his id, typed out, and a tick are the confirmation."""
    with gr.Row():
        name = gr.Textbox(label="Reader id, as the list shows it", elem_id="review-delete-name")
        sure = gr.Checkbox(
            label="Delete this reader and all of his answers: cannot be undone", elem_id="review-delete-sure"
        )
        delete = gr.Button("Delete the reader", size="sm", variant="stop", elem_id="review-delete")

    @reported
    def on_delete_reader(admin: bool, is_sure: bool, study_id: str | None, reader: str):
        require_admin(admin)
        if not is_sure:
            raise InvalidRequestError("deleting cannot be undone: tick the box beside the button first")
        study = service.store.study(_chosen(study_id))
        service.delete_reader(study.id, reader or "")
        return "", False, progress_table(study, service.progress(study.id))

    delete.click(on_delete_reader, [is_admin, sure, chosen, name], [name, sure, state], **PRIVATE)


def _figures(answer: dict) -> list[str]:
    """ROC, realism, subgroups and artefacts; "" for what was not asked."""
    origin = answer.get("origin", {})
    judged = [row for row in answer["by_subgroup"] if row["measure"] == "accuracy"]
    rows = [row for row in judged if row["task"] == judged[0]["task"]]
    heats = {kind: part["heat"] for kind, part in answer.get("artefacts", {}).items()}
    return [
        roc_figure(origin["roc"], _aucs(origin)).to_json() if origin.get("roc") else "",
        realism_figure(answer["realism"]["counts"]).to_json() if "realism" in answer else "",
        subgroup_figure(rows).to_json() if rows else "",
        heat_figure(heats).to_json() if heats else "",
    ]


def _aucs(origin: dict) -> dict[str, dict]:
    """Reader → area under his curve; of the pooled curve; of the mean over readers."""
    own = {row["reader"]: row["auc"] for row in origin["by_reader"]}
    return own | {POOLED: origin["overall"]["auc_pooled"], "mean": origin["overall"]["auc"]}


def _chosen(study_id: str | None) -> str:
    if not study_id:
        raise InvalidRequestError("choose a study first")
    return study_id
