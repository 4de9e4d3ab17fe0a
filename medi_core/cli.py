"""The command line: one sub-command a use case. Translates flags to calls and results to text; nothing else.

Exit code 2 and one line on bad input; `--json` where a program would read the answer.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from medi_core.errors import InvalidRequestError, MediError
from medi_core.metadata.schema import ATTRIBUTE, ATTRIBUTES, MetadataRecord, display_name
from medi_core.settings import Settings

# Heavy imports stand inside the commands that need them: `--help` and `data check` answer at once.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    flags = _build_parser().parse_args(arguments)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # a user reads our one line, not the remarks of libraries
    try:
        answer = flags.run(flags)
        text = json.dumps(answer, indent=2, ensure_ascii=False, allow_nan=False) if flags.json else flags.text(answer)
        print(text, flush=True)
    except MediError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader left, e.g. `… | head`; the flush at exit must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


# ------------------------------------------------------------------ commands


def info(flags: argparse.Namespace) -> dict[str, Any]:
    """Checkpoint, attributes, values, support."""
    from medi_core.bootstrap import build_services

    checkpoint = build_services(_settings(flags)).checkpoint
    return {"checkpoint": checkpoint.id, **checkpoint.vocabulary.to_dict()}


def info_text(answer: dict[str, Any]) -> str:
    """The same as a listing."""
    from medi_core.metadata.vocabulary import Support, Vocabulary

    vocabulary = Vocabulary.from_dict(answer)
    lines = [f"checkpoint {answer['checkpoint']}"]
    for name in vocabulary.attributes:
        lines.append(f"\n{name} ({ATTRIBUTE[name].label}, {len(vocabulary.values[name])} values)")
        for value in vocabulary.values[name]:
            support = vocabulary.support.get(name, {}).get(value, Support())
            shown = vocabulary.label(name, value) if name in vocabulary.bin_edges else value
            lines.append(f"  {shown}: {support.describe()}")
    lines.append("\ncancer type @ center")
    lines += [f"  {pair}: {support.describe()}" for pair, support in vocabulary.pair_support.items()]
    return "\n".join(lines)


def generate(flags: argparse.Namespace) -> dict[str, Any]:
    """PNGs with provenance and a manifest."""
    from medi_core.services.generation import MAX_TILES, GenerationRequest

    if not 1 <= flags.num <= MAX_TILES:
        raise InvalidRequestError(f"--num {flags.num}: it must be from 1 to {MAX_TILES:,}")
    request = GenerationRequest(
        _record(flags),
        tuple(range(flags.seed, flags.seed + flags.num)),
        flags.steps,
        flags.guidance,
        _attribute_guidance(flags.guide),
        (flags.side_px, flags.side_px),
    )
    return _generate_into(flags, request)


def rerender(flags: argparse.Namespace) -> dict[str, Any]:
    """One image under other metadata."""
    from medi_core.services.generation import GenerationRequest
    from medi_core.services.rerender import read_base_image

    if not flags.image.is_file():
        raise InvalidRequestError(f"--image {flags.image} does not exist")
    base = read_base_image(flags.image)
    request = GenerationRequest(
        _record(flags),
        (flags.seed,),
        flags.steps,
        flags.guidance,
        _attribute_guidance(flags.guide),
        base.image.shape[:2],
        base.image,
        flags.strength,
    )
    before = {"before": {"hematoxylin": base.hematoxylin, "eosin": base.eosin}}
    return _generate_into(flags, request) | before


def build_welcome(flags: argparse.Namespace) -> dict[str, Any]:
    """The tiles a first visitor sees, for the present checkpoint."""
    from medi_core.bootstrap import build_services

    paths = build_services(_settings(flags)).welcome.store()
    return {"written": [str(path) for path in paths]}


def data_check(flags: argparse.Namespace) -> dict[str, Any]:
    """Validate a manifest and count what is in it."""
    from medi_core.data.manifest import read_manifest, summarize_manifest

    return summarize_manifest(read_manifest(flags.manifest))


def data_import(flags: argparse.Namespace) -> dict[str, Any]:
    """Bring a data set into a manifest."""
    from medi_core.data.import_table import import_table
    from medi_core.data.import_tcga_ut import import_tcga_ut
    from medi_core.data.import_webdataset import import_webdataset
    from medi_core.data.manifest import summarize_manifest, write_manifest

    if flags.kind != "webdataset" and len(flags.source) > 1:
        raise InvalidRequestError(f"{flags.kind} takes one source, given {len(flags.source)}")
    dropped: tuple[str, ...] = ()
    if flags.kind == "tcga-ut":
        frame = import_tcga_ut(flags.source[0], levels=(flags.level,), seed=flags.seed)
    elif flags.kind == "webdataset":
        folder = flags.out.parent / f"{flags.out.stem}-tiles"
        frame = import_webdataset(flags.source, folder, seed=flags.seed)
    else:
        join = tuple(flags.join.rsplit(":", 1)) if flags.join else None
        if join is not None and len(join) != 2:
            raise InvalidRequestError(f"--join {flags.join}: write TABLE:COLUMN, e.g. regions.csv:region")
        imported = import_table(
            flags.source[0], flags.root or flags.source[0].parent, _mapping(flags.map), join, seed=flags.seed
        )
        frame, dropped = imported.frame, imported.dropped
    write_manifest(frame, flags.out)
    return {"manifest": str(flags.out), "dropped_columns": list(dropped)} | summarize_manifest(frame)


def train_diffusion(flags: argparse.Namespace) -> dict[str, Any]:
    """Train, or resume, a checkpoint."""
    from medi_core.training.run import run_training
    from medi_core.training.train_diffusion import DiffusionTrainingConfig

    if flags.workers < 0:
        raise InvalidRequestError(f"--workers {flags.workers}: it must be 0 or more")
    fields = DiffusionTrainingConfig.__dataclass_fields__
    overrides = {name: value for name, value in vars(flags).items() if name in fields and value is not None}

    def on_step(step) -> None:
        if step.step % 20 == 0 and not flags.json:
            rate = f"{step.tiles_per_second:.1f} tiles/s"
            print(f"step {step.step}  loss {step.loss:.4f}  lr {step.learning_rate:.2e}  {rate}", flush=True)

    step = run_training(
        flags.manifest,
        flags.out,
        DiffusionTrainingConfig(**overrides),
        minutes=flags.minutes,
        save_every_minutes=flags.save_every,
        compile_model=flags.compile,
        num_workers=flags.workers,
        mixed_precision=flags.precision,
        initial_checkpoint=flags.init,
        on_step=on_step,
    )
    return {"step": step, "checkpoint": str(flags.out / "checkpoint")}


# ------------------------------------------------------------------- helpers


def _settings(flags: argparse.Namespace) -> Settings:
    return Settings.from_environment(checkpoint=flags.checkpoint, device=flags.device, dtype=flags.dtype)


def _record(flags: argparse.Namespace) -> MetadataRecord:
    return MetadataRecord(**{attribute.name: getattr(flags, attribute.name) for attribute in ATTRIBUTES})


def _attribute_guidance(pairs: Sequence[str]) -> tuple[tuple[str, float], ...]:
    try:
        return tuple((name, float(scale)) for name, scale in _mapping(pairs).items())
    except ValueError as error:
        raise InvalidRequestError(f"--guide {' '.join(pairs)}: write ATTRIBUTE=SCALE, e.g. center=2") from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _widths(text: str) -> tuple[int, ...]:
    widths = tuple(map(int, text.split(",")))
    if min(widths) < 1:
        raise ValueError(text)  # argparse names flag and value
    return widths


def _mapping(pairs: Sequence[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise InvalidRequestError(f"{pair!r}: write NAME=VALUE")
    mapping = dict(pair.split("=", 1) for pair in pairs)
    if len(mapping) < len(pairs):
        raise InvalidRequestError(f"{' '.join(pairs)}: give each name once")
    return mapping


def _generate_into(flags: argparse.Namespace, request) -> dict[str, Any]:
    from medi_core.bootstrap import build_services
    from medi_core.services.export import generate_into

    service = build_services(_settings(flags)).generation

    def show(done: float, total: int) -> None:
        if not flags.json and sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{done:.1f} of {total} tiles", end=end, file=sys.stderr, flush=True)

    export = generate_into(service, request, flags.out, show)
    return {
        "checkpoint": service.checkpoint.id,
        "support": service.vocabulary.support_of(request.record).describe(),
        "manifest": str(export.manifest),
        "tiles": [asdict(tile) for tile in export.tiles],
    }


def _plain_text(answer: dict[str, Any]) -> str:
    """`key: value` lines; long lists and tables are indented."""
    lines = []
    for key, value in answer.items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {display_name(str(k))}: {v}" for k, v in value.items())]
        elif isinstance(value, list):
            lines += [f"{key}:", *(f"  {item}" for item in value)]
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)


# -------------------------------------------------------------------- parser


class _OneLineParser(argparse.ArgumentParser):
    """Says in one line what is wrong with the flags, as every other error does."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _build_parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(prog="python -m medi_core", description="Metadata-guided diffusion of H&E tiles")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "info", info, "what a checkpoint knows", text=info_text, checkpoint=True)

    command = _add(commands, "generate", generate, "tiles with provenance, and a manifest", checkpoint=True)
    _add_metadata(command)
    _add_sampling(command, guidance=2.0)
    command.add_argument("--num", type=int, default=8, help="tiles; seeds SEED, SEED + 1, … (default: 8)")
    command.add_argument("--side-px", type=int, default=128, help="multiple of 32, at most 512 (default: 128)")

    command = _add(commands, "rerender", rerender, "a tile as from another center", checkpoint=True)
    command.add_argument("--image", type=Path, required=True, help="PNG, JPEG or TIFF, at most 10 MB")
    command.add_argument("--strength", type=float, default=0.5, help="0.01 (keep) to 1 (redraw) (default: 0.5)")
    _add_metadata(command)
    _add_sampling(command, guidance=2.0)

    _add(commands, "build-welcome", build_welcome, "remake the tiles a first visitor sees", checkpoint=True)

    data = commands.add_parser("data", help="manifests").add_subparsers(required=True, metavar="COMMAND")
    command = _add(data, "check", data_check, "validate a manifest")
    command.add_argument("manifest", type=Path)
    _add_import(data)
    _add_training(commands)
    return parser


