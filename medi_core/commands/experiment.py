"""The command that asks whether synthetic tiles help under a shift. On features, unless fine-tuning is asked for."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medi_core.commands.parsing import add_command, add_encoder, markdown_table, progress, settings_of
from medi_core.errors import InvalidRequestError

if TYPE_CHECKING:
    from medi_core.bootstrap import Services
    from medi_core.services.experiment_config import ExperimentConfig
    from medi_core.services.experiment_result import ExperimentResult

# Heavy imports stand inside the commands that need them: `--help` answers at once.
SHORT_ARMS = {
    "real": "real only",
    "duplicated": "real duplicated",
    "jitter": "real + stain jitter",
    "class-only": "real + class-only synthetic",
    "medi": "real + MeDi synthetic",
    "synthetic": "synthetic only",
}
SHORT_PRESETS = {
    "centers": "training centers",
    "leave-one-out": "leave one center out",
    "shortcut": "one center a class",
    "rare": "rare center",
    "low-data": "low data",
    "random": "random training centers",
    "correlation": "class-center correlation",
}
ON_FEATURES = {"logistic": "logistic regression", "knn": "nearest neighbours"}
PROBES = ON_FEATURES | {"fine-tuning": "fine-tuning"}


def add_experiment_commands(commands) -> None:
    """experiment."""
    summary = "train on some centers, test on others, with and without synthetic tiles: what changes, with intervals"
    command = add_command(commands, "experiment", experiment, summary, text=experiment_text, checkpoint=True)
    command.add_argument("--types", nargs="+", required=True, metavar="TYPE", help="cancer types, at least 2")
    command.add_argument("--preset", choices=SHORT_PRESETS, default="leave-one-out", help="the shift")
    command.add_argument("--centers", nargs="+", default=[], metavar="CENTER", help="training centers")
    command.add_argument("--center", help="left out, or made rare (default: each in turn, or the best supported)")
    command.add_argument("--size", type=int, help="patients of the rare center, tiles a class, or random centers")
    command.add_argument("--correlation", type=float, default=1.0, help="of class and center, 0 to 1 (default: 1)")
    command.add_argument("--held-out", action="store_true", help="test only patients the generator never saw")
    command.add_argument("--min-patients", type=int, default=2, help="to test a cancer type at a center (default: 2)")
    command.add_argument("--tiles", metavar="CSV", help="manifest of the real tiles, for --probe fine-tuning")
    command.add_argument("--num-steps", type=int, default=200, help="of --probe fine-tuning, 32 tiles each")
    add_arm_flags(command, tuple(PROBES))


def add_arm_flags(command: argparse.ArgumentParser, probes: tuple[str, ...] = tuple(ON_FEATURES)) -> None:
    """What every experiment can be told."""
    command.add_argument("--arms", nargs="+", choices=SHORT_ARMS, default=list(SHORT_ARMS), help="default: all")
    command.add_argument("--ratio", type=float, default=1.0, help="tiles to add for each real one, 0 to 4 (default: 1)")
    command.add_argument("--seeds", type=int, default=5, help="how many, from 0 on (default: 5)")
    command.add_argument("--probe", choices=probes, default="logistic")
    add_encoder(command)
    command.add_argument("--out", type=Path, metavar="DIR", help="write tables as CSV, all as JSON, the figure as HTML")


def experiment(flags: argparse.Namespace) -> dict[str, Any]:
    """Run one experiment on the reference set."""
    from medi_core.bootstrap import build_services
    from medi_core.services.experiment_config import FINE_TUNED, ExperimentConfig

    config = ExperimentConfig(
        tuple(flags.types),
        SHORT_PRESETS[flags.preset],
        training_centers=tuple(flags.centers),
        center=flags.center,
        size=flags.size,
        correlation=flags.correlation,
        held_out_only=flags.held_out,
        min_patients=flags.min_patients,
        **arm_choices(flags),
    )
    services = build_services(settings_of(flags))
    judge = _fine_tuning(services, config, flags) if config.probe == FINE_TUNED else None
    what = "Folds" if judge is None else "Classifiers"
    return answer_of(services.experiment.run(config, progress(flags, what), judge), flags.out)


def _fine_tuning(services: "Services", config: "ExperimentConfig", flags: argparse.Namespace):
    """Trains a classifier an arm and fold on the pixels of `--tiles`, and of synthetic tiles made again."""
    from medi_core.services.attached_tiles import AttachedTiles
    from medi_core.services.fine_tuned_arms import FineTuning, TilePixels

    if not flags.tiles:
        raise InvalidRequestError("--probe fine-tuning needs the pixels of real tiles: give --tiles manifest.csv")
    attached, cache = AttachedTiles(), services.settings.cache_dir
    attached.attach(Path(flags.tiles))
    pixels = TilePixels(services.reference.load(), attached, services.generation, cache / "tiles")
    return FineTuning(pixels, config.cancer_types, flags.num_steps, cache / "features").hits


def arm_choices(flags: argparse.Namespace) -> dict[str, Any]:
    """The inverse of `add_arm_flags`, as fields of an `ExperimentConfig`."""
    arms = tuple(SHORT_ARMS[name] for name in flags.arms)
    return {"arms": arms, "ratio": flags.ratio, "num_seeds": flags.seeds, "probe": PROBES[flags.probe]}


def answer_of(result: "ExperimentResult", out: Path | None) -> dict[str, Any]:
    """The result as plain JSON; with `out`, also as files.

    Raises:
        StorageError: the folder cannot be written.
    """
    answer = result.to_dict()
    if out is not None:
        write_result(result, out)
        answer["out"] = str(out)
    return answer


def write_result(result: "ExperimentResult", folder: Path) -> None:
    """A CSV a table, `experiment.json`, and `experiment.html`: the figure, which saves itself as PNG or SVG."""
    from medi_core.figures.experiment_figure import experiment_figure
    from medi_core.storage import translate_write_errors

    with translate_write_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("accuracy", "differences", "training", "cells"):
            getattr(result, name).to_csv(folder / f"{name}.csv", index=False)
        text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "experiment.json").write_text(text + "\n", encoding="utf-8")
        figure = experiment_figure(result.accuracy, dark=False)
        page = figure.to_html(config={"displaylogo": False, "toImageButtonOptions": {"format": "svg"}})
        (folder / "experiment.html").write_text(page, encoding="utf-8")


def experiment_text(answer: dict[str, Any]) -> str:
    """Sentences, limits and Markdown tables."""
    import pandas as pd

    facts, config = answer["facts"], answer["config"]
    lines = [
        f"{config['preset']}: {', '.join(config['cancer_types'])}; {facts['num_tiles']:,} test tiles of "
        f"{facts['num_patients']} patients in {facts['num_folds']} folds, seeds 0 to {config['num_seeds'] - 1}, "
        f"{facts['num_bootstraps']:,} resamples; {config['probe']} on {facts['encoder']}; "
        f"synthetic tiles of {facts['checkpoint']}.",
        "",
        *(f"- {sentence}" for sentence in (*answer["sentences"], *answer["limits"])),
    ]
    for name in ("accuracy", "differences", "training", "cells"):
        lines += ["", f"## {name}", "", markdown_table(pd.DataFrame(answer[name]))]
    return "\n".join(lines)
