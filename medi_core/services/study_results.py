"""A closed study's answers → numbers for a paper. Knows no store, no widget and no file.

First showings alone are counted; second ones serve the agreement of a reader with himself. Positive = synthetic: the
sensitivity is the share of synthetic tiles that were called synthetic. Intervals draw readers and cases (patients; a
synthetic tile is a case of its own) anew.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from medi_core.metrics.crossed_bootstrap import crossed_bootstrap
from medi_core.metrics.raters import (
    Estimate,
    cohen_kappa,
    d_prime,
    fleiss_kappa,
    mean,
    mean_d_prime,
    mean_roc_auc,
    proportion,
    roc_auc,
    roc_curve,
)
from medi_core.review.blinding import REPEATS
from medi_core.review.review_store import Study
from medi_core.review.study import StudyDesign
from medi_core.review.tasks import ARTEFACTS, CANCER_TYPE, CENTER_PAIR, COMMENT, MORPHOLOGY, ORIGIN, REALISM, SCALE
from medi_core.services.study_answers import answers_table

SUBGROUPS = ("cancer_type", "center", "support")
JUDGED = (ORIGIN, CANCER_TYPE, CENTER_PAIR)
"""Tasks with a right answer."""
MEASURED = (*JUDGED, REALISM)
NUM_FOOLED = 12
HEAT_CELLS = 16
"""Cells a side of the artefact heat map; 8 px of a tile of 128."""
MIN_ANSWERED = 0.5
"""Share of the tiles that a reader must have answered to count in the agreement, which needs tiles of all readers."""
KINDS = ("real", "synthetic")
POOLED = "pooled"
"""In the place of a reader: the answers of all."""


def study_results(study: Study, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every number of a study with its n and 95 % interval, as plain JSON; what was not asked is left out.

    Args:
        rows: as `ReviewStore.revealed` gives them.
    """
    answers = answers_table(rows)
    first, design = answers[answers["block"] != REPEATS], study.design
    by_task = {task: first[first["task"] == task] for task in design.tasks}
    parts: dict[str, Any] = {
        "study": {"name": design.name, "design": design.to_dict(), "made_with": study.made_with}
        | {"created_at": study.created_at, "closed_at": study.closed_at},
        "readers": _readers(answers),
    }
    for task, part in by_task.items():
        if len(part) and task in PARTS:
            parts[task] = PARTS[task](part)
    parts["by_subgroup"] = [row for task in MEASURED if task in by_task for row in _by_subgroup(task, by_task[task])]
    parts["agreement"] = _agreement(answers, design)
    return parts


def _origin(part: pd.DataFrame) -> dict[str, Any]:
    positive, called, score = _signals(part)
    groups = part["reader"], part["case"]
    overall = {
        **_detection(part),
        "auc": _plain(mean_roc_auc(positive, score, *groups)),
        "auc_pooled": _plain(roc_auc(positive, score, *groups)),
        "d_prime": _plain(mean_d_prime(positive, called, *groups)),
        "d_prime_pooled": _plain(d_prime(positive, called, *groups)),
    }
    by_reader = [{"reader": reader} | _of_reader(own) for reader, own in part.groupby("reader")]
    roc = [point for reader, own in (*part.groupby("reader"), (POOLED, part)) for point in _roc_points(reader, own)]
    return {"overall": overall, "by_reader": by_reader, "roc": roc, "fooled": _fooled(part)}


def _roc_points(reader: str, part: pd.DataFrame) -> list[dict[str, Any]]:
    """The ROC curve of one reader, or of all answers pooled, as rows."""
    positive, _, score = _signals(part)
    points = zip(*(axis.tolist() for axis in roc_curve(positive, score)), strict=True)
    return [
        {"reader": reader, "false_positive_rate": x, "true_positive_rate": y}
        | {"threshold": threshold if math.isfinite(threshold) else None}
        for x, y, threshold in points
    ]


def _of_reader(part: pd.DataFrame) -> dict[str, Any]:
    positive, called, score = _signals(part)
    groups = part["reader"], part["case"]
    return {
        **_detection(part),
        "auc": _plain(roc_auc(positive, score, *groups)),
        "d_prime": _plain(d_prime(positive, called, *groups)),
    }


