"""Tables that say what a plan wants: shares to match, and the subgroups of an audit that came out worst."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medi_core.data.manifest import read_table
from medi_core.errors import PlanError
from medi_core.metadata.schema import ATTRIBUTE

SHARE, IS_RANKED = "share", "is_ranked"
MAX_BYTES = 2_000_000
DEFAULT_NUM_WORST = 3


def read_shares(path: Path, by: Sequence[str]) -> dict[tuple[str, ...], float]:
    """Cell → share, for the target `match`; NaN where a share is no number, which the target refuses.

    Args:
        path: a CSV with the attributes of `by`, in columns of their names, and `share`.

    Raises:
        PlanError: too large, columns missing, or a cell twice.
        ManifestError: no table.
    """
    table = _read(path, [*by, SHARE], f"a row a cell, with {', '.join((*by, SHARE))}")
    keys = _keys(table, by)
    if len(set(keys)) < len(keys):
        raise PlanError(f"{path.name} names a cell twice")
    return dict(zip(keys, pd.to_numeric(table[SHARE], errors="coerce"), strict=True))


def read_worst(path: Path, by: Sequence[str], num: int = DEFAULT_NUM_WORST) -> tuple[tuple[str, ...], ...]:
    """The `num` worst subgroups of an audit, for the target `worst`.

    Args:
        path: the CSV of an audit by exactly these attributes (`evaluate --out`, or downloaded in the app): the worst
            subgroup first, `is_ranked` where it has tiles and patients enough to be called so.

    Raises:
        PlanError: `num` below 1, too large, another table, or no subgroup that is ranked.
        ManifestError: no table.
    """
    if num < 1:
        raise PlanError(f"{num} worst subgroups were asked for: ask for 1 or more")
    table = _read(path, [*by, IS_RANKED], f"the table of an audit by {', '.join(by)}")
    if more := [name for name in table if name in ATTRIBUTE and name not in by]:
        raise PlanError(f"{path.name} is an audit by {', '.join((*by, *more))}: give one by {', '.join(by)} alone")
    ranked = table[table[IS_RANKED].astype(str).str.casefold() == "true"]
    if ranked.empty:
        raise PlanError(
            f"{path.name}: no subgroup has tiles and patients enough to be ranked: lower the audit's minimum"
        )
    return tuple(_keys(ranked, by)[:num])


def _read(path: Path, columns: Sequence[str], needed: str) -> pd.DataFrame:
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise PlanError(f"{path.name} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read here")
    table = read_table(path)
    if missing := [name for name in columns if name not in table]:
        raise PlanError(f"{path.name} lacks the columns {', '.join(missing)}; give {needed}")
    return table


def _keys(table: pd.DataFrame, by: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(map(str, key)) for key in table[list(by)].itertuples(index=False, name=None)]