def _add(
    commands, name: str, run: Callable, summary: str, text: Callable = _plain_text, checkpoint: bool = False
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=summary)
    command.set_defaults(run=run, text=text)
    command.add_argument("--json", action="store_true", help="answer as JSON")
    if checkpoint:
        command.add_argument("--checkpoint", help="name, folder or hub id (default: medi-128)")
        command.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps")
        command.add_argument("--dtype", help="auto, float32, bfloat16, float16")
    return command


def _add_metadata(command: argparse.ArgumentParser) -> None:
    for attribute in ATTRIBUTES:
        bins = ", bin 1 (lowest) to n" if attribute.kind == "binned" else ""
        command.add_argument(f"--{attribute.name.replace('_', '-')}", help=f"{attribute.label}{bins}; unset = any")


def _add_sampling(command: argparse.ArgumentParser, guidance: float) -> None:
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--steps", type=int, default=12, help="denoising steps (default: 12)")
    command.add_argument("--guidance", type=float, default=guidance, help=f"1 = none (default: {guidance:g})")
    command.add_argument("--guide", nargs="*", default=[], metavar="ATTRIBUTE=SCALE", help="guidance by attribute")
    command.add_argument("--out", type=Path, required=True, help="folder for PNGs and manifest.csv")


def _add_import(commands) -> None:
    command = _add(commands, "import", data_import, "bring a data set into a manifest")
    command.add_argument("kind", choices=("table", "tcga-ut", "webdataset"))
    command.add_argument("source", type=Path, nargs="+", help="the table, the TCGA-UT folder, or the tars")
    command.add_argument("--out", type=Path, required=True, help="manifest to write, .csv or .parquet")
    command.add_argument("--root", type=Path, help="table: folder the paths start from (default: the table's)")
    command.add_argument("--map", nargs="*", default=[], metavar="THEIRS=OURS", help="table: columns to rename")
    command.add_argument("--join", metavar="TABLE:COLUMN", help="table: a second table and the column both share")
    command.add_argument("--level", default="0", help="tcga-ut: magnification folder (default: 0 = 0.5 µm/px)")
    command.add_argument("--seed", type=int, default=0, help="of the split by patient, where none is given")