def _signals(part: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Is synthetic; was called synthetic; how surely: the confidence, signed by the choice."""
    called = _is(part, "choice", "synthetic")
    confidence = part["confidence"].to_numpy(float)
    return _is(part, "origin", "synthetic"), called, np.where(called, confidence, -confidence)


def _detection(part: pd.DataFrame) -> dict[str, Any]:
    synthetic = part[part["origin"] == "synthetic"]
    real = part[part["origin"] == "real"]
    return {
        "accuracy": _plain(_share_right(part)),
        "sensitivity": _plain(_share_right(synthetic)),
        "specificity": _plain(_share_right(real)),
    }


def _judged(part: pd.DataFrame) -> dict[str, Any]:
    by_origin = {kind: _plain(_share_right(part[part["origin"] == kind])) for kind in KINDS}
    return {"accuracy": _plain(_share_right(part)), "by_origin": by_origin}


def _realism(part: pd.DataFrame) -> dict[str, Any]:
    part = part.assign(score=part["value"].astype(float))
    sides = {kind: part[part["origin"] == kind] for kind in KINDS}
    counts = {kind: [int((side["score"] == step).sum()) for step in SCALE] for kind, side in sides.items()}
    means = {kind: _mean_score(side) for kind, side in sides.items()}
    return {"counts": counts, "mean": means, "real_minus_synthetic": _plain(_difference(part))}


def _difference(part: pd.DataFrame) -> Estimate:
    """Mean of real less mean of synthetic tiles."""
    real, score = _is(part, "origin", "real"), part["score"].to_numpy()
    columns = np.column_stack([score * real, real, score * ~real, ~real])
    sides = score[real], score[~real]
    value = float(sides[0].mean() - sides[1].mean()) if all(map(len, sides)) else float("nan")
    interval = crossed_bootstrap(
        columns, part["reader"], part["case"], lambda s: s[:, 0] / s[:, 1] - s[:, 2] / s[:, 3], seed=0
    )
    return Estimate(value, *interval, len(part), part["reader"].nunique(), part["case"].nunique())


def _morphology(part: pd.DataFrame) -> list[dict[str, Any]]:
    """How often each feature was ticked."""
    rows = []
    for (cancer_type, kind), own in part.groupby(["cancer_type", "origin"]):
        for feature in own["options"].iloc[0]:
            ticked = np.array([feature in value for value in own["value"]], float)
            share = _plain(proportion(ticked, own["reader"], own["case"]))
            rows.append({"cancer_type": cancer_type, "feature": feature, "origin": kind, **share})
    return rows


def _artefacts(part: pd.DataFrame) -> dict[str, Any]:
    """How many tiles were marked, and where: marks a tile shown, in cells of the tile, rows from the top."""
    answer = {}
    for kind, own in part.groupby("origin"):
        points = np.array([point for value in own["value"] for point in value], float).reshape(-1, 2)
        edges = np.linspace(0, 1, HEAT_CELLS + 1)
        heat, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=(edges, edges))
        marked = np.array([len(value) > 0 for value in own["value"]], float)
        share = _plain(proportion(marked, own["reader"], own["case"]))
        answer[kind] = {"marked": share, "num_marks": len(points), "heat": (heat / len(own)).round(6).tolist()}
    return answer


def _comments(part: pd.DataFrame) -> list[dict[str, Any]]:
    said = part[part["value"].map(lambda text: bool(text.strip()))]
    return [{"reader": r, "tile": t, "comment": v} for r, t, v in said[["reader", "tile", "value"]].to_numpy()]


PARTS = {
    ORIGIN: _origin,
    CANCER_TYPE: _judged,
    CENTER_PAIR: _judged,
    REALISM: _realism,
    MORPHOLOGY: _morphology,
    ARTEFACTS: _artefacts,
    COMMENT: _comments,
}


def _fooled(part: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """The tiles that most readers, and that no reader, took for the other kind."""
    facts = ["tile", "item", "origin", "cancer_type", "center", "support"]
    judged = part.assign(is_wrong=~part["right"].astype(bool)).groupby(facts, as_index=False, dropna=False)
    table = judged.agg(n=("is_wrong", "size"), wrong=("is_wrong", "sum"))
    table["share_wrong"] = table["wrong"] / table["n"]
    most = table[table["wrong"] > 0].sort_values(["share_wrong", "n", "tile"], ascending=[False, False, True])
    nobody = table[table["wrong"] == 0].sort_values(["n", "tile"], ascending=[False, True])
    return {name: t.head(NUM_FOOLED).to_dict("records") for name, t in (("most", most), ("nobody", nobody))}


def _by_subgroup(task: str, part: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a subgroup and measure; what has no answer is left out."""
    return [
        {"task": task, "measure": measure, "by": by, "subgroup": value, **estimate}
        for by in SUBGROUPS
        for value, own in part.groupby(by)
        for measure, estimate in _measures(task, own).items()
        if estimate["n"]
    ]


def _measures(task: str, part: pd.DataFrame) -> dict[str, dict[str, Any]]:
    if task == ORIGIN:
        return _detection(part)
    if task != REALISM:
        return {"accuracy": _plain(_share_right(part))}
    return {f"mean, {kind}": _mean_score(part[part["origin"] == kind]) for kind in KINDS}


def _mean_score(part: pd.DataFrame) -> dict[str, Any]:
    return _plain(mean(part["value"].to_numpy(float), part["reader"], part["case"]))


def _agreement(answers: pd.DataFrame, design: StudyDesign) -> list[dict[str, Any]]:
    """Between readers, and within readers, of first and second showings."""
    rows = []
    for task in (ORIGIN, REALISM, CANCER_TYPE):
        part = answers[answers["task"] == task]
        if part.empty:
            continue
        label = part["choice"] if task == ORIGIN else part["value"]
        part = part.assign(label=label)
        labels = {ORIGIN: KINDS, REALISM: SCALE}.get(task, part["options"].iloc[0])
        is_scale = task == REALISM
        between = _between(part[part["block"] != REPEATS], labels, is_scale)
        name = "quadratic Cohen κ, all pairs of readers together" if is_scale else "Fleiss κ"
        rows.append({"task": task, "of": "between readers", "statistic": name, **_plain(between)})
        if design.num_repeats:
            within = cohen_kappa(_first_and_second(part), labels, is_scale)
            name = "quadratic Cohen κ" if is_scale else "Cohen κ"
            rows.append({"task": task, "of": "within readers", "statistic": name, **_plain(within)})
    return rows


def _between(part: pd.DataFrame, labels: Sequence[object], is_scale: bool) -> Estimate:
    """Of readers who answered `MIN_ANSWERED` of the tiles or more, on the tiles that all of them answered."""
    wide = part.pivot(index="item", columns="reader", values="label")
    wide = wide.loc[:, wide.notna().mean() >= MIN_ANSWERED].dropna()
    cases = part.drop_duplicates("item").set_index("item")["case"].loc[wide.index]
    if wide.shape[1] < 2 or wide.empty:
        return Estimate(*[math.nan] * 3, wide.size, wide.shape[1], cases.nunique())
    if not is_scale:
        return fleiss_kappa(np.stack([(wide == label).sum(axis=1) for label in labels], axis=1), cases)
    sides = [
        pd.DataFrame({"first": wide[a], "second": wide[b], "reader": f"{a} {b}", "case": cases})
        for a, b in combinations(wide.columns, 2)
    ]
    pooled = cohen_kappa(pd.concat(sides), labels, quadratic=True)
    return Estimate(pooled.value, pooled.ci_low, pooled.ci_high, wide.size, wide.shape[1], pooled.num_cases)


def _first_and_second(part: pd.DataFrame) -> pd.DataFrame:
    """A row a (reader, tile) that was shown twice and answered twice."""
    key = ["reader", "tile"]
    once = part[part["block"] != REPEATS].set_index(key)[["label", "case"]].rename(columns={"label": "first"})
    again = part[part["block"] == REPEATS].set_index(key)["label"].rename("second")
    return once.join(again, how="inner").reset_index()


def _readers(answers: pd.DataFrame) -> dict[str, Any]:
    own = answers.drop_duplicates("reader")
    num_answers = {str(reader): int(n) for reader, n in answers.groupby("reader").size().items()}
    return {
        "n": len(own),
        "median_years": float(own["years"].median()) if len(own) else None,
        "specialities": {str(k): int(v) for k, v in own["speciality"].value_counts().items()},
        "answers": num_answers,
    }


def _share_right(part: pd.DataFrame) -> Estimate:
    return proportion(part["right"].to_numpy(float), part["reader"], part["case"])


def _is(part: pd.DataFrame, column: str, value: str) -> np.ndarray:
    return part[column].to_numpy(object) == value


def _plain(estimate: Estimate) -> dict[str, Any]:
    """As JSON: NaN becomes null."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(estimate).items()}
