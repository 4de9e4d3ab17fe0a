import numpy as np
import pytest

from medi_core.figures.palette import (
    COLOURS,
    NOT_RECORDED,
    NOT_RECORDED_COLOUR,
    POOLED_COLOUR,
    colours_for,
    numeric_scale,
)

WHITE, DARK_PAGE = "#ffffff", "#0b0f19"
DEUTERANOPIA = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
"""Linear RGB as seen without green cones (Machado et al. 2009)."""


def linear_rgb(colour: str) -> np.ndarray:
    part = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """As WCAG defines it, 1 to 21."""
    low, high = sorted(linear_rgb(colour) @ [0.2126, 0.7152, 0.0722] for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_a_value_keeps_its_colour_in_whatever_order_and_however_often_it_comes():
    values = [f"value {i}" for i in range(20)]
    assert colours_for(values) == colours_for(values[::-1] + values)


def test_twenty_four_values_have_as_many_colours_and_then_they_recur():
    colours = colours_for([f"{i:02}" for i in range(30)])
    assert len({colours[f"{i:02}"] for i in range(24)}) == 24
    assert colours["24"] == colours["00"]


def test_what_is_not_recorded_is_grey_and_takes_no_place():
    assert colours_for(["a", "b"]) == colours_for(["b", NOT_RECORDED, "a"])
    assert colours_for([]) == {NOT_RECORDED: NOT_RECORDED_COLOUR}
    assert not {NOT_RECORDED_COLOUR, POOLED_COLOUR} & set(COLOURS)


@pytest.mark.parametrize("colour", [*COLOURS, NOT_RECORDED_COLOUR, POOLED_COLOUR])
def test_every_colour_can_be_seen_on_a_light_and_on_a_dark_page(colour):
    assert contrast(colour, WHITE) > 1.8
    assert contrast(colour, DARK_PAGE) > 2.5


def test_the_first_eight_differ_without_green_cones_too():
    seen = [np.cbrt(np.clip(DEUTERANOPIA @ linear_rgb(colour), 0, 1)) for colour in COLOURS[:8]]
    assert min(np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]) > 0.1


@pytest.mark.parametrize(("dark", "page"), [(True, DARK_PAGE), (False, WHITE)])
def test_both_ends_of_the_scale_of_numbers_stand_out_from_the_page(dark, page):
    assert min(contrast(colour, page) for colour in numeric_scale(dark)) > 1.8
