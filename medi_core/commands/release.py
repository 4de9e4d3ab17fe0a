"""The command that makes everything anew that a checkpoint made, or that is said of it."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medi_core.commands.parsing import add_command, markdown_table, progress, settings_of
from medi_core.errors import InvalidRequestError
from medi_core.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from medi_core.bootstrap import Services
    from medi_core.services.release import Artefact, Places

# Heavy imports stand inside the functions that need them: `--help` answers at once.
STEPS = {
    "welcome": "the tiles that a first visitor sees",
    "reference": "bank, probes, audit for copies and map",
    "class-only": "tiles of the checkpoint in --class-only",
    "regions": "seams, repetition and stain of regions of 512 px",
    "docs": "tables of docs/fidelity.md, targets among them; these in the model card, too",
    "experiment": "tables of docs/experiment.md",
    "screenshots": "every tab, as pictures; needs Chromium",
}
MADE_FROM = {"docs": {"reference", "class-only"}, "experiment": {"reference"}}
"""Steps that are done again after others, though the checkpoint is the same."""
DEFAULT_PAIR, DEFAULT_FOCUS = 12, 36


def add_release_commands(commands) -> None:
    """release."""
    summary = "after a change of checkpoint: make anew all that it made and all figures of it; goes on where it stopped"
    command = add_command(commands, "release", release, summary, text=release_text, checkpoint=True)
    command.add_argument("--manifest", type=Path, help="real grid tiles of all splits, for reference and regions")
    command.add_argument("--only", nargs="+", choices=STEPS, metavar="STEP", help=f"of {', '.join(STEPS)}")
    command.add_argument("--again", action="store_true", help="also what this checkpoint has made already")
    command.add_argument("--list", action="store_true", help="say which checkpoint each artefact is of; make nothing")
    command.add_argument("--class-only", metavar="FOLDER", help="checkpoint of the same training, told the type alone")
    command.add_argument("--class-only-tiles", type=int, default=32, help="of it, a cancer type (32)")
    command.add_argument("--with-experiment", action="store_true", help="also docs/experiment.md: long")
    command.add_argument("--with-screenshots", action="store_true", help="also docs/screenshots/; needs Chromium")
    command.add_argument("--tiles-a-pair", type=int, default=DEFAULT_PAIR, help=f"of the bank ({DEFAULT_PAIR})")
    command.add_argument("--tiles-a-focus-pair", type=int, default=DEFAULT_FOCUS, help=f"({DEFAULT_FOCUS})")
    command.add_argument("--regions", type=int, default=4, help="synthetic regions of 512 px (4)")
    command.add_argument("--docs", type=Path, default=PROJECT_ROOT / "docs", help="pages with blocks to fill")


def release(flags: argparse.Namespace) -> dict[str, Any]:
    """Run the steps, or list the artefacts."""
    from medi_core.bootstrap import build_services
    from medi_core.services.release import Places, artefacts

    services = build_services(settings_of(flags))
    places = Places(services.settings.assets_dir, flags.docs, services.checkpoint.folder)
    steps = [] if flags.list else _run(flags, services, places)
    found = artefacts(places, services.checkpoint.id)
    return {
        "checkpoint": services.checkpoint.id,
        "steps": steps,
        "artefacts": [_row(artefact, services.checkpoint.id) for artefact in found],
    }


def release_text(answer: dict[str, Any]) -> str:
    """What was done, and a table of what is whose."""
    import pandas as pd

    lines = [f"{step['step']}: {step['done']} ({step['minutes']:.1f} min)" for step in answer["steps"]]
    table = markdown_table(pd.DataFrame(answer["artefacts"]))
    return "\n".join([*lines, "", f"Loaded: {answer['checkpoint']}", "", table]).lstrip()


def chosen_steps(flags: argparse.Namespace) -> list[str]:
    """In their order.

    Raises:
        InvalidRequestError: a step without what it needs.
    """
    given = {
        "class-only": bool(flags.class_only),
        "experiment": flags.with_experiment,
        "screenshots": flags.with_screenshots,
    }
    wanted = flags.only or [step for step in STEPS if given.get(step, True)]
    if "class-only" in wanted and not flags.class_only:
        raise InvalidRequestError("the step class-only needs a checkpoint: give --class-only FOLDER")
    if flags.manifest is None and (needing := [step for step in ("reference", "regions") if step in wanted]):
        raise InvalidRequestError(
            f"{' and '.join(needing)}: real tiles are needed; give --manifest tiles.csv, or leave it out with --only"
        )
    return [step for step in STEPS if step in wanted]


def _run(flags: argparse.Namespace, services: "Services", places: "Places") -> list[dict[str, Any]]:
    from medi_core.services.release import artefacts

    made, done = set(), []
    for step in chosen_steps(flags):
        before = artefacts(places, services.checkpoint.id)
        is_done = _is_done(step, before, services.checkpoint.id)
        if is_done and not flags.again and not made & MADE_FROM.get(step, set()):
            done.append({"step": step, "done": "skipped: of this checkpoint already", "minutes": 0.0})
            continue
        _say(flags, f"{step}: {STEPS[step]}")
        start = time.monotonic()
        _MAKERS[step](flags, services, places)
        made.add(step)
        done.append({"step": step, "done": "made", "minutes": round((time.monotonic() - start) / 60, 2)})
        _say(flags, f"{step}: made in {done[-1]['minutes']:.1f} min")
    return done


def _is_done(step: str, found: list["Artefact"], checkpoint_id: str) -> bool:
    from medi_core.services.release import CURRENT, EXPERIMENT, FIDELITY_BLOCKS, MEASURED, REGIONS

    blocks = {
        "regions": {REGIONS},
        "docs": {*FIDELITY_BLOCKS, MEASURED},
        "experiment": {EXPERIMENT},
    }.get(step, {step})
    if step == "class-only":
        return False  # only its maker knows which one is meant
    own = [artefact for artefact in found if artefact.name.rpartition(":")[2] in blocks]
    return bool(own) and all(artefact.status(checkpoint_id) == CURRENT for artefact in own)


def _welcome(_flags: argparse.Namespace, services: "Services", _places: "Places") -> None:
    services.welcome.store()


def _reference(flags: argparse.Namespace, services: "Services", _places: "Places") -> None:
    from medi_core.projection import ProjectionConfig
    from medi_core.services.synthetic_bank import BankConfig

    bank = BankConfig(tiles_a_pair=flags.tiles_a_pair, tiles_a_focus_pair=flags.tiles_a_focus_pair)
    stages = set()

    def show(what: str, done: int, total: int) -> None:
        if what not in stages:
            stages.add(what)
            _say(flags, f"reference: {what.lower()}")
        progress(flags, what)(done, total)

    services.reference.build(flags.manifest, bank, ProjectionConfig(), show)


def _class_only(flags: argparse.Namespace, services: "Services", places: "Places") -> None:
    from medi_core.bootstrap import build_services
    from medi_core.services.class_only import make_class_only, read_class_only
    from medi_core.services.release import CLASS_ONLY

    reference = services.reference.load()
    generation = build_services(replace(services.settings, checkpoint=flags.class_only)).generation
    folder, show = places.assets / CLASS_ONLY, progress(flags, "Generating")
    kept = read_class_only(folder, services.encoding.name)
    if kept is not None and kept.facts["checkpoint"] == generation.checkpoint.id and not flags.again:
        return
    make_class_only(reference, generation, services.encoding, folder, flags.class_only_tiles, on_progress=show)


def _regions(flags: argparse.Namespace, services: "Services", places: "Places") -> None:
    where = ["--manifest", str(flags.manifest.resolve()), "--into", str(places.fidelity.resolve())]
    _module(services, "benchmarks.regions", "--regions", str(flags.regions), *where)


def _docs(_flags: argparse.Namespace, services: "Services", places: "Places") -> None:
    from medi_core.commands import release_blocks
    from medi_core.services.release import MEASURED, write_block

    rows = release_blocks.target_rows(services)
    write_block(places.fidelity, "targets", release_blocks.targets(services, rows))
    for name, content in {
        "made-from": release_blocks.made_from,
        "distance": release_blocks.distance,
        "probe": release_blocks.probe,
        "copies": release_blocks.copies,
        "robustness": release_blocks.robustness,
    }.items():
        write_block(places.fidelity, name, content(services))
    write_block(places.card, MEASURED, release_blocks.measured(services, rows), below="## Measured")


def _experiment(_flags: argparse.Namespace, services: "Services", places: "Places") -> None:
    reference = ["--reference", str((places.assets / "reference").resolve())]
    _module(services, "benchmarks.experiment_tables", *reference, "--into", str(places.experiment.resolve()))


def _screenshots(_flags: argparse.Namespace, services: "Services", _places: "Places") -> None:
    from medi_core.services.release import SCREENSHOTS, STAMP

    _module(services, "docs.screenshots.make")
    (PROJECT_ROOT / "docs" / SCREENSHOTS / STAMP).write_text(f"{services.checkpoint.id}\n", encoding="utf-8")


def _module(services: "Services", name: str, *arguments: str) -> None:
    """A script of the project in a process of its own, for no module of ours imports it; of the same checkpoint.

    Raises:
        InvalidRequestError: it failed; what it said stands above.
    """
    settings = services.settings
    environment = os.environ | {
        "MEDI_CHECKPOINT": str(services.checkpoint.folder.resolve()),
        "MEDI_ASSETS_DIR": str(settings.assets_dir.resolve()),
        "MEDI_DEVICE": settings.device,
        "MEDI_DTYPE": settings.dtype,
    }
    command = [sys.executable, "-m", name, *arguments]
    run = subprocess.run(command, check=False, cwd=PROJECT_ROOT, env=environment, stdout=subprocess.DEVNULL)
    if code := run.returncode:
        raise InvalidRequestError(f"python -m {name} ended with {code}: see above, then run this again")


def _say(flags: argparse.Namespace, line: str) -> None:
    if not flags.json:
        print(line, file=sys.stderr, flush=True)


def _row(artefact: "Artefact", checkpoint_id: str) -> dict[str, str]:
    named = ", ".join(artefact.checkpoints) or "–"
    return {
        "artefact": artefact.name,
        "where": artefact.where,
        "checkpoint": named,
        "status": artefact.status(checkpoint_id),
    }


_MAKERS: dict[str, Callable[[argparse.Namespace, "Services", "Places"], None]] = {
    "welcome": _welcome,
    "reference": _reference,
    "class-only": _class_only,
    "regions": _regions,
    "docs": _docs,
    "experiment": _experiment,
    "screenshots": _screenshots,
}
