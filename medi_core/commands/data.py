"""Commands on manifests: check one, bring a data set into one."""

import argparse
from pathlib import Path
from typing import Any

from medi_core.commands.parsing import add_command, mapping, names
from medi_core.errors import InvalidRequestError

# Heavy imports stand inside the commands that need them: `--help` answers at once.


def add_data_commands(commands) -> None:
    """data check, data import."""
    data = commands.add_parser("data", help="manifests").add_subparsers(required=True, metavar="COMMAND")
    command = add_command(data, "check", data_check, "validate a manifest")
    command.add_argument("manifest", type=Path)
    _add_import(data)


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
        frame = import_webdataset(flags.source, folder, flags.class_names, mapping(flags.default), flags.seed)
    else:
        join = tuple(flags.join.rsplit(":", 1)) if flags.join else None
        if join is not None and len(join) != 2:
            raise InvalidRequestError(f"--join {flags.join}: write TABLE:COLUMN, e.g. regions.csv:region")
        imported = import_table(
            flags.source[0], flags.root or flags.source[0].parent, mapping(flags.map), join, seed=flags.seed
        )
        frame, dropped = imported.frame, imported.dropped
    write_manifest(frame, flags.out)
    return {"manifest": str(flags.out), "dropped_columns": list(dropped)} | summarize_manifest(frame)


def _add_import(commands) -> None:
    command = add_command(commands, "import", data_import, "bring a data set into a manifest")
    command.add_argument("kind", choices=("table", "tcga-ut", "webdataset"))
    command.add_argument("source", type=Path, nargs="+", help="the table, the TCGA-UT folder, or the tars")
    command.add_argument("--out", type=Path, required=True, help="manifest to write, .csv or .parquet")
    command.add_argument("--root", type=Path, help="table: folder the paths start from (default: the table's)")
    command.add_argument("--map", nargs="*", default=[], metavar="THEIRS=OURS", help="table: columns to rename")
    command.add_argument("--join", metavar="TABLE:COLUMN", help="table: a second table and the column both share")
    command.add_argument("--class-names", type=names, default=(), help="webdataset: cancer types of labels 0,1,2 …")
    command.add_argument(
        "--default", nargs="*", default=[], metavar="COLUMN=VALUE", help="webdataset: columns of every tile"
    )
    command.add_argument("--level", default="0", help="tcga-ut: magnification folder (default: 0 = 0.5 µm/px)")
    command.add_argument("--seed", type=int, default=0, help="of the split by patient, where none is given")
