"""An audit as plain JSON: what the command prints and the endpoint answers. Measures nothing itself."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from medi_core.data.plain_rows import plain_rows
from medi_core.data.predictions import PredictionSet
from medi_core.metrics.disparity import Gap
from medi_core.services.audit import AuditConfig, AuditService, available_measures, unavailable_measures

Kinds = Sequence[tuple[str, ...]]
"""Kinds of subgroup: the attributes that each is made of."""


def audit_report(
    service: AuditService,
    predictions: PredictionSet,
    kinds: Kinds,
    config: AuditConfig,
    second: PredictionSet | None = None,
) -> dict[str, Any]:
    """Every measure of all tiles, one measure by subgroup, and paired differences to a second model.

    Args:
        service: that read the predictions.
        kinds: each becomes a table.
        config: measure of the subgroups, minima and resampling.
        second: its values less those of `predictions`, on the tiles of both.

    Returns:
        `overall` and `by` hold rows of subgroup tables; NaN is `None`.

    Raises:
        InvalidRequestError: as `AuditService.audit` and `compare`.
    """
    whole = [
        service.audit(predictions, (), AuditConfig(name, resampling=config.resampling)).overall
        for name in available_measures(predictions)
    ]
    report = {
        "model": predictions.model,
        "tiles": len(predictions.tiles),
        "patients": int(whole[0]["n_patients"]),
        "classes": list(predictions.classes),
        "measure": config.measure,
        "minimum": {"tiles": config.min_tiles, "patients": config.min_patients},
        "resampling": asdict(config.resampling),
        "bins": service.bins_of(),
        "overall": [record for row in whole for record in plain_rows(row.to_frame().T)],
        "not_measured": unavailable_measures(predictions),
        "by": {",".join(by): _subgroups(service, predictions, by, config) for by in kinds},
    }
    if second is not None:
        report["comparison"] = _comparison(service, predictions, second, kinds, config)
    return report


def _subgroups(
    service: AuditService, predictions: PredictionSet, by: tuple[str, ...], config: AuditConfig
) -> dict[str, Any]:
    audit = service.audit(predictions, by, config)
    return {
        "subgroups": plain_rows(audit.subgroups),
        "left_out": audit.num_left_out,
        "gap": _plain(audit.gap),
        "equalized_odds": _plain(audit.equalized_odds),
        "equalized_odds_by": list(audit.odds_by),
    }


def _comparison(
    service: AuditService, first: PredictionSet, second: PredictionSet, kinds: Kinds, config: AuditConfig
) -> dict[str, Any]:
    tables = {",".join(by) or "overall": service.compare(first, second, by, config) for by in ((), *kinds)}
    return {
        "second": second.model,
        "tiles": int(tables["overall"]["n"].sum()),
        "by": {by: plain_rows(table) for by, table in tables.items()},
    }


def _plain(gap: Gap | None) -> dict[str, Any] | None:
    """As JSON: NaN becomes null."""
    return None if gap is None else {k: None if v != v else v for k, v in asdict(gap).items()}
