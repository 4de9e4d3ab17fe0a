"""What subgroups of tiles can be made of: columns of metadata as text, numbers as bins. Knows no measure."""

from collections.abc import Sequence

import pandas as pd

from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import ATTRIBUTE, ATTRIBUTES
from medi_core.metadata.vocabulary import Vocabulary, quantile_edges

TRUE = "true"
BY = (TRUE, *(attribute.name for attribute in ATTRIBUTES), "tissue", "dataset", "split")
"""`true` gives the recall of each class."""


def subgroup_columns(tiles: pd.DataFrame, by: Sequence[str], training: pd.DataFrame) -> pd.DataFrame:
    """The columns to cross, as text.

    Args:
        tiles: N rows with the columns `BY`.
        by: some of them; none gives no column.
        training: the tiles whose quantiles cut numbers into bins: those a checkpoint was trained on give its bins. A
            number that they do not record is cut at the quantiles of `tiles`.

    Returns:
        object `(N, A)`; `None` or NaN where not recorded. A bin reads `2 (0.74 to 0.96)`.

    Raises:
        InvalidRequestError: a column that there is none of, or one twice.
    """
    if unknown := [name for name in by if name not in BY]:
        raise InvalidRequestError(f"by {', '.join(unknown)}: it must be made of {', '.join(BY)}")
    if len(set(by)) < len(by):
        raise InvalidRequestError(f"by {', '.join(by)}: give each attribute once")
    columns = {name: _binned(name, tiles[name], training[name]) if _is_number(name) else tiles[name] for name in by}
    return pd.DataFrame(columns, index=tiles.index, dtype=object)


def recorded_columns(tiles: pd.DataFrame) -> list[str]:
    """Of `BY`, those that are recorded for some tile."""
    return [name for name in BY if tiles[name].notna().any()]


def _is_number(name: str) -> bool:
    return name in ATTRIBUTE and ATTRIBUTE[name].kind == "binned"


def _binned(name: str, numbers: pd.Series, training: pd.Series) -> pd.Series:
    known = training.dropna() if training.notna().any() else numbers.dropna()
    edges = quantile_edges(known.tolist(), ATTRIBUTE[name].num_bins)
    bins = Vocabulary(values={}, bin_edges={name: edges})
    return numbers.map(lambda number: bins.label(name, bins.bin_of(name, number)), na_action="ignore")
