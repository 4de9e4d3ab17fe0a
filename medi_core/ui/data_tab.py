"""Data: a cohort of one's own, checked, looked at, and handed to the map, the audit and the plan."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from medi_core.data.manifest import COLUMNS
from medi_core.data.safe_zip import MAX_ZIP_BYTES
from medi_core.data.uploaded_rows import MAX_ROWS
from medi_core.errors import InvalidRequestError, ReferenceSetError
from medi_core.figures.labels import title_of
from medi_core.metadata.vocabulary import count
from medi_core.services.cohort import OFFERED, Cohort, Upload
from medi_core.services.cohort_preview import preview, recorded, stain_bins
from medi_core.services.cohort_use import MAX_ON_MAP, OwnTiles, classify_cohort, encode_cohort
from medi_core.services.streaming import stream
from medi_core.ui.cohort_view import report_html, subgroups_html
from medi_core.ui.handlers import progress_html, reported, session_folder, write_download
from medi_core.ui.runs import wire_run
from medi_core.ui.shared import CACHE_SECONDS, Shared

INTRO = (
    "Look at tiles of your own with everything that is here: a zip of images (JPEG or PNG, at least 128 px a side; the "
    "centre is used, or the tile at x, y) and <b>one table</b> (.csv, a row a tile), at most "
    f"{MAX_ZIP_BYTES / 1e6:.0f} MB and {MAX_ROWS:,} rows. Seen by you alone; deleted after an hour, or when you remove "
    "it or upload another one. For larger sets: <code>python -m medi_core data import --help</code>."
)
COLUMNS_NOTE = "Which column of your table is what. Guessed by name: correct what is wrong, then check."
FIRST = ("path", "cancer_type", "center", "preparation", "patient_id", "slide")
LABELS = {
    **{"path": "Image file", "x": "x of the tile in the image", "y": "y of the tile in the image"},
    **{"patient_id": "Patient", "mpp": "µm per px", "dataset": "Data set"},
}
NOT_MAPPED, NOTHING = "", ""
NO_COHORT = "there is no cohort: upload a zip and press Check first"
NO_UPLOAD = "there is no upload: choose a zip first"


def build_data_tab(shared: Shared) -> None:
    """Widgets, handlers, wiring of the tab."""
    services = shared.services
    service, vocabulary = services.cohort, services.checkpoint.vocabulary
    order = (*FIRST, *(name for name in OFFERED if name not in FIRST))

    # ---------------------------------------------------------------- widgets
    gr.HTML(f'<p class="medi-note">{INTRO}</p>', padding=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            upload = gr.File(label="Zip", file_types=[".zip"], type="filepath", height=170, elem_id="data-upload")
            with gr.Column(visible=False) as mapping:
                gr.HTML(f'<p class="medi-note">{COLUMNS_NOTE}</p>', padding=False)
                chosen = {name: _column(name) for name in FIRST}
                with gr.Accordion("More columns", open=False):
                    chosen |= {name: _column(name) for name in order if name not in FIRST}
                with gr.Row():
                    check = gr.Button("Check", variant="primary", elem_id="data-check", min_width=120)
                    cancel_check = gr.Button("Cancel", interactive=False, min_width=120)
        with gr.Column(scale=7, min_width=320):
            status = gr.HTML("", padding=False, elem_id="data-status")
            report = gr.HTML("", padding=False, elem_id="data-report")
    with gr.Column(visible=False) as checked:
        with gr.Row():
            by = gr.Dropdown([], label="Subgroups by", elem_id="data-by")
            across = gr.Dropdown([], label="crossed with", elem_id="data-across")
        subgroups = gr.HTML("", padding=False, elem_id="data-subgroups")
        with gr.Row():
            to_map = gr.Button("Place on the map", elem_id="data-to-map")
            to_audit = gr.Button("Audit the classifier on it", elem_id="data-to-audit")
            cancel = gr.Button("Cancel", interactive=False)
            as_csv = gr.DownloadButton("Download manifest (CSV)")
        used = gr.HTML("", padding=False, elem_id="data-used")
    unpacked = gr.State(None, time_to_live=CACHE_SECONDS, delete_callback=_delete)

    # --------------------------------------------------------------- handlers
    @reported
    def on_upload(path: str | None, before: Upload | None):
        if path is None:
            raise InvalidRequestError(NO_UPLOAD)
        found = _unpack(service, Path(path))
        _delete(before)
        guessed, columns = found.guess(), [("not in the table", NOT_MAPPED), *((name, name) for name in found.table)]
        updates = [gr.Dropdown(columns, value=guessed.get(name, NOT_MAPPED)) for name in order]
        note = f"{count(len(found.table), 'row')} in {found.csv.name}. Look at the columns, then press Check."
        return found, None, None, None, note, "", gr.update(visible=True), gr.update(visible=False), *updates

    def on_clear(before: Upload | None):
        _delete(before)
        return None, None, None, None, "", "", gr.update(visible=False), gr.update(visible=False)

    @reported
    def on_check(found: Upload | None, *columns: str) -> Iterator:
        if found is None:
            raise InvalidRequestError(NO_UPLOAD)
        column_of = {ours: theirs for ours, theirs in zip(order, columns, strict=True) if theirs}
        waiting = [gr.skip()] * 10
        yield progress_html(0, 1, "Starting"), *waiting
        for update in stream(lambda emit: service.check(found, column_of, lambda *done: emit(done))):
            if isinstance(update, tuple):
                yield progress_html(*update, "Reading images"), *waiting
        html = report_html(update, stain_bins(update, vocabulary), _num_on_map(shared, update))
        names = recorded(update)
        start = "cancer_type" if "cancer_type" in names else (names or [NOTHING])[0]
        second = "center" if "center" in names and start != "center" else NOTHING
        choices = [(title_of(name), name) for name in names]
        yield (
            *("", found, update, None, None, html, gr.update(visible=bool(names))),
            gr.Dropdown(choices, value=start),
            gr.Dropdown([("nothing", NOTHING), *choices], value=second),
            write_download("manifest.csv", _manifest_csv(update, found.folder)),
            on_preview(update, start, second) if names else "",
        )

    @reported
    def on_preview(cohort: Cohort | None, by: str, across: str):
        columns = [name for name in dict.fromkeys((by, across)) if name]
        return subgroups_html(columns, preview(_present(cohort), columns, vocabulary))

    @reported
    def on_map(cohort: Cohort | None) -> Iterator:
        services.reference.load_map()  # without a map, say so before the work
        cohort = _present(cohort)
        for update in stream(lambda emit: encode_cohort(services.encoding, cohort, lambda *done: emit(done))):
            if isinstance(update, OwnTiles):
                yield _placed(update, cohort), update
            else:
                yield progress_html(*update, "Encoding"), gr.skip()

    @reported
    def on_audit(cohort: Cohort | None) -> Iterator:
        cohort, classifier = _present(cohort), services.classification
        for update in stream(lambda emit: classify_cohort(classifier, cohort, lambda *done: emit(done))):
            if isinstance(update, tuple):
                yield progress_html(*update, "Classifying"), gr.skip()
        left_out = len(cohort.tiles) - len(update.tiles)
        note = f"{count(len(update.tiles), 'tile')} classified: see the tab Subgroup accuracy."
        yield note + (f" {left_out:,} are of a class that it does not know, or of none." if left_out else ""), update

    # ----------------------------------------------------------------- wiring
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    own = [unpacked, shared.cohort, shared.own_tiles, shared.own_predictions]
    cleared = [*own, status, report, mapping, checked]
    upload.upload(
        on_upload, [upload, unpacked], [*cleared, *(chosen[name] for name in order)], api_visibility="private"
    )
    upload.clear(on_clear, unpacked, cleared, **quiet)
    wire_run(
        check,
        cancel_check,
        status,
        on_check,
        [unpacked, *(chosen[name] for name in order)],
        [status, *own, report, checked, by, across, as_csv, subgroups],
        shown=status,
        queue="cohort",
    )
    gr.on(
        [by.input, across.input],
        on_preview,
        [shared.cohort, by, across],
        subgroups,
        api_visibility="private",
        show_progress_on=subgroups,
    )
    wire_run(to_map, cancel, used, on_map, [shared.cohort], [used, shared.own_tiles], shown=used)
    wire_run(to_audit, cancel, used, on_audit, [shared.cohort], [used, shared.own_predictions], shown=used)


def _column(name: str) -> gr.Dropdown:
    """Which column of the table is this one of ours."""
    return gr.Dropdown([("not in the table", NOT_MAPPED)], value=NOT_MAPPED, label=LABELS.get(name, title_of(name)))


def _unpack(service, path: Path) -> Upload:
    """Into a folder of the session; Gradio's own copy of the zip is deleted at once."""
    folder = session_folder()
    try:
        return service.unpack(path, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        path.unlink(missing_ok=True)


def _delete(upload: Upload | None) -> None:
    if upload is not None:
        upload.delete()


def _present(cohort: Cohort | None) -> Cohort:
    if cohort is None:
        raise InvalidRequestError(NO_COHORT)
    return cohort


def _num_on_map(shared: Shared, cohort: Cohort) -> int | None:
    try:
        return shared.services.embedding.num_known(cohort.attached)
    except ReferenceSetError:  # the map says so itself
        return None


def _placed(own: OwnTiles, cohort: Cohort) -> str:
    note = f"{count(len(own.tiles), 'tile')} placed: squares in the tab Map."
    if len(own.tiles) < len(cohort.tiles):
        note += f" At most {MAX_ON_MAP:,} are, one of each patient in turn."
    return note


def _manifest_csv(cohort: Cohort, folder: Path) -> bytes:
    """Rows that can be used, with paths as in the zip."""
    tiles = cohort.tiles.assign(path=[str(Path(path).relative_to(folder)) for path in cohort.tiles["path"]])
    return tiles.reindex(columns=COLUMNS).dropna(axis="columns", how="all").to_csv(index=False).encode()
