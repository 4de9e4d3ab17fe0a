"""The form of a new study, and what both parts of the administration need. Knows no reader."""

from collections.abc import Iterator
from html import escape

import gradio as gr

from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import display_name
from medi_core.metadata.vocabulary import Vocabulary, count
from medi_core.review.review_store import Study
from medi_core.review.study import DISPLAY_PX, MAX_EXAMPLES, MAX_ITEMS, StudyDesign, draw_seed
from medi_core.review.tasks import TASKS
from medi_core.services.streaming import stream
from medi_core.services.studies import StudyService
from medi_core.ui.handlers import progress_html, reported
from medi_core.ui.runs import wire_run


def build_new_study(service: StudyService, vocabulary: Vocabulary, is_admin: gr.State, chosen: gr.Dropdown) -> None:
    """Widgets, handler, wiring; `chosen` gets the study that was made."""
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
            examples = gr.Number(3, label="Examples beside a pair", precision=0, minimum=0, maximum=MAX_EXAMPLES)
            practice = gr.Number(4, label="Practice tiles", precision=0, minimum=0, maximum=20)
        types = gr.Dropdown(values["cancer_type"], multiselect=True, label="Cancer types (none: the best supported)")
        centers = gr.Dropdown(values["center"], multiselect=True, label="Centers (none: those each type was seen with)")
        with gr.Row():
            seed = gr.Number(None, label="Seed (empty: drawn at random)", precision=0, minimum=0)
            low, high = DISPLAY_PX
            display = gr.Slider(low, high, value=384, step=32, label="Largest size on the screen, px", buttons=[])
        with gr.Row():
            create = gr.Button("Make the study", variant="primary", elem_id="review-create")
            cancel = gr.Button("Cancel", interactive=False)
        status = gr.HTML("", padding=False, elem_id="review-new-status")

    @reported
    def on_create(admin: bool, *given) -> Iterator:
        require_admin(admin)
        design = design_of(*given)
        yield progress_html(0, 1, "Drawing tiles"), gr.skip()
        for report in stream(lambda emit: service.create(design, lambda *done: emit(done))):
            if isinstance(report, tuple):
                yield progress_html(*report, "Rendering tiles"), gr.skip()
        yield _made_html(report), study_choices(service, report.id)

    form = [name, tasks, num_tiles, share_real, types, centers, repeats, pairs, examples, practice, seed, display]
    wire_run(create, cancel, status, on_create, [is_admin, *form], [status, chosen], shown=status)


def require_admin(is_admin: bool) -> None:
    """Raises: InvalidRequestError where the session was not unlocked."""
    if is_admin is not True:
        raise InvalidRequestError("unlock the administration first: this session is not, or no longer, unlocked")


def study_choices(service: StudyService, selected: str | None = None):
    """An update of the choice of a study; the newest by default."""
    studies = service.studies()
    choices = [(f"{s.design.name} ({'closed' if s.closed_at else 'open'}, {s.created_at[:10]})", s.id) for s in studies]
    return gr.update(choices=choices, value=selected or (studies[0].id if studies else None))


def design_of(
    name, tasks, num_tiles, share_real, types, centers, repeats, pairs, examples, practice, seed, display
) -> StudyDesign:
    """The values of the form as a design.

    Raises:
        InvalidRequestError: an empty number, or as `StudyDesign`.
    """
    numbers = {"tiles": num_tiles, "repeats": repeats, "pairs": pairs, "examples": examples, "practice tiles": practice}
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
        num_examples=int(examples),
        num_practice=int(practice),
        seed=draw_seed() if seed is None else int(seed),
        display_px=int(display),
    )


def _made_html(study: Study) -> str:
    tiles = count(study.design.num_tiles, "tile") if study.design.tile_tasks else count(study.design.num_pairs, "pair")
    return f"<p>Made with {tiles}. Give readers the link above, or the study code <b>{escape(study.id)}</b>.</p>"
