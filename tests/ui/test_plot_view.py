"""The figure's library comes from this machine, and is the one the figure was made for."""

import re

import plotly
import plotly.offline

from medi_core.ui.plot_view import PLOTLY_JS, build_plot


def test_plotly_js_is_the_file_of_the_installed_package():
    assert PLOTLY_JS.read_text(encoding="utf-8") == plotly.offline.get_plotlyjs()


def test_the_component_names_itself_to_a_screen_reader_and_asks_no_other_host():
    plot = build_plot("A map", "some-plot", 300)
    assert 'role="figure" aria-label="A map"' in plot.html_template
    assert str(PLOTLY_JS) in plot.js_on_load
    assert "http" not in plot.js_on_load


def test_only_a_plot_that_is_asked_to_has_controls_for_keys_and_each_of_them_has_a_name():
    assert "medi-keys" not in build_plot("A map", "some-plot", 300).html_template
    plot = build_plot("A map", "some-plot", 300, by_keys=True)
    for control in ("select", "input"):
        assert re.search(rf"<label>\w[^<]*<{control}", plot.html_template)
    assert len(re.findall(r"<button[^>]*>\w[^<]+</button>", plot.html_template)) == 2
    assert "trigger('click', {point" in plot.js_on_load.split("const keys", 1)[1], "as a click on the point does"
