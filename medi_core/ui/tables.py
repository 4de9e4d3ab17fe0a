"""A DataFrame as an HTML table that scrolls by itself. Knows nothing of what is in it."""

from collections.abc import Mapping
from html import escape

import pandas as pd

from medi_core.metadata.schema import display_name

NOT_MEASURED = "n/a"


def table_html(frame: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """The columns named in `titles`, in that order, under their titles; numbers with three digits, NaN as n/a."""
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles.values())
    body = ""
    for row in frame[list(titles)].itertuples(index=False, name=None):
        first, *others = map(_cell, row)
        body += f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'
    return scroll_html(f'<table class="medi-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def scroll_html(table: str) -> str:
    """A table in a box that scrolls; it can be focused, for without a mouse arrow keys scroll it."""
    return f'<div class="medi-scroll" tabindex="0">{table}</div>'


def _cell(value: object) -> str:
    if value is None or value != value:  # NaN alone differs from itself
        return NOT_MEASURED
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return escape(display_name(f"{value:,}" if isinstance(value, int) else str(value)))
