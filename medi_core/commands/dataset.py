"""The command that makes the tiles of a plan: in parts that a stop leaves whole, and that go on where they stopped."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medi_core.commands.parsing import add_command, add_encoder, settings_of

if TYPE_CHECKING:
    from medi_core.services.dataset_generation import DatasetProgress

# Heavy imports stand inside the commands that need them: `--help` answers at once.
FORMATS = ("webdataset", "folder", "zip")
ENGINES = ("process", "ray")


def add_dataset_commands(commands) -> None:
    """generate-dataset."""
    summary = "make the tiles of a plan; stopped, it goes on where it was"
    command = add_command(commands, "generate-dataset", generate_dataset, summary, text=dataset_text, checkpoint=True)
    command.add_argument("plan", type=Path, metavar="PLAN", help=".json that `plan` wrote")
    command.add_argument("--out", type=Path, required=True, help="folder; new, or begun with the same plan")
    command.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of the shards (default: webdataset)")
    command.add_argument("--shard-size", type=int, default=256, help="tiles a shard (default: 256)")
    unseen = "leave out tiles in which probes do not see the cancer type and center asked for"
    command.add_argument("--drop-unrecognised", action="store_true", help=unseen)
    copies = "leave out tiles that look copied from the training regions of this manifest"
    command.add_argument("--drop-copies", type=Path, metavar="CSV", help=copies)
    command.add_argument("--engine", choices=ENGINES, default="process", help="ray: requirements-cluster.txt")
    command.add_argument("--address", help="of a Ray cluster (default: this machine)")
    command.add_argument("--workers", type=int, default=1, help="of Ray, each with a model of its own (default: 1)")
    command.add_argument("--gpus-a-worker", type=float, default=0, help="of Ray (default: 0)")
    add_encoder(command)


def generate_dataset(flags: argparse.Namespace) -> dict[str, Any]:
    """Run a plan."""
    from medi_core.planning.plan import read_plan, require_tiles

    plan, settings = read_plan(flags.plan), settings_of(flags)
    require_tiles(plan)

    from medi_core.services.dataset_generation import DatasetOptions, require_usable

    options = DatasetOptions(flags.format, flags.shard_size, flags.drop_unrecognised, flags.drop_copies)
    require_usable(options)  # before the checkpoint takes its seconds

    from medi_core.bootstrap import build_services

    engine = None
    if flags.engine == "ray":
        from medi_core.engines.ray_data import RayEngine

        engine = RayEngine(settings, plan, flags.out, options, flags.address, flags.workers, flags.gpus_a_worker)
    service = build_services(settings).datasets
    try:
        return service.run(plan, flags.out, options, progress_line(flags), engine)
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on with what is in {flags.out}", file=sys.stderr)
        raise


def dataset_text(answer: dict[str, Any]) -> str:
    """What is there now."""
    dropped = ", ".join(f"{num:,} {why}" for why, num in answer["dropped"].items())
    return (
        f"{answer['tiles']:,} of {answer['tiles_planned']:,} planned tiles in {answer['shards']:,} shards"
        + (f"; left out: {dropped}" if dropped else "")
        + f"\n{answer['manifest']}"
    )


def progress_line(flags: argparse.Namespace):
    """Notes on lines of their own; done, rate and time left on one that is written over and over."""

    def show(progress: "DatasetProgress") -> None:
        if progress.note:
            print(f"{progress.note}   ", file=sys.stderr, flush=True)
        if not flags.json and sys.stderr.isatty():
            left = progress.seconds_left
            rate = f"{progress.made / progress.seconds:.2f} tiles/s, " if progress.made and progress.seconds else ""
            ready = "" if left is None else f"{rate}{_time(left)} left"
            print(f"\rTiles: {progress.done:,} of {progress.total:,}  {ready}   ", end="", file=sys.stderr, flush=True)

    return show


def _time(seconds: float) -> str:
    """`1:05:09`, `5:09`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
