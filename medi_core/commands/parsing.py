"""What the commands share: how a command is added, how flags become values, how an answer becomes text."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import ATTRIBUTES, MetadataRecord, display_name
from medi_core.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

NOT_MEASURED = "n/a"


def add_command(
    commands, name: str, run: Callable, summary: str, text: Callable | None = None, checkpoint: bool = False
) -> argparse.ArgumentParser:
    """A sub-command that answers with `run(flags)`, as JSON or by `text(answer)`."""
    command = commands.add_parser(name, help=summary, description=summary)
    command.set_defaults(run=run, text=text or plain_text)
    command.add_argument("--json", action="store_true", help="answer as JSON")
    if checkpoint:
        command.add_argument("--checkpoint", help="name, folder or hub id (default: medi-128-fast)")
        command.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps")
        command.add_argument("--dtype", help="auto, float32, bfloat16, float16")
        command.add_argument("--compile", help="auto, on, off: for thousands of tiles (default: off)")
    return command


def add_metadata(command: argparse.ArgumentParser) -> None:
    """One flag an attribute."""
    for attribute in ATTRIBUTES:
        bins = ", bin 1 (lowest) to n" if attribute.kind == "binned" else ""
        command.add_argument(f"--{attribute.name.replace('_', '-')}", help=f"{attribute.label}{bins}; unset = any")


def settings_of(flags: argparse.Namespace) -> Settings:
    """Flags win over the environment. The checkpoint of instant tiles is not loaded: nobody drags sliders here."""
    encoder = getattr(flags, "encoder", None)
    settings = Settings.from_environment(
        checkpoint=flags.checkpoint, device=flags.device, dtype=flags.dtype, compile=flags.compile, encoder=encoder
    )
    return replace(settings, fast_checkpoint="")


def record_of_flags(flags: argparse.Namespace) -> MetadataRecord:
    """The inverse of `add_metadata`."""
    return MetadataRecord(**{attribute.name: getattr(flags, attribute.name) for attribute in ATTRIBUTES})


def progress(flags: argparse.Namespace, what: str) -> Callable[[float, int], None]:
    """One line of a terminal, written over and over; nothing where a program reads the answer or nobody watches.

    Returns:
        A function of (done, total).
    """

    def show(done: float, total: int) -> None:
        if not flags.json and sys.stderr.isatty():
            print(f"\r{what}: {done:g} of {total}   ", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


def add_encoder(command: argparse.ArgumentParser) -> None:
    """Whose features are used; `settings_of` reads it."""
    command.add_argument("--encoder", help="of the catalogue (default: efficientnet-lite0)")


def names(text: str) -> tuple[str, ...]:
    """`a,b` → ("a", "b")."""
    return tuple(text.split(","))


def widths(text: str) -> tuple[int, ...]:
    """`96,192` → (96, 192)."""
    numbers = tuple(map(int, text.split(",")))
    if min(numbers) < 1:
        raise ValueError(text)  # argparse names flag and value
    return numbers


def mapping(pairs: Sequence[str]) -> dict[str, str]:
    """`["a=b"]` → {"a": "b"}.

    Raises:
        InvalidRequestError: no `=`, or a name twice.
    """
    for pair in pairs:
        if "=" not in pair:
            raise InvalidRequestError(f"{pair!r}: write NAME=VALUE")
    given = dict(pair.split("=", 1) for pair in pairs)
    if len(given) < len(pairs):
        raise InvalidRequestError(f"{' '.join(pairs)}: give each name once")
    return given


def plain_text(answer: dict[str, Any]) -> str:
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


def markdown_table(frame: "pd.DataFrame") -> str:
    """A Markdown table: numbers with four digits, `n/a` for what was not measured."""
    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    lines += [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def is_missing(value: object) -> bool:
    """Whether a cell of a table holds nothing: `None` or NaN, which alone differs from itself."""
    return value is None or value != value


def _cell(value: object) -> str:
    if is_missing(value):
        return NOT_MEASURED
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", r"\|")
