"""The tour is short and goes through tabs that exist."""

from medi_core.ui.app import TABS
from medi_core.ui.tour import STEPS

WORDS_A_MINUTE = 200
"""A usual speed of silent reading of English is 200 to 260."""


def test_the_tour_is_read_in_three_minutes():
    words = sum(len(f"{step.title} {step.text}".split()) for step in STEPS)
    assert words <= 3 * WORDS_A_MINUTE * 0.8, "a fifth of the time is for looking"


def test_the_tour_goes_through_tabs_in_their_order():
    order = [list(TABS).index(step.tab) for step in STEPS]
    assert order == sorted(order)
    assert len(set(order)) >= 7
