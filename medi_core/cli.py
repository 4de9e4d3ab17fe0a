"""The command line: one sub-command a use case. Translates flags to calls and results to text; nothing else.

Exit code 2 and one line on bad input; `--json` where a program would read the answer.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from medi_core.commands.classifier import add_classifier_commands
from medi_core.commands.data import add_data_commands
from medi_core.commands.dataset import add_dataset_commands
from medi_core.commands.evaluation import add_evaluation_commands
from medi_core.commands.experiment import add_experiment_commands
from medi_core.commands.fidelity import add_fidelity_commands
from medi_core.commands.generation import add_generation_commands
from medi_core.commands.paper import add_paper_commands
from medi_core.commands.plan import add_plan_commands
from medi_core.commands.publish import add_publish_commands
from medi_core.commands.reference import add_reference_commands
from medi_core.commands.release import add_release_commands
from medi_core.commands.review import add_review_commands
from medi_core.commands.training import add_training_commands
from medi_core.errors import MediError


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


class _OneLineParser(argparse.ArgumentParser):
    """Says in one line what is wrong with the flags, as every other error does."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _build_parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(prog="python -m medi_core", description="Metadata-guided diffusion of H&E tiles")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add_commands in (
        add_generation_commands,
        add_reference_commands,
        add_fidelity_commands,
        add_evaluation_commands,
        add_experiment_commands,
        add_paper_commands,
        add_plan_commands,
        add_dataset_commands,
        add_review_commands,
        add_data_commands,
        add_training_commands,
        add_classifier_commands,
        add_publish_commands,
        add_release_commands,
    ):
        add_commands(commands)
    return parser
