"""Commands around the reference set."""

import argparse
from pathlib import Path
from typing import Any

from medi_core.commands.parsing import add_command, add_encoder, progress, settings_of

# Heavy imports stand inside the commands that need them: `--help` answers at once.


def add_reference_commands(commands) -> None:
    """build-reference."""
    summary = "encode real tiles, make synthetic ones beside them, and fit the map of both"
    command = add_command(commands, "build-reference", build_reference, summary, checkpoint=True)
    command.add_argument("--manifest", type=Path, required=True, help="real grid tiles of all splits")
    command.add_argument("--tiles-a-pair", type=int, default=8, help="synthetic tiles a seen or never-seen pair")
    command.add_argument(
        "--tiles-a-focus-pair", type=int, default=0, help="at least, of pairs with a target of their own"
    )
    add_encoder(command)


def build_reference(flags: argparse.Namespace) -> dict[str, Any]:
    """Write the reference set anew; a build that was stopped goes on."""
    from medi_core.bootstrap import build_services
    from medi_core.projection import ProjectionConfig
    from medi_core.services.synthetic_bank import BankConfig

    bank = BankConfig(tiles_a_pair=flags.tiles_a_pair, tiles_a_focus_pair=flags.tiles_a_focus_pair)
    service = build_services(settings_of(flags)).reference

    def show(what: str, done: int, total: int) -> None:
        progress(flags, what)(done, total)

    reference = service.build(flags.manifest, bank, ProjectionConfig(), show)
    counts = reference.tiles["group"].value_counts()
    facts = {name: fact for name, fact in reference.facts.items() if name != "asked"}  # long: `probe` shows it
    return {**facts, "tiles": {str(group): int(num) for group, num in counts.items()}}
