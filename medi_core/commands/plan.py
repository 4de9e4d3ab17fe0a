"""The command that plans synthetic tiles: what a data set lacks, and how many tiles of which cell are to be made."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medi_core.commands.parsing import add_command, add_encoder, markdown_table, settings_of
from medi_core.errors import ManifestError, PlanError

if TYPE_CHECKING:
    import pandas as pd

    from medi_core.services.augmentation import PlanConfig

# Heavy imports stand inside the commands that need them: `--help` answers at once.
SEPARATOR = "|"
"""Between the values of a cell on the command line."""
ROWS_SHOWN = 30


def add_plan_commands(commands) -> None:
    """plan."""
    summary = "count the cells of a data set and plan the synthetic tiles that balance it"
    command = add_command(commands, "plan", plan, summary, text=plan_text, checkpoint=True)
    command.add_argument("--manifest", type=Path, help="of your data (default: training tiles of the reference set)")
    command.add_argument("--split", default="train", help="rows of the manifest to balance (default: train)")
    command.add_argument("--by", nargs="+", default=["cancer_type", "center"], metavar="ATTRIBUTE", help="to cross")
    command.add_argument("--target", default="uniform", help="uniform, lift, match or worst (docs/augmentation.md)")
    command.add_argument("--level", type=int, help="uniform, worst: tiles a cell (default: as the largest has)")
    command.add_argument("--quantile", type=float, default=0.5, help="lift: cells below it come to it (default: 0.5)")
    command.add_argument("--shares", type=Path, metavar="CSV", help="match: the attributes of --by, and share")
    cells = f"worst: cells as VALUE{SEPARATOR}VALUE, in the order of --by"
    command.add_argument("--cells", nargs="+", default=[], metavar="CELL", help=cells)
    command.add_argument("--audit", type=Path, metavar="CSV", help="worst: evaluate --out, by the attributes of --by")
    command.add_argument("--num-worst", type=int, default=3, help="subgroups of the audit to fill (default: 3)")
    command.add_argument("--empty", action="store_true", help="plan combinations without any tile, too")
    command.add_argument("--min-trust", type=float, default=0.0, help="cells that are trusted less get nothing")
    command.add_argument("--measured-only", action="store_true", help="nor do those whose trust is not measured")
    command.add_argument("--cap", type=int, help="synthetic tiles a cell, at most")
    command.add_argument("--max-tiles", type=int, help="synthetic tiles in all, at most")
    command.add_argument("--ratio", type=float, help="synthetic tiles for each real one, at most, in all")
    command.add_argument("--seed", type=int, default=0, help="of the tiles")
    command.add_argument("--steps", type=int, help="denoising steps (default: 12)")
    command.add_argument("--guidance", type=float, help="scale (default: 2)")
    command.add_argument("--out", type=Path, help=".json, which generate-dataset runs, or .csv, a row a cell")
    add_encoder(command)


def plan(flags: argparse.Namespace) -> dict[str, Any]:
    """Make a plan, and write it."""
    from medi_core.planning.plan import write_plan
    from medi_core.storage import translate_write_errors

    if flags.out is not None and flags.out.suffix not in (".json", ".csv"):
        raise PlanError(f"--out {flags.out}: it must end in .json or .csv")
    given = None if flags.manifest is None else rows_of_split(flags.manifest, flags.split)
    config = plan_config(flags)

    # the files are known to be good: only now is the checkpoint worth its seconds
    from medi_core.bootstrap import build_services
    from medi_core.services.augmentation import plan_table

    service = build_services(settings_of(flags)).augmentation
    made = service.plan(service.training_tiles() if given is None else given, config)
    if flags.out is not None and flags.out.suffix == ".json":
        write_plan(made, flags.out)
    elif flags.out is not None:
        with translate_write_errors(str(flags.out)):
            plan_table(made).to_csv(flags.out, index=False)
    facts = {"tiles": made.num_tiles, "plan": made.id, "out": str(flags.out) if flags.out else None}
    return made.to_dict() | facts


def rows_of_split(path: Path, split: str) -> "pd.DataFrame":
    """The rows of a manifest to balance; those without a split are training rows.

    Raises:
        ManifestError: it cannot be used, or has no such row.
    """
    from medi_core.data.manifest import read_manifest

    manifest = read_manifest(path)
    splits = manifest["split"].fillna("train")
    if split not in set(splits):
        raise ManifestError(f"{path.name} has no row of the split {split!r}; it has {', '.join(sorted(set(splits)))}")
    return manifest[splits == split]


def plan_config(flags: argparse.Namespace) -> "PlanConfig":
    """Flags → what is wanted.

    Raises:
        PlanError: a flag that makes no sense.
    """
    from medi_core.planning.targets import MATCH, WORST, Target
    from medi_core.services.augmentation import PlanConfig
    from medi_core.services.plan_tables import read_shares, read_worst

    target = Target(flags.target, flags.level, flags.quantile, flags.cap, flags.max_tiles, flags.ratio)
    by = tuple(flags.by)
    for name, given, kind in (
        ("--cells", flags.cells, WORST),
        ("--audit", flags.audit, WORST),
        ("--shares", flags.shares, MATCH),
    ):
        if given and flags.target != kind:
            raise PlanError(f"{name} goes with --target {kind}, given is --target {flags.target}: change one of them")
    named = tuple(tuple(cell.split(SEPARATOR)) for cell in flags.cells)
    worst = read_worst(flags.audit, by, flags.num_worst) if flags.audit else ()
    return PlanConfig(
        by,
        target,
        with_empty=flags.empty,
        min_trust=flags.min_trust,
        measured_only=flags.measured_only,
        chosen=tuple(dict.fromkeys((*named, *worst))),
        shares=read_shares(flags.shares, by) if flags.shares else {},
        seed=flags.seed,
        num_inference_steps=flags.steps,
        guidance_scale=flags.guidance,
    )


def plan_text(answer: dict[str, Any]) -> str:
    """What is planned, what is left out, and the first cells."""
    from medi_core.planning.plan import AugmentationPlan
    from medi_core.services.augmentation import plan_table

    cells = plan_table(AugmentationPlan.from_dict(answer))
    left_out = cells[cells["left_out"] != ""]
    told = cells[(cells["planned_tiles"] > 0) | (cells["left_out"] != "")]
    lines = [
        f"{answer['tiles']:,} synthetic tiles in {int((cells['planned_tiles'] > 0).sum())} of {len(cells)} cells of "
        f"{' × '.join(answer['by'])}, for {answer['checkpoint']}; plan {answer['plan']}.",
        f"{int(cells['real_tiles'].sum()):,} real tiles in them; {answer['target']['tiles_without_a_cell']:,} are in "
        f"none. {len(left_out)} cells are left out.",
        "",
        markdown_table(told.head(ROWS_SHOWN)) if len(told) else "No cell gets a tile, and none is left out.",
        f"{len(cells) - min(len(told), ROWS_SHOWN)} more cells: --out plan.csv has all",
    ]
    if answer["out"] and answer["out"].endswith(".json"):
        lines += ["", f"python -m medi_core generate-dataset {answer['out']} --out DIR"]
    return "\n".join(lines)