def _add_training(commands) -> None:
    command = _add(commands, "train-diffusion", train_diffusion, "train a checkpoint, or resume a training")
    command.add_argument("--manifest", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True, help="run folder: state, checkpoint, samples, log.csv")
    command.add_argument("--init", type=Path, metavar="CHECKPOINT", help="folder whose weights to start from")
    command.add_argument("--minutes", type=float, help="stop after so much wall-clock time")
    command.add_argument("--num-steps", type=int)
    command.add_argument("--warmup-steps", type=int)
    command.add_argument("--decay-steps", type=int, help="learning rate falls to 0 over the last so many steps")
    command.add_argument("--global-batch", type=int, help="tiles a step over all processes")
    command.add_argument("--learning-rate", type=float)
    command.add_argument("--ema-decay", type=float, help="of the averaged weights, in [0, 1)")
    command.add_argument("--seed", type=int)
    command.add_argument(
        "--attributes",
        type=_names,
        help="comma-separated; default: those of the shipped checkpoint",
    )
    command.add_argument("--widths", type=_widths, dest="block_out_channels", help="U-Net widths, e.g. 96,192,288")
    command.add_argument("--precision", choices=("no", "bf16"), default="bf16")
    command.add_argument("--compile", action="store_true", help="torch.compile: slow start, faster steps")
    command.add_argument("--workers", type=int, default=1, help="loader processes")
    command.add_argument("--save-every", type=float, default=5.0, help="minutes between saves")
