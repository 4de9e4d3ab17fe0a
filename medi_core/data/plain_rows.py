"""A table as rows of plain JSON. Knows nothing of what is in it, and imports nothing heavy."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def plain_rows(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """A mapping a row; NaN becomes `None`, JSON's null."""
    plain = frame.astype(object)
    return plain.where(plain.notna(), None).to_dict("records")
