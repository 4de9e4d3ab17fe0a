"""The SVG writer: well-formed, self-contained, everything inside the picture, points where their numbers say."""

import itertools
import math
import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks.svg_plot import MAX_TICKS, Panel, Series, linear_ticks, log_ticks, plot_svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.003), (0, 417.3), (-3, 12), (0, 29180)])
def test_linear_ticks_are_round_evenly_spaced_and_enclose_the_data(low, high):
    ticks = linear_ticks(low, high)
    steps = {round(b - a, 9) for a, b in itertools.pairwise(ticks)}
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert len(steps) == 1
    assert len(ticks) <= MAX_TICKS + 2
    (step,) = steps
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)


def test_log_ticks_are_powers_of_ten_around_the_data():
    assert log_ticks(16, 29180) == [10, 100, 1000, 10000, 100000]
    assert log_ticks(100, 100) == [100, 1000]


def drawn(panel: Panel, **more) -> ElementTree.Element:
    return ElementTree.fromstring(plot_svg("A & B", "KID <1>", [panel], **more))


def discs(svg: ElementTree.Element) -> list[tuple[float, float]]:
    """Discs in the order drawn; the last one is that of the legend."""
    return [(float(disc.get("cx")), float(disc.get("cy"))) for disc in svg.iter(f"{SVG}circle")][:-1]


def test_the_file_is_well_formed_and_loads_nothing():
    text = plot_svg("A & B", "KID <1>", [Panel("x", [Series("<ours>", [(1, 2, 0.5)])])], {"real & true": 1.0})
    texts = [element.text for element in ElementTree.fromstring(text).iter(f"{SVG}text")]
    assert {"A & B", "KID <1>", "<ours>", "real & true"} <= set(texts)
    assert "href" not in text
    assert text.count("http") == 1, "the name of the format alone"
    assert "prefers-color-scheme: dark" in text


def test_larger_values_are_further_right_and_further_up():
    places = discs(drawn(Panel("x", [Series("ours", [(1, 10, 1), (2, 30, 1), (4, 20, 1)])])))
    (x1, y1), (x2, y2), (x3, y3) = places
    assert x1 < x2 < x3
    assert x3 - x2 == pytest.approx(2 * (x2 - x1), abs=0.2)
    assert y2 < y3 < y1


def test_equal_factors_are_equal_steps_on_a_logarithmic_axis():
    (x1, _), (x2, _), (x3, _) = discs(drawn(Panel("x", [Series("a", [(20, 1, 0), (200, 1, 0), (2000, 1, 0)])], True)))
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)


def test_nothing_leaves_the_picture_even_below_zero_and_at_marks():
    series = [Series(name, [(3, -2, 4), (5, 100, 30)], is_line=False) for name in "abcde"]
    svg = drawn(Panel("x", series, True, {"paper": 29180}), y_marks={"real": 150.0})
    _, _, width, height = map(float, svg.get("viewBox").split())
    group = svg.find(f"{SVG}g")
    left, top = map(float, group.get("transform").removeprefix("translate(").removesuffix(")").split())
    lines = list(group.iter(f"{SVG}line"))
    assert lines
    for line in lines:
        assert all(0 <= left + float(line.get(name, 0)) <= width for name in ("x1", "x2"))
        assert all(0 <= top + float(line.get(name, 0)) <= height for name in ("y1", "y2"))
    dots = [shape for shape in group.iter() if shape.get("class") == "dot"]
    shapes = {(dot.tag, len(dot.get("points", "").split())) for dot in dots}
    assert len(shapes) >= 3, "series differ in shape, not in colour alone"
