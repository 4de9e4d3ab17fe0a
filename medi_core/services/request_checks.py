"""What a request may hold; the message names what was given and what is allowed. Knows no checkpoint."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from medi_core.errors import InvalidRequestError
from medi_core.pipelines.medi_pipeline import MAX_SIDE_PX, SIDE_MULTIPLE_PX

ALL_LEVELS = (0.0, 1.0)
"""The guidance interval from noise to finished tile: guidance all the way."""


def check_number(name: str, value: Any, low: float, high: float, kind: type = Real) -> None:
    """`value` is a number of this kind, from `low` to `high`."""
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if not (is_number and low <= value <= high):  # also refuses NaN
        number = "a whole number " if kind is Integral else ""
        raise InvalidRequestError(f"{name} = {value}: it must be {number}from {low:g} to {high:,}")


def check_text(metadata: Mapping[str, Any]) -> None:
    """Every value is text."""
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise InvalidRequestError(f"{name} = {value}: it must be text, also a bin, e.g. '1'")


def check_attribute_guidance(guidance: Sequence[tuple[str, Any]], highest: float) -> None:
    """Each attribute once, each scale from 0 to `highest`."""
    for name, scale in guidance:
        check_number(f"guidance of {name}", scale, 0, highest)
    names = [name for name, _ in guidance]
    if len(set(names)) < len(names):
        raise InvalidRequestError(f"guidance is given twice for an attribute ({', '.join(names)}); give each once")


def check_side(name: str, side_px: Any) -> None:
    """A side is one that some checkpoint takes."""
    check_number(name, side_px, SIDE_MULTIPLE_PX, MAX_SIDE_PX, Integral)
    if side_px % SIDE_MULTIPLE_PX:
        raise InvalidRequestError(
            f"{name} = {side_px}: it must be a multiple of {SIDE_MULTIPLE_PX} from {SIDE_MULTIPLE_PX} to {MAX_SIDE_PX}"
        )


def check_multiple(name: str, side_px: int, multiple_px: int) -> None:
    """A side is one that the loaded checkpoint takes."""
    if side_px % multiple_px:
        nearest = max(multiple_px, side_px // multiple_px * multiple_px)
        raise InvalidRequestError(
            f"{name} = {side_px}: this checkpoint takes multiples of {multiple_px} only, e.g. {nearest}"
        )


def check_window(window_px: Any, size_px: tuple[int, int]) -> None:
    """A window has a side that a tile may have, and lies within this one."""
    check_side("window in px", window_px)
    if window_px > max(size_px):
        raise InvalidRequestError(
            f"window in px = {window_px}: the tile has {size_px[1]}×{size_px[0]} px; "
            "choose a smaller window, or none for the whole image at once"
        )


def check_interval(interval: Any) -> None:
    """Two noise levels, the lower first."""
    if not isinstance(interval, tuple) or len(interval) != 2:
        raise InvalidRequestError(
            f"guidance interval = {interval}: it must be two noise levels from 0 to 1, e.g. 0.2 and 0.9"
        )
    for name, level in zip(("low", "high"), interval, strict=True):
        check_number(f"guidance interval, {name} end", level, 0, 1)
    if interval[0] > interval[1]:
        raise InvalidRequestError(
            f"guidance interval = {interval[0]:g} to {interval[1]:g}: the low end must not be above the high one"
        )
