"""How often synthetic tiles show what was asked for, as probes trained on real tiles see it. No model, no pixels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medi_core.data.patients import patients_of
from medi_core.data.plain_rows import plain_rows
from medi_core.data.reference_set import ReferenceSet, is_held_out, is_train_split
from medi_core.errors import InvalidRequestError, TooFewTilesError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metrics.probes import Probe, agreement_by_label, fit_probe
from medi_core.services.synthetic_bank import ATTRIBUTE_SWEEP, TRAINED, UNSEEN

ASKED_IN = {"cancer_type": (*TRAINED, UNSEEN), "center": (*TRAINED, UNSEEN), "preparation": (ATTRIBUTE_SWEEP,)}
"""Attributes that a probe looks for, and the groups of synthetic tiles that were made to show it."""
STAINS = "stains"
MIN_SYNTHETIC = 8
"""Fewer synthetic tiles of a kind give no trust: of two tiles the share is nothing, a half or all."""
AGREEMENT = ("agreement", "ci_low", "ci_high")
ASKED_COLUMNS = (
    *("attribute", "value", "group", "n", *AGREEMENT),
    *("real_n", "real_patients", *(f"real_{name}" for name in AGREEMENT), "ratio", "chance"),
)
STAIN_COLUMNS = ("attribute", "n", "spearman")


@dataclass(frozen=True)
class Trust:
    """How far a (cancer type, center) is got when asked for, by the weaker of the two."""

    value: float
    """Agreement on synthetic tiles over that on held-out real ones; 0 to 1."""
    weakest: str
    """`center` or `cancer_type`: the one that sets the value; the numbers below are of it."""
    group: str
    """`seen`, `rare` or `never seen`: pairs of this kind were asked for."""
    agreement: tuple[float, float, float]
    """Share of the synthetic tiles on which the probe names what was asked for, and its 95 % interval."""
    num_tiles: int
    """Synthetic tiles."""
    real_agreement: tuple[float, float, float]
    """The same of held-out real tiles."""
    num_real: int
    num_patients: int
    """Held-out real tiles and their patients."""


def measure_requests(reference_set: ReferenceSet) -> dict[str, list[dict[str, Any]]]:
    """Every table of this module as plain JSON rows, to be kept with the set: the probes take seconds to fit."""
    tables = {name: asked_versus_got(reference_set, name) for name in ASKED_IN}
    tables[STAINS] = stain_agreement(reference_set.synthetic.tiles)
    return {name: plain_rows(table) for name, table in tables.items()}


def measured_requests(kept: Mapping[str, list[dict[str, Any]]], name: str) -> pd.DataFrame:
    """A table of `measure_requests` again.

    Raises:
        InvalidRequestError: a name that is no table.
    """
    if name not in (*ASKED_IN, STAINS):
        raise InvalidRequestError(f"table = {name!r}: it must be one of {', '.join((*ASKED_IN, STAINS))}")
    frame = pd.DataFrame(kept.get(name, []), columns=list(STAIN_COLUMNS if name == STAINS else ASKED_COLUMNS))
    shares = frame.columns.difference(["attribute", "value", "group", "n", "real_n", "real_patients"])
    return frame.astype(dict.fromkeys(shares, float))


def trust_in(tables: Mapping[str, pd.DataFrame], record: MetadataRecord, group: str) -> Trust | None:
    """Trust in the (cancer type, center) of a record, whatever else it holds.

    Args:
        tables: of `asked_versus_got`, by attribute.
        record: what is asked for.
        group: `seen`, `rare` or `never seen`: support of the pair.

    Returns:
        `None` where it is not measured: one of the two is not set, fewer than `MIN_SYNTHETIC` tiles were asked for
        with it among pairs of this kind, or the probe is not clearly above chance on real tiles of it.
    """
    asked = {"cancer_type": record.cancer_type, "center": record.center}
    if None in asked.values():
        return None
    rows = [_measured(tables[name], value, group) for name, value in asked.items()]
    if any(row is None for row in rows):
        return None
    row = min(rows, key=lambda row: row["ratio"])
    got, real = (tuple(map(float, row[[f"{of}{name}" for name in AGREEMENT]])) for of in ("", "real_"))
    num_tiles, num_real, num_patients = (int(row[name]) for name in ("n", "real_n", "real_patients"))
    value = min(float(row["ratio"]), 1.0)
    return Trust(value, row["attribute"], group, got, num_tiles, real, num_real, num_patients)


def asked_versus_got(reference_set: ReferenceSet, attribute: str, seed: int = 0) -> pd.DataFrame:
    """What a probe trained on real tiles of the training split sees in synthetic ones, beside held-out real ones.

    The probe may know a cancer type by the look of its centers: in never-seen pairs it then errs where the
    generator does not.

    Args:
        reference_set: features and metadata.
        attribute: `cancer_type`, `center` or `preparation`.
        seed: of the bootstrap over patients.

    Returns:
        A row a (value asked for, kind of pair): attribute, value, group, n, agreement with its 95 % interval (each
        seed is a case), real_n, real_patients, real_agreement with its interval (over patients), ratio of both
        agreements (may exceed 1), chance (1 / labels of the probe). NaN for a value that the probe could not
        learn, or where there are no tiles. Empty if no synthetic tile was asked for with this attribute.

    Raises:
        InvalidRequestError: another attribute.
    """
    if attribute not in ASKED_IN:
        raise InvalidRequestError(f"attribute = {attribute!r}: it must be one of {', '.join(ASKED_IN)}")
    tiles = reference_set.tiles
    is_known = tiles[attribute].notna()
    probe = training_probe(reference_set, attribute)
    held_out = reference_set.part(is_known & is_held_out(tiles))
    tables = []
    for group in ASKED_IN[attribute]:
        part = reference_set.part(is_known & (tiles["group"] == group))
        if len(part.tiles):
            tables.append(_agreement(probe, part, attribute, np.arange(len(part.tiles)), seed).assign(group=group))
    if not tables:
        return pd.DataFrame(columns=list(ASKED_COLUMNS))
    real = _agreement(probe, held_out, attribute, patients_of(held_out.tiles), seed).add_prefix("real_")
    table = pd.concat(tables).merge(real, "left", left_on="value", right_on="real_value")
    whom = patients_of(held_out.tiles)
    table["real_patients"] = table["value"].map(whom.groupby(held_out.tiles[attribute]).nunique())
    table = table.fillna({"real_n": 0, "real_patients": 0}).astype({"real_n": int, "real_patients": int})
    table["ratio"] = table["agreement"] / table["real_agreement"].where(table["real_agreement"] > 0)
    table["chance"] = 1 / len(probe.classes) if probe else np.nan
    return table.assign(attribute=attribute).sort_values("value", kind="stable", ignore_index=True)[list(ASKED_COLUMNS)]


def training_probe(reference_set: ReferenceSet, attribute: str) -> Probe | None:
    """What tells the values of an attribute apart, learnt from real tiles of the training split.

    Returns:
        `None` where there are too few tiles to learn any two values.
    """
    tiles = reference_set.tiles
    real = reference_set.part((tiles["origin"] == "real") & tiles[attribute].notna() & is_train_split(tiles))
    try:
        return fit_probe(real.features, real.tiles[attribute], real.tiles["patient_id"])
    except TooFewTilesError:
        return None


def stain_agreement(synthetic: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of the stain bin asked for with the strength measured on the tile.

    Args:
        synthetic: synthetic tiles; `requested` holds what was asked for, the stain columns what was measured.

    Returns:
        Columns attribute, n (tiles with both), spearman (NaN: below 3 tiles, or one bin); a row a stain asked for.
    """
    asked = [json.loads(text).get("metadata", {}) for text in synthetic["requested"].fillna("{}")]
    rows = []
    for name in ("hematoxylin", "eosin"):
        bins = pd.Series([record.get(name) for record in asked], index=synthetic.index, dtype=float)
        both = pd.DataFrame({"asked": bins, "got": synthetic[name].astype(float)}).dropna()
        if bins.notna().any():
            tells = len(both) > 2 and (both.nunique() > 1).all()  # two are always in order
            spearman = both["asked"].rank().corr(both["got"].rank()) if tells else np.nan
            rows.append((name, len(both), spearman))
    return pd.DataFrame(rows, columns=list(STAIN_COLUMNS))


def _agreement(probe: Probe | None, part: ReferenceSet, attribute: str, groups: Sequence, seed: int) -> pd.DataFrame:
    """Columns value, n, agreement, ci_low, ci_high; n counts all tiles, also of values that the probe never learnt."""
    asked = part.tiles[attribute]
    got = np.full(len(asked), None, dtype=object)
    if probe is not None:
        is_learnt = asked.isin(probe.classes).to_numpy()
        got[is_learnt] = probe.predict(part.features[is_learnt])
    table = agreement_by_label(asked, got, groups, seed=seed).rename(columns={"label": "value"})
    table["n"] = table["value"].map(asked.value_counts())
    return table.drop(columns="n_groups")


def _measured(table: pd.DataFrame, value: str, group: str) -> pd.Series | None:
    """The row of a value, if its ratio is one of agreements that tell something."""
    tells = table["ratio"].notna() & (table["real_ci_low"] > table["chance"]) & (table["n"] >= MIN_SYNTHETIC)
    rows = table[tells & (table["value"] == value) & (table["group"] == group)]
    return None if rows.empty else rows.iloc[0]
