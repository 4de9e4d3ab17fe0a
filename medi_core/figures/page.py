"""What every figure takes from the page that it stands on: its ink, and no background of its own."""

from medi_core.figures.labels import ink


def page_layout(dark: bool) -> dict[str, object]:
    """The part of a plotly layout that all figures share."""
    return {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": ink(dark), "size": 12},
        "modebar": {"bgcolor": "rgba(0,0,0,0)"},
    }
