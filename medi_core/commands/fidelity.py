"""Commands that judge synthetic tiles: by the features of the reference set, and by the pixels of training regions."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medi_core.commands.parsing import (
    add_command,
    add_encoder,
    add_metadata,
    markdown_table,
    progress,
    record_of_flags,
    settings_of,
)
from medi_core.commands.release_targets import add_targets, distance_rows, probe_rows, targets_text
from medi_core.data.plain_rows import plain_rows

if TYPE_CHECKING:
    from medi_core.data.reference_set import ReferenceSet

# Heavy imports stand inside the commands that need them: `--help` answers at once.
NUM_PAIRS = 10
"""Most similar pairs listed; `--out` has all."""


def add_fidelity_commands(commands) -> None:
    """fidelity, probe, trust and audit-copies."""
    summary = "distance of synthetic from held-out real tiles, beside that of other patients' real ones"
    command = add_command(commands, "fidelity", fidelity, summary, text=fidelity_text, checkpoint=True)
    choices = ("overall", "cancer_type", "center")
    command.add_argument("--by", nargs="+", choices=choices, default=["overall"], help="subgroups (default: overall)")
    add_targets(command)
    add_encoder(command)
    summary = "what probes trained on real tiles see in synthetic ones, against what was asked for"
    command = add_command(commands, "probe", probe, summary, text=probe_text, checkpoint=True)
    add_targets(command)
    add_encoder(command)
    summary = "how far one cancer type at one center can be trusted, as probes measured it"
    command = add_command(commands, "trust", trust, summary, text=trust_text, checkpoint=True)
    add_metadata(command)
    add_encoder(command)
    summary = "tiles that look copied from a training region, against real tiles of other patients"
    command = add_command(commands, "audit-copies", audit_copies, summary, text=copies_text)
    command.add_argument("--synthetic", type=Path, required=True, help="manifest of the tiles to audit")
    command.add_argument("--manifest", type=Path, required=True, help="real tiles with splits, as in the training")
    command.add_argument("--percentile", type=float, default=1.0, help="of real tiles that would be flagged, in %%")
    command.add_argument("--out", type=Path, help="also write every tile and its nearest window to this CSV")


def fidelity(flags: argparse.Namespace) -> dict[str, Any]:
    """One table a kind of subgroup."""
    from medi_core.bootstrap import build_services

    services = build_services(settings_of(flags))
    tables = {by: plain_rows(services.fidelity.fidelity(by)) for by in dict.fromkeys(flags.by)}
    targets = {"targets": plain_rows(distance_rows(services))} if flags.targets else {}
    return {**compared(services.reference.load()), "tables": tables, **targets}


def probe(flags: argparse.Namespace) -> dict[str, Any]:
    """One table an attribute, and one of stains; empty where no synthetic tile was asked for with it."""
    from medi_core.bootstrap import build_services
    from medi_core.services.asked_versus_got import ASKED_IN, STAINS

    services = build_services(settings_of(flags))
    tables = {name: plain_rows(services.fidelity.asked_versus_got(name)) for name in (*ASKED_IN, STAINS)}
    targets = {"targets": plain_rows(probe_rows(services))} if flags.targets else {}
    return {**compared(services.reference.load()), "tables": tables, **targets}


def trust(flags: argparse.Namespace) -> dict[str, Any]:
    """Support and trust of a combination."""
    from medi_core.bootstrap import build_services

    return build_services(settings_of(flags)).fidelity.trust_report(record_of_flags(flags))


def audit_copies(flags: argparse.Namespace) -> dict[str, Any]:
    """Counts by group and the most similar pairs."""
    from medi_core.services.copy_audit import WINDOW_COLUMNS, audit_files
    from medi_core.storage import translate_write_errors

    report = audit_files(flags.synthetic, flags.manifest, flags.percentile, progress(flags, "Comparing with regions"))
    if flags.out is not None:
        with translate_write_errors(str(flags.out)):
            report.pairs.to_csv(flags.out, index=False)
    return {
        "threshold": report.threshold,
        "percentile": report.percentile,
        "held_out_tiles": len(report.baseline),
        "table": plain_rows(report.table),
        "pairs": plain_rows(report.pairs[["path", *WINDOW_COLUMNS, "flagged"]].head(NUM_PAIRS)),
    }


def copies_text(answer: dict[str, Any]) -> str:
    """What is flagged and what it was read against; two Markdown tables."""
    import pandas as pd

    line = (
        f"A tile is flagged from a similarity of {1 - answer['threshold']:.3f} on: where the nearest "
        f"{answer['percentile']:g} % of {answer['held_out_tiles']:,} held-out real tiles begin."
    )
    tables = (markdown_table(pd.DataFrame(answer[name])) for name in ("table", "pairs"))
    return "\n\n".join([line, *tables])


def trust_text(answer: dict[str, Any]) -> str:
    """One line of support, one of trust with what it was read from."""
    lines = [f"in training: {answer['support']}"]
    if (found := answer["trust"]) is None:
        return "\n".join([*lines, "trust: not measured (too few tiles to judge by)"])
    got, real = ("{:.2f} [{:.2f}, {:.2f}]".format(*found[name]) for name in ("agreement", "real_agreement"))
    return "\n".join(
        [
            *lines,
            f"trust: {found['value']:.2f}, by the {found['weakest']} asked for in {found['group']} pairs",
            f"a probe names it on {got} of {found['num_tiles']:,} synthetic tiles and on {real} of "
            f"{found['num_real']:,} held-out real ones of {found['num_patients']:,} patients (95 % intervals)",
        ]
    )


def fidelity_text(answer: dict[str, Any]) -> str:
    """What was compared, and a Markdown table a kind of subgroup; the Fréchet distance is named after its encoder."""
    return _text(answer, {"fd": f"FD-{answer['encoder']}"})


def probe_text(answer: dict[str, Any]) -> str:
    """What was compared, and a Markdown table an attribute."""
    return _text(answer, {})


def compared(reference: "ReferenceSet") -> dict[str, Any]:
    """What the tables are made of: checkpoint, encoder, tiles, patients and seeds, as plain JSON."""
    from medi_core.data.reference_set import is_held_out, is_train_split
    from medi_core.services.fidelity import DEFAULT

    real, synthetic = reference.real.tiles, reference.synthetic.tiles
    held_out, seeds = real[is_held_out(real)], synthetic["seed"].dropna()
    return {
        "checkpoint": reference.facts.get("checkpoint"),
        "encoder": reference.facts.get("encoder"),
        "held_out_tiles": len(held_out),
        "held_out_patients": int(held_out["patient_id"].nunique()),
        "train_tiles": int(is_train_split(real).sum()),
        "synthetic_tiles": len(synthetic),
        "synthetic_seeds": [int(seeds.min()), int(seeds.max())] if len(seeds) else None,
        "draw_seed": DEFAULT.seed,
    }


def compared_text(answer: dict[str, Any]) -> str:
    """`compared` in one line."""
    seeds = answer["synthetic_seeds"]
    made_from = f", seeds {seeds[0]} to {seeds[1]}" if seeds else ""
    return (
        f"{answer['synthetic_tiles']:,} synthetic tiles of {answer['checkpoint']}{made_from}; "
        f"{answer['held_out_tiles']:,} held-out real tiles of {answer['held_out_patients']:,} patients; "
        f"{answer['train_tiles']:,} real tiles of the training split. "
        f"Features of {answer['encoder']}; drawn with seed {answer['draw_seed']}."
    )


def _text(answer: dict[str, Any], titles: dict[str, str]) -> str:
    import pandas as pd

    lines = [compared_text(answer)]
    for name, rows in answer["tables"].items():
        table = markdown_table(pd.DataFrame(rows).rename(columns=titles)) if rows else "no synthetic tile to ask"
        lines += ["", f"## {name}", "", table]
    if "targets" in answer:
        lines += ["", "## targets", "", targets_text(pd.DataFrame(answer["targets"]))]
    return "\n".join(lines)
