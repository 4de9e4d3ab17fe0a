"""The command that audits a classifier by its predictions. It runs no model and opens no image."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medi_core.commands.parsing import add_command, markdown_table, names
from medi_core.settings import Settings

if TYPE_CHECKING:
    from medi_core.data.predictions import PredictionSet
    from medi_core.services.audit import AuditService

# Heavy imports stand inside the commands that need them: `--help` answers at once.
MEASURES = ("accuracy", "balanced_accuracy", "f1", "auc", "ece")
DEFAULT_BY = (("true",), ("center",))


def add_evaluation_commands(commands) -> None:
    """evaluate."""
    summary = "accuracy of a classifier by subgroup, worst first, with intervals over patients"
    command = add_command(commands, "evaluate", evaluate, summary, text=evaluation_text)
    columns = "tile (or id, or path, x, y), true, predicted and/or p:<class>, metadata"
    command.add_argument("--predictions", type=Path, required=True, help=f"CSV or parquet: {columns}")
    command.add_argument("--manifest", type=Path, help="of the tiles, if predictions name them by path")
    by = "attributes, or crossings as a,b; true = recall of each class (default: true center)"
    command.add_argument("--by", type=names, nargs="+", default=DEFAULT_BY, metavar="ATTRIBUTE", help=by)
    command.add_argument("--measure", choices=MEASURES, default="balanced_accuracy", help="of the subgroups")
    command.add_argument("--split", nargs="+", choices=("train", "val", "test"), help="tiles of these splits only")
    command.add_argument("--min-tiles", type=int, default=20, help="for the worst subgroup (default: 20)")
    command.add_argument("--min-patients", type=int, default=3, help="likewise (default: 3)")
    command.add_argument("--compare", type=Path, metavar="FILE2", help="predictions of a second model, less these")
    command.add_argument("--seed", type=int, default=0, help="of the resamples")
    command.add_argument("--out", type=Path, metavar="CSV", help="subgroups of the first --by; `plan --audit` reads it")


def evaluate(flags: argparse.Namespace) -> dict[str, Any]:
    """Overall, a table a kind of subgroup, and paired differences to a second model."""
    from medi_core.metrics.subgroup import Resampling
    from medi_core.services.audit import AuditConfig, AuditService
    from medi_core.services.audit_report import audit_report

    assets = Settings.from_environment().assets_dir
    service = AuditService(assets / "reference", assets / "predictions.parquet")
    config = AuditConfig(flags.measure, flags.min_tiles, flags.min_patients, Resampling(seed=flags.seed))
    predictions = _predictions(service, flags.predictions, flags)
    second = _predictions(service, flags.compare, flags) if flags.compare else None
    answer = audit_report(service, predictions, flags.by, config, second)
    if flags.out:
        _write_subgroups(answer["by"][",".join(flags.by[0])]["subgroups"], flags.out)
    return answer


def evaluation_text(answer: dict[str, Any]) -> str:
    """What was audited, and a Markdown table a kind of subgroup, each with its gap."""
    import pandas as pd

    resampling, least = answer["resampling"], answer["minimum"]
    lines = [
        f"{answer['model']}: {answer['tiles']:,} tiles of {answer['patients']:,} patients, "
        f"{len(answer['classes'])} classes. {resampling['level']:.0%} intervals over patients, {resampling['num']:,} "
        f"resamples, seed {resampling['seed']}; the worst of subgroups of at least {least['tiles']} tiles and "
        f"{least['patients']} patients. Tiles without a patient id count as one patient a slide, or a data set. "
        f"Numbers are cut into bins at the quantiles of {answer['bins']}.",
        *("", "## overall", "", markdown_table(pd.DataFrame(answer["overall"]).drop(columns="subgroup"))),
    ]
    if answer["not_measured"]:
        reasons = (f"{name}: {reason}" for name, reason in answer["not_measured"].items())
        lines += ["", f"Not measured: {'; '.join(reasons)}."]
    for by, found in answer["by"].items():
        table = pd.DataFrame(found["subgroups"])
        shown = markdown_table(table.drop(columns=by.split(","))) if len(table) else "no tile has it recorded"
        lines += ["", f"## {by}", "", shown, "", *_remarks(found, by)]
    if "comparison" in answer:
        comparison = answer["comparison"]
        lines += ["", f"## {comparison['second']} less {answer['model']}, paired, {comparison['tiles']:,} tiles"]
        for by, rows in comparison["by"].items():
            columns = [name for name in by.split(",") if name in rows[0]] if rows else []
            lines += ["", markdown_table(pd.DataFrame(rows).drop(columns=columns))]
    return "\n".join(lines)


def _predictions(service: "AuditService", path: Path, flags: argparse.Namespace) -> "PredictionSet":
    from medi_core.services.audit import of_splits

    predictions = service.read(path, flags.manifest)
    return of_splits(predictions, flags.split) if flags.split else predictions


def _write_subgroups(rows: list[dict[str, Any]], path: Path) -> None:
    import pandas as pd

    from medi_core.storage import translate_write_errors

    with translate_write_errors(str(path)):
        pd.DataFrame(rows).to_csv(path, index=False)


def _remarks(found: dict[str, Any], by: str) -> list[str]:
    from medi_core.metrics.subgroup import RECALL

    lines, odds_by = [], found["equalized_odds_by"]
    odds = "Equalized-odds difference" + (f" over {','.join(odds_by)}" if odds_by and ",".join(odds_by) != by else "")
    for title, name in (("Gap", "gap"), (odds, "equalized_odds")):
        if name == "equalized_odds" and not odds_by:
            lines.append(f"{title}: none, for the subgroups are the true classes themselves.")
            continue
        if (gap := found[name]) is None:
            lines.append(f"{title}: none, for fewer than two subgroups are large enough.")
            continue
        ends = "no interval" if gap["ci_low"] is None else f"{gap['ci_low']:.4g} to {gap['ci_high']:.4g}"
        lines.append(f"{title} ({gap['of']}): {gap['value']:.4g} ({ends}), {gap['lowest']} against {gap['highest']}.")
    if RECALL in (ranked := {row["measure"] for row in found["subgroups"] if row["is_ranked"]}) and len(ranked) > 1:
        lines.append(f"Recalls of one class stand beside values of {' and '.join(sorted(ranked - {RECALL}))}.")
    if found["left_out"]:
        lines.append(f"{found['left_out']:,} tiles are in no subgroup: {by} is not recorded.")
    return lines
