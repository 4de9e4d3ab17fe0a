"""Figures of a review: ROC curves, realism by origin, accuracy by subgroup, where artefacts were marked.

They know numbers, and no study.

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


def roc_figure(points: Sequence[Mapping[str, Any]], aucs: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """ROC curves from confidence: a thin one a reader, a thick one of all answers pooled, each with its AUC.

    Args:
        points: `reader`, `false_positive_rate`, `true_positive_rate`, in the order of a curve; "pooled" is one.
        aucs: reader → `value`, `ci_low`, `ci_high`, `n` of a curve, and under "mean" of the mean over readers.
    """
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for point in points:
        curves.setdefault(point["reader"], []).append(point)
    traces = [_curve(reader, curve, aucs[reader]) for reader, curve in curves.items()]
    chance = go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": INK, "dash": "dot", "width": 1}, name="chance")
    title = f"ROC of calling a tile synthetic, by confidence<br>mean over readers: AUC {_auc_words(aucs['mean'])}"
    figure = go.Figure([chance, *traces], _layout(title))
    figure.update_layout(margin={"t": 90}, legend={"orientation": "v", "x": 1, "y": 0, "yanchor": "bottom"})
    figure.update_xaxes(range=[-0.02, 1.02], title="real tiles called synthetic (1 − specificity)", constrain="domain")
    return figure.update_yaxes(
        range=[-0.02, 1.02], title="synthetic tiles called so (sensitivity)", scaleanchor="x", constrain="domain"
    )


def _curve(reader: str, points: Sequence[Mapping[str, Any]], auc: Mapping[str, Any]) -> go.Scatter:
    is_pooled = reader == "pooled"
    name = f"{'all answers pooled' if is_pooled else escape(reader)}: AUC {_auc_words(auc)}"
    return go.Scatter(
        x=[point["false_positive_rate"] for point in points],
        y=[point["true_positive_rate"] for point in points],
        mode="lines+markers" if is_pooled else "lines",
        line={"color": COLOURS["real"] if is_pooled else INK, "width": 4 if is_pooled else 1},
        opacity=1 if is_pooled else 0.6,
        name=name,
        showlegend=is_pooled,
        hovertemplate=f"{name}<extra></extra>",
    )


def _auc_words(auc: Mapping[str, Any]) -> str:
    if auc["value"] is None:
        return f"n/a (n = {auc['n']:,})"
    interval = "n/a" if auc["ci_low"] is None else f"{auc['ci_low']:.2f} to {auc['ci_high']:.2f}"
    return f"{auc['value']:.2f} ({interval}; n = {auc['n']:,})"


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
