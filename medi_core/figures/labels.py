"""Texts of figures: plotly reads them as HTML, and they must be seen on the page behind."""

from html import escape

from medi_core.metadata.schema import ATTRIBUTE, display_name

MAX_TICK = 30
"""Characters of a tick label: longer ones would leave no room for the figure."""


def readable(value: str) -> str:
    """A value as a person reads it, with nothing that plotly would take for a tag."""
    return escape(display_name(value), quote=False)


def tick(value: str) -> str:
    """`readable`, cut where it is long."""
    return readable(value if len(value) <= MAX_TICK else value[: MAX_TICK - 1] + "…")


def title_of(column: str) -> str:
    """What a column is called: `Cancer type`, `Data set`."""
    return ATTRIBUTE[column].label if column in ATTRIBUTE else readable(column).capitalize()


def ink(dark: bool) -> str:
    """The colour of text and outlines."""
    return "#e5e7eb" if dark else "#1f2937"


def interval_text(value: float, low: float, high: float, digits: int = 3) -> str:
    """`0.831 [0.712, 0.902]`, or without the ends where there are none; three digits tell what patients can."""
    if value != value:  # NaN
        return "not measured"
    ends = "" if low != low else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{ends}"
