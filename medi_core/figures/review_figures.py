"""Figures of a review: realism by origin, accuracy by subgroup, where artefacts were marked. Knows numbers, no study.

Ink is a grey that can be read on a white and on a dark page.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from medi_core.figures.error_bars import error_bars
from medi_core.metadata.schema import display_name

INK = "#7c8494"
COLOURS = {"real": "#1d76b1", "synthetic": "#ffa700"}
DASHES = {"real": "", "synthetic": "/"}
"""Bars differ in pattern too: colour alone is not for everyone."""


def realism_figure(counts: Mapping[str, Sequence[int]]) -> go.Figure:
    """Share of answers 1 to 5, real beside synthetic; an origin without answers is left out.

    Args:
        counts: origin → how many answers of each step.
    """
    bars = [
        go.Bar(
            x=list(range(1, len(steps) + 1)),
            y=[n / sum(steps) for n in steps],
            name=f"{origin} ({sum(steps):,} answers)",
            marker={"color": COLOURS[origin], "pattern": {"shape": DASHES[origin]}},
            customdata=list(steps),
            hovertemplate="%{customdata} answers<extra></extra>",
        )
        for origin, steps in counts.items()
        if sum(steps)
    ]
    figure = go.Figure(bars, _layout("Realism: 1 = not at all, 5 = as real"))
    return figure.update_yaxes(tickformat=".0%", title="share of answers").update_xaxes(dtick=1)


def subgroup_figure(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Accuracy of each subgroup with its interval.

    Args:
        rows: `subgroup`, `value`, `ci_low`, `ci_high`, `n`; rows without a value are left out.
    """
    shown = [row for row in rows if row["value"] is not None][::-1]
    value, low, high = ([row[name] for row in shown] for name in ("value", "ci_low", "ci_high"))
    points = go.Scatter(
        x=value,
        y=[f"{escape(display_name(str(row['subgroup'])))} (n = {row['n']})" for row in shown],
        error_x=error_bars(value, low, high) | {"color": INK},
        mode="markers",
        marker={"size": 9, "color": COLOURS["real"]},
        showlegend=False,
    )
    figure = go.Figure(points, _layout("Share of right answers, 95 % interval"))
    return figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%").update_yaxes(automargin=True)


def heat_figure(heats: Mapping[str, Sequence[Sequence[float]]]) -> go.Figure:
    """Marks a tile shown, over the place in the tile; one map an origin, on one scale.

    Args:
        heats: origin → rows from the top.
    """
    traces, domains = [], {}
    highest = max((max(map(max, heat)) for heat in heats.values()), default=0) or 1
    for i, (origin, heat) in enumerate(heats.items()):
        axis = "" if i == 0 else str(i + 1)
        traces.append(
            go.Heatmap(
                **{"z": heat, "zmin": 0, "zmax": highest, "colorscale": "Viridis", "showscale": i == 0},
                **{"xaxis": f"x{axis}", "yaxis": f"y{axis}", "name": origin},
                colorbar={"title": {"text": "marks a tile"}},
                hovertemplate="%{z:.3f} marks a tile<extra>" + origin + "</extra>",
            )
        )
        span = [i / len(heats) + 0.01, (i + 1) / len(heats) - 0.03]
        domains[f"xaxis{axis}"] = {"domain": span, "title": origin, "showticklabels": False, "anchor": f"y{axis}"}
        domains[f"yaxis{axis}"] = {"autorange": "reversed", "showticklabels": False, "scaleanchor": f"x{axis}"} | {
            "anchor": f"x{axis}"
        }
    return go.Figure(traces, _layout("Where artefacts were marked") | domains)


def _layout(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"size": 14}},
        "font": {"color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 50, "r": 20, "t": 50, "b": 50},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    }
