"""Commands on manifests: check one, bring a data set into one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medi_core.commands.parsing import add_command, mapping, names
from medi_core.errors import InvalidRequestError

if TYPE_CHECKING:
    import pandas as pd

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
    from medi_core.data.import_tcga_ut import import_tcga_ut
    from medi_core.data.import_webdataset import import_webdataset
    from medi_core.data.manifest import summarize_manifest, write_manifest

    if flags.kind != "webdataset" and len(flags.source) > 1:
        raise InvalidRequestError(f"{flags.kind} takes one source, given {len(flags.source)}")
    notes: dict[str, Any] = {"dropped_columns": []}
    if flags.kind == "tcga-ut":
        frame = import_tcga_ut(flags.source[0], levels=(flags.level,), seed=flags.seed)
    elif flags.kind == "webdataset":
        folder = flags.out.parent / f"{flags.out.stem}-tiles"
        frame = import_webdataset(flags.source, folder, flags.class_names, mapping(flags.default), flags.seed)
    elif flags.kind == "wsi-tiles":
        frame, notes = _wsi_tiles(flags)
    else:
        frame, notes = _table(flags)
    write_manifest(frame, flags.out)
    return {"manifest": str(flags.out)} | notes | summarize_manifest(frame)


def _wsi_tiles(flags: argparse.Namespace) -> tuple["pd.DataFrame", dict[str, Any]]:
    from medi_core.data.import_wsi_tiles import import_wsi_tiles

    if flags.slides is None:
        raise InvalidRequestError("wsi-tiles needs --slides slides.csv: one row a slide, with a column slide")
    found = import_wsi_tiles(flags.source[0], flags.slides, mapping(flags.map), mapping(flags.default), flags.seed)
    return found.frame, {"dropped_columns": list(found.dropped), "slides_without_tiles": list(found.without_tiles)}


def _table(flags: argparse.Namespace) -> tuple["pd.DataFrame", dict[str, Any]]:
    from medi_core.data.import_table import import_table

    join = tuple(flags.join.rsplit(":", 1)) if flags.join else None
    if join is not None and len(join) != 2:
        raise InvalidRequestError(f"--join {flags.join}: write TABLE:COLUMN, e.g. regions.csv:region")
    table = flags.source[0]
    found = import_table(table, flags.root or table.parent, mapping(flags.map), join, seed=flags.seed)
    return found.frame, {"dropped_columns": list(found.dropped)}


def _add_import(commands) -> None:
    command = add_command(commands, "import", data_import, "bring a data set into a manifest")
    command.add_argument("kind", choices=("table", "tcga-ut", "webdataset", "wsi-tiles"))
    command.add_argument(
        "source", type=Path, nargs="+", help="the table, the TCGA-UT folder, the tars, or the folder of slides"
    )
    command.add_argument("--out", type=Path, required=True, help="manifest to write, .csv or .parquet")
    command.add_argument("--root", type=Path, help="table: folder the paths start from (default: the table's)")
    command.add_argument(
        "--map", nargs="*", default=[], metavar="THEIRS=OURS", help="table, wsi-tiles: columns to rename"
    )
    command.add_argument("--slides", type=Path, metavar="CSV", help="wsi-tiles: metadata, one row a slide")
    command.add_argument("--join", metavar="TABLE:COLUMN", help="table: a second table and the column both share")
    command.add_argument("--class-names", type=names, default=(), help="webdataset: cancer types of labels 0,1,2 …")
    command.add_argument(
        "--default", nargs="*", default=[], metavar="COLUMN=VALUE", help="webdataset, wsi-tiles: columns of every tile"
    )
    command.add_argument("--level", default="0", help="tcga-ut: magnification folder (default: 0 = 0.5 µm/px)")
    command.add_argument("--seed", type=int, default=0, help="of the split by patient, where none is given")
