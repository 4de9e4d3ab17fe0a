"""Commands around blinded reviews: make a study, follow it, close it, read its results, delete it, back it up."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medi_core.commands.parsing import add_command, names, progress, settings_of

if TYPE_CHECKING:
    from medi_core.review.review_store import ReviewStore

# Heavy imports stand inside the commands that need them: `--help` answers at once.


def add_review_commands(commands) -> None:
    """review new, list, close, results, delete-reader, delete, backup."""
    review = commands.add_parser("review", help="blinded review by pathologists")
    actions = review.add_subparsers(required=True, metavar="COMMAND")
    _add_new(actions)
    for name, run, summary in (
        ("list", review_list, "studies, and how many answers each has"),
        ("close", review_close, "take no more answers of a study, and reveal it; cannot be undone"),
        ("results", review_results, "the numbers of a closed study, each with n and interval"),
        ("delete-reader", review_delete_reader, "delete a reader with all answers; cannot be undone"),
        ("delete", review_delete, "delete a study with its tiles, readers and answers; cannot be undone"),
        ("backup", review_backup, "copy all studies into one file, while readers go on"),
    ):
        command = add_command(actions, name, run, summary, text=results_text if name == "results" else None)
        command.add_argument("--data-dir", help="where studies are kept (default: MEDI_DATA_DIR)")
        if name in ("close", "results", "delete-reader", "delete"):
            command.add_argument("study", help="code of the study: review list")
        if name == "results":
            command.add_argument("--out", type=Path, help="also write answers, codebook and results as this zip")
        if name == "delete-reader":
            command.add_argument("reader", help="reader id: review list")
        if name in ("delete-reader", "delete"):
            command.add_argument("--yes", action="store_true", help="delete; without it, say what would be deleted")
        if name == "backup":
            command.add_argument("--out", type=Path, required=True, help="file to write")


def review_new(flags: argparse.Namespace) -> dict[str, Any]:
    """Draw, render and store a study."""
    import dataclasses

    from medi_core.bootstrap import build_services
    from medi_core.review.study import StudyDesign, draw_seed

    design = StudyDesign(
        name=flags.name,
        tasks=flags.tasks,
        num_tiles=flags.num_tiles,
        share_real=flags.share_real if flags.share_real is not None else 0.5 if flags.tiles else 0.0,
        cancer_types=tuple(flags.cancer_types),
        centers=tuple(flags.centers),
        num_repeats=flags.repeats,
        num_pairs=flags.pairs,
        num_examples=flags.examples,
        num_practice=flags.practice,
        seed=draw_seed() if flags.seed is None else flags.seed,
        display_px=flags.display_px,
    )
    given = {"tiles": flags.tiles or "", "data_dir": _data_dir(flags)}
    services = build_services(dataclasses.replace(settings_of(flags), **given))
    study = services.studies.create(design, progress(flags, "Rendering tiles"))
    return {"study": study.id, "link": f"?tab=review&study={study.id}", **study.made_with, "design": design.to_dict()}


def review_list(flags: argparse.Namespace) -> dict[str, Any]:
    """All studies, the newest first."""
    store = _store(flags)
    return {
        "studies": [
            {
                "study": study.id,
                "name": study.design.name,
                "created_at": study.created_at,
                "closed_at": study.closed_at,
                "readers": {reader["name"]: reader["answers"] for reader in store.progress(study.id)},
            }
            for study in store.studies()
        ]
    }


def review_close(flags: argparse.Namespace) -> dict[str, Any]:
    """Close a study for good."""
    store = _store(flags)
    store.close_study(flags.study)
    return {"study": flags.study, "closed_at": store.study(flags.study).closed_at}


def review_results(flags: argparse.Namespace) -> dict[str, Any]:
    """Numbers of a closed study; with `--out`, also the anonymous answers and their codebook."""
    from medi_core.services.study_answers import export_zip
    from medi_core.services.study_results import study_results
    from medi_core.storage import translate_write_errors

    store = _store(flags)
    study, rows = store.study(flags.study), store.revealed(flags.study)
    answer = study_results(study, rows)
    if flags.out is not None:
        with translate_write_errors(str(flags.out)):
            flags.out.write_bytes(export_zip(answer, rows))
    return answer


def review_delete_reader(flags: argparse.Namespace) -> dict[str, Any]:
    """Delete one reader of a study, and nothing of the others.

    Raises:
        InvalidRequestError: there is no such study or reader, or `--yes` was not given.
    """
    from medi_core.errors import InvalidRequestError

    store = _store(flags)
    store.study(flags.study)
    if not flags.yes and (known := store.reader(flags.study, flags.reader)):
        raise InvalidRequestError(
            f"{flags.reader!r} and {len(store.answers(known))} answers would be deleted, which cannot be undone: "
            "add --yes if that is wanted"
        )
    num = store.delete_reader(flags.study, flags.reader)
    return {"study": flags.study, "reader": flags.reader, "deleted_answers": num}


def review_delete(flags: argparse.Namespace) -> dict[str, Any]:
    """Delete one study, and nothing of the others.

    Raises:
        InvalidRequestError: there is no such study, or `--yes` was not given.
    """
    from medi_core.errors import InvalidRequestError

    store = _store(flags)
    study = store.study(flags.study)
    if not flags.yes:
        readers = store.progress(study.id)
        num = sum(reader["answers"] for reader in readers)
        raise InvalidRequestError(
            f"{study.design.name!r} with {len(readers)} readers and {num} answers would be deleted, which cannot be "
            "undone: add --yes if that is wanted"
        )
    return {"study": study.id, "deleted_answers": store.delete_study(study.id)}


def review_backup(flags: argparse.Namespace) -> dict[str, Any]:
    """One file with everything in it."""
    _store(flags).backup(flags.out)
    return {"backup": str(flags.out), "bytes": flags.out.stat().st_size}


def results_text(answer: dict[str, Any]) -> str:
    """The numbers as Markdown tables; `--json` has the rest."""
    import pandas as pd

    from medi_core.commands.parsing import markdown_table

    lines = [f"{answer['study']['name']}: {answer['readers']['n']} readers, closed {answer['study']['closed_at']}"]
    for title, rows in {
        "Numbers": _overall(answer),
        "By subgroup": answer["by_subgroup"],
        "Agreement": answer["agreement"],
    }.items():
        if rows:
            lines += ["", f"## {title}", "", markdown_table(pd.DataFrame(rows))]
    return "\n".join(lines)


def _overall(answer: dict[str, Any]) -> list[dict[str, Any]]:
    origin = [{"task": "origin", "number": k} | e for k, e in answer.get("origin", {}).get("overall", {}).items()]
    judged = [
        {"task": task, "number": "accuracy"} | answer[task]["accuracy"]
        for task in ("cancer_type", "center_pair")
        if task in answer
    ]
    if "realism" not in answer:
        return origin + judged
    means = answer["realism"]["mean"] | {"real less synthetic": answer["realism"]["real_minus_synthetic"]}
    return [*origin, *judged, *({"task": "realism", "number": k} | e for k, e in means.items())]


def _add_new(actions) -> None:
    command = add_command(actions, "new", review_new, "draw and render the tiles of a study", checkpoint=True)
    command.add_argument("name", help="readers see it")
    command.add_argument("--tasks", type=names, default=("realism",), help="a,b of: origin, realism, cancer_type, "
                         "morphology, artefacts, comment, center_pair (default: realism)")  # fmt: skip
    command.add_argument("--num-tiles", type=int, default=40, help="shown once each (default: 40)")
    command.add_argument("--share-real", type=float, help="0 to 1 (default: 0.5 with --tiles, else 0)")
    command.add_argument("--tiles", help="manifest of real tiles")
    command.add_argument("--cancer-types", nargs="+", default=[], help="default: the best supported")
    command.add_argument("--centers", nargs="+", default=[], help="every crossing with the types, also never seen")
    command.add_argument("--repeats", type=int, default=0, help="tiles shown twice, for agreement within readers")
    command.add_argument("--pairs", type=int, default=10, help="for the task center_pair (default: 10)")
    command.add_argument("--examples", type=int, default=3, help="of the center a pair asks about (default: 3)")
    command.add_argument("--practice", type=int, default=4, help="tiles with feedback, outside the study (default: 4)")
    command.add_argument("--seed", type=int, help="keep it to yourself (default: drawn at random)")
    command.add_argument("--display-px", type=int, default=384, help="largest size on the screen (default: 384)")
    command.add_argument("--data-dir", help="where studies are kept (default: MEDI_DATA_DIR)")


def _store(flags: argparse.Namespace) -> "ReviewStore":
    from medi_core.review.review_store import ReviewStore

    return ReviewStore(_data_dir(flags))


def _data_dir(flags: argparse.Namespace) -> Path:
    from medi_core.settings import Settings

    return Settings.from_environment(data_dir=flags.data_dir).data_dir
