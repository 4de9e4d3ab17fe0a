"""Both sides are shown as shares, with their n and the line that flags."""

import numpy as np

from medi_core.figures.similarity_histogram import similarity_histogram


def test_each_side_has_its_n_and_the_line_stands_at_the_threshold():
    figure = similarity_histogram(np.full(1200, 0.4), np.full(30, 0.5), 0.55, dark=False)
    assert [trace.name for trace in figure.data] == ["held-out real (30)", "synthetic (1,200)"]
    assert {trace.histnorm for trace in figure.data} == {"probability"}
    assert figure.layout.shapes[0].x0 == 0.55
