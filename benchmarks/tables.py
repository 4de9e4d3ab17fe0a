"""Markdown tables on stdout; everything else a benchmark says goes to stderr."""

import sys
from collections.abc import Callable, Sequence

from medi_core.errors import MediError


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table: first column left, the others right."""
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" + " ---: |" * (len(header) - 1))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")


def log(message: str) -> None:
    """Progress, for the person who waits."""
    print(message, file=sys.stderr, flush=True)


def run(main: Callable[[], None]) -> None:
    """Run a script; what the project refuses is one message and exit code 2, not a traceback."""
    try:
        main()
    except MediError as error:
        log(f"error: {error}")
        raise SystemExit(2) from None
