"""The command that repeats the published protocols on TCGA-UT, for who has its tiles."""

import argparse
import sys
from pathlib import Path
from typing import Any

from medi_core.commands.experiment import add_arm_flags, answer_of, arm_choices, experiment_text
from medi_core.commands.parsing import add_command, markdown_table, progress, settings_of
from medi_core.errors import InvalidRequestError, ReferenceSetError

# Heavy imports stand inside the commands that need them: `--help` answers at once.


def add_paper_commands(commands) -> None:
    """paper."""
    summary = "the paper's hold-out (LUAD against LUSC) and PathoROB's TCGA 4×4, on TCGA-UT tiles of your own"
    command = add_command(commands, "paper", paper, summary, text=paper_text, checkpoint=True)
    command.add_argument("--tcga-ut", type=Path, required=True, metavar="DIR", help="holds a folder a cancer type")
    command.add_argument(
        "--slides",
        type=Path,
        metavar="CSV",
        help="slide_submitter_id, medi_split, tissue_source_site, gender, race: the hold-out",
    )
    command.add_argument("--pathorob", type=Path, metavar="CSV", help="subset, slide_id, patch_id: the 4×4 split")
    command.add_argument("--correlation", type=float, default=1.0, help="of PathoROB's training tiles, 0 to 1")
    add_arm_flags(command)


def paper(flags: argparse.Namespace) -> dict[str, Any]:
    """One experiment a table given."""
    if flags.slides is None and flags.pathorob is None:
        raise InvalidRequestError("give --slides CSV (the paper's hold-out), --pathorob CSV (TCGA 4×4), or both")
    from medi_core.bootstrap import build_services
    from medi_core.services import paper_protocol
    from medi_core.services.experiment_config import ExperimentConfig

    services = build_services(settings_of(flags))
    config = ExperimentConfig(paper_protocol.PAPER_TYPES, correlation=flags.correlation, **arm_choices(flags))
    answers = {}
    for name, table, read, run in (
        ("paper", flags.slides, paper_protocol.paper_manifest, paper_protocol.run_paper),
        ("pathorob", flags.pathorob, paper_protocol.pathorob_manifest, paper_protocol.run_pathorob),
    ):
        if table is not None:
            manifest = read(flags.tcga_ut, table)
            bank = _bank_or_none(services.reference)
            encoded = paper_protocol.encode_manifest(manifest, services.encoding, bank, progress(flags, "Encoding"))
            out = flags.out / name if flags.out else None
            result = run(encoded, config, progress(flags, "Folds"))
            answers[name] = answer_of(result, out)
            if name == "paper":
                answers[name]["subgroups"] = _subgroups(result, encoded, out)
    return answers


def paper_text(answer: dict[str, Any]) -> str:
    """Each experiment under its name; of the paper's, also its table by tissue source site, gender and race."""
    import pandas as pd

    parts = []
    for name, part in answer.items():
        parts.append(f"# {name}\n\n{experiment_text(part)}")
        if "subgroups" in part:
            table = markdown_table(pd.DataFrame(part["subgroups"]))
            parts.append(f"## tissue source site × gender × race\n\n{table}")
    return "\n\n".join(parts)


def _subgroups(result, encoded, out: Path | None) -> list[dict[str, Any]]:
    """The paper's table as plain rows; with `out`, also as a CSV."""
    from medi_core.data.plain_rows import plain_rows
    from medi_core.services.paper_protocol import subgroup_accuracy
    from medi_core.storage import translate_write_errors

    table = subgroup_accuracy(result, encoded)
    if out is not None:
        with translate_write_errors(str(out)):
            table.to_csv(out / "subgroups.csv", index=False)
    return plain_rows(table)


def _bank_or_none(reference):
    """Without a bank of this encoder the arms with synthetic tiles are left out, and listed with the reason."""
    try:
        return reference.load()
    except ReferenceSetError as error:
        print(f"no synthetic tiles: {error}", file=sys.stderr)
        return None
