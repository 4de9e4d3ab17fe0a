"""One colour a value, the same in every figure. Knows values as strings, and nothing of figures.

Twenty-four colours cannot all be told apart by everyone: where it matters, text or shape says it too.
"""

from collections.abc import Sequence

COLOURS: tuple[str, ...] = (
    *("#1d76b1", "#ff93ff", "#ffa700", "#b11d00", "#1dce93", "#9d76f5", "#eb624e", "#ba3b89"),
    *("#006c45", "#6245ba", "#009d3b", "#80bace", "#ce76b1", "#3b9dce", "#ff9d89", "#279d89"),
    *("#893193", "#586ce2", "#baa758", "#9d6200", "#a7626c", "#89ce4e", "#764e6c", "#ce89f5"),
)
"""Each the farthest from those before it, in OKLab and as simulated for protanopia and deuteranopia (Machado
et al. 2009), among colours of moderate chroma that stand out from white and from the dark page alike."""
NOT_RECORDED = "not recorded"
"""The label of every kind of missing value."""
NOT_RECORDED_COLOUR = "#8c8c8c"
POOLED_COLOUR = "#64748b"
"""For values too rare for a colour of their own."""

_SCALE_ON_WHITE = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151")
_SCALE_ON_DARK = ("#3b528b", "#21918c", "#5ec962", "#fde725")


def colours_for(values: Sequence[str]) -> dict[str, str]:
    """A colour for each value, by its place among all of them sorted.

    Give all values that an attribute can have, not those on show: then a value keeps its colour whatever
    subset a figure holds, and whatever order they come in.

    Args:
        values: strings, repeats allowed; `NOT_RECORDED` is grey and takes no place.

    Returns:
        Value → hex colour, sorted; beyond 24 values colours recur.
    """
    names = sorted(set(values) - {NOT_RECORDED})
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    return colours | {NOT_RECORDED: NOT_RECORDED_COLOUR}


def numeric_scale(dark: bool) -> tuple[str, ...]:
    """Hex colours from low to high: the part of viridis that can be seen on a dark or a white page."""
    return _SCALE_ON_DARK if dark else _SCALE_ON_WHITE
