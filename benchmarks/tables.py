"""Markdown tables on stdout; everything else a benchmark says goes to stderr."""

import sys
from collections.abc import Sequence


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table: first column left, the others right."""
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" + " ---: |" * (len(header) - 1))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")


def log(message: str) -> None:
    """Progress, for the person who waits."""
    print(message, file=sys.stderr, flush=True)
