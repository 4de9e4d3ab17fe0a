"""How often synthetic tiles must show what was asked for, and how few may look copied: against goals. No model."""

import json
from collections.abc import Iterator

import numpy as np
import pandas as pd

from medi_core.data.patients import patients_of
from medi_core.data.reference_set import ReferenceSet, is_held_out
from medi_core.errors import ReferenceSetError, TooFewTilesError
from medi_core.metadata.schema import ATTRIBUTE
from medi_core.metrics.intervals import proportion_interval
from medi_core.metrics.jackknife import jackknife_interval
from medi_core.metrics.probes import Probe
from medi_core.services.asked_versus_got import stain_agreement, training_probe
from medi_core.services.copy_audit import OVERALL, copy_report
from medi_core.services.release_targets import AT_LEAST, AT_MOST, NAN, Target
from medi_core.services.synthetic_bank import TRAINED, UNSEEN

RATIO = 0.8
"""Of the agreement on synthetic tiles to that on real ones of test patients."""
UNSEEN_AGREEMENT = {"center": 0.7, "cancer_type": 0.6}
STAIN_CORRELATION = 0.9
COPIES = 0.01
MIN_PATIENTS = 5
"""Of the test split, for a value to count in the ratio."""


def probe_targets(reference_set: ReferenceSet) -> list[Target]:
    """Center, cancer type and stains, of pairs seen and never seen."""
    probes = {name: training_probe(reference_set, name) for name in UNSEEN_AGREEMENT}
    return [
        *(_ratio(reference_set, name, probe) for name, probe in probes.items()),
        *(_never_seen(reference_set, name, probe) for name, probe in probes.items()),
        *_stains(reference_set),
    ]


def copy_targets(reference_set: ReferenceSet) -> list[Target]:
    """The share of the bank that the copy audit flags."""
    what = "synthetic tiles flagged by the copy audit"
    try:
        report = copy_report(reference_set.tiles)
    except (ReferenceSetError, TooFewTilesError) as error:
        return [Target(what, AT_MOST, COPIES, note=str(error).split(":")[0])]
    row = report.table.set_index("group").loc[OVERALL]
    tiles = reference_set.tiles
    usual = tiles[is_held_out(tiles) & tiles["window_similarity"].notna()]
    note = f"{int(row['flagged'])} flagged; {len(usual):,} held-out real tiles say what is usual"
    interval = (float(row["ci_low"]), float(row["ci_high"]))
    num_patients = patients_of(usual).nunique()
    return [Target(what, AT_MOST, COPIES, float(row["share"]), interval, int(row["n"]), num_patients, note)]


def _ratio(reference_set: ReferenceSet, attribute: str, probe: Probe | None) -> Target:
    """Agreement in the mean over values, each weighing alike, so that the two mixes need not be the same."""
    what = f"{ATTRIBUTE[attribute].label.lower()} probe, seen and rare pairs: agreement ÷ that on real tiles"
    tiles = reference_set.tiles
    real = _judged(reference_set, (tiles["origin"] == "real") & (tiles["split"] == "test"), attribute, probe)
    asked = _judged(reference_set, tiles["group"].isin(TRAINED), attribute, probe)
    patients = real.groupby("value")["like"].nunique()
    values = [value for value in sorted(set(asked["value"])) if patients.get(value, 0) >= MIN_PATIENTS]
    asked, real = (side[side["value"].isin(values)] for side in (asked, real))
    if not values:
        return Target(what, AT_LEAST, RATIO)

    def agreement(side: pd.DataFrame, kept: np.ndarray) -> float:
        return float(side[kept].groupby("value")["hit"].mean().mean())

    def ratio(kept: list[np.ndarray]) -> float:
        on_real = agreement(real, kept[1])
        return agreement(asked, kept[0]) / on_real if on_real else NAN

    everything = [np.ones(len(side), dtype=bool) for side in (asked, real)]
    got, usual = agreement(asked, everything[0]), agreement(real, everything[1])
    interval = jackknife_interval(ratio, [asked["like"], real["like"]])
    note = f"{got:.2f} against {usual:.2f} on {len(real):,} real tiles, in the mean over {len(values)} values"
    return Target(what, AT_LEAST, RATIO, ratio(everything), interval, len(asked), real["like"].nunique(), note)


def _never_seen(reference_set: ReferenceSet, attribute: str, probe: Probe | None) -> Target:
    """The share of tiles on which the probe names what was asked for."""
    what = f"{ATTRIBUTE[attribute].label.lower()} probe, never-seen pairs: agreement"
    asked = _judged(reference_set, reference_set.tiles["group"] == UNSEEN, attribute, probe)
    goal = UNSEEN_AGREEMENT[attribute]
    if asked.empty:
        return Target(what, AT_LEAST, goal)
    interval = proportion_interval(asked["hit"].to_numpy(float), asked["like"])
    note = f"{asked['value'].nunique()} values; the probe learnt from {probe.num_patients} patients"
    return Target(what, AT_LEAST, goal, float(asked["hit"].mean()), interval, len(asked), note=note)


def _judged(reference_set: ReferenceSet, mask: pd.Series, attribute: str, probe: Probe | None) -> pd.DataFrame:
    """Columns value, hit, like (a patient, or the tile itself where it is synthetic) of what the probe learnt."""
    part = reference_set.part(mask & reference_set.tiles[attribute].isin(probe.classes if probe else ()))
    values = part.tiles[attribute]
    seen = probe.predict(part.features) if len(values) else np.empty(0, dtype=object)
    like = patients_of(part.tiles).where(part.tiles["origin"] == "real", values.index.to_series().astype(str))
    return pd.DataFrame({"value": values, "hit": (seen == values.to_numpy()).astype(float), "like": like})


def _stains(reference_set: ReferenceSet) -> Iterator[Target]:
    synthetic = reference_set.synthetic.tiles
    found = stain_agreement(synthetic).set_index("attribute")
    asked = [json.loads(text).get("metadata", {}) for text in synthetic["requested"].fillna("{}")]
    for name in ("hematoxylin", "eosin"):
        what = f"{name} asked for and measured, Spearman's correlation"
        if name not in found.index:
            yield Target(what, AT_LEAST, STAIN_CORRELATION)
            continue
        rows = synthetic[[name in record for record in asked]].reset_index(drop=True)

        def correlation(kept: list[np.ndarray], rows: pd.DataFrame = rows, name: str = name) -> float:
            return float(stain_agreement(rows[kept[0]]).set_index("attribute").loc[name, "spearman"])

        interval = jackknife_interval(correlation, [rows.index.astype(str)])
        value, n = float(found.loc[name, "spearman"]), int(found.loc[name, "n"])
        yield Target(what, AT_LEAST, STAIN_CORRELATION, value, interval, n)
