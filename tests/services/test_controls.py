"""Controls are spoiled copies of real tiles, and keep who they came from."""

import numpy as np
import pandas as pd
import pytest

from medi_core.data.manifest import read_manifest
from medi_core.services import controls
from medi_core.services.controls import BLURRED, STAIN_JITTERED, STAIN_SHUFFLED, make_controls


@pytest.fixture
def real(referenced) -> pd.DataFrame:
    return referenced.reference.load().real.tiles


def test_each_control_keeps_the_metadata_of_its_tile_and_new_pixels(referenced, toy_manifest, real):
    made = make_controls(read_manifest(toy_manifest), real, referenced.encoding)
    assert made.tiles["group"].value_counts().to_dict() == {STAIN_JITTERED: 24, BLURRED: 16, STAIN_SHUFFLED: 16}
    assert set(made.tiles.loc[made.tiles["group"] != STAIN_JITTERED, "split"]) == {"train"}
    assert made.tiles["origin"].unique().tolist() == ["control"]
    own = real.set_index("id").loc[made.tiles["of"]]
    for name in ("cancer_type", "center", "patient_id", "split"):
        assert made.tiles[name].tolist() == own[name].tolist()
    assert not set(made.tiles["id"]) & set(real["id"])
    assert len(made.features) == 56


def test_a_blurred_tile_keeps_its_colour_and_a_stain_shuffled_one_takes_the_stains_of_others(
    referenced, toy_manifest, real
):
    made = make_controls(read_manifest(toy_manifest), real, referenced.encoding)
    features = dict(zip(referenced.reference.load().tiles["id"], referenced.reference.load().features, strict=True))
    own = np.stack([features[tile_id] for tile_id in made.tiles["of"]])  # mean colours: see CountingEncoder
    change = np.abs(made.features - own).max(axis=1)
    is_blurred = (made.tiles["group"] == BLURRED).to_numpy()
    assert change[is_blurred].max() < 0.5
    assert np.median(change[~is_blurred]) > 2
    shuffled = made.tiles[made.tiles["group"] == STAIN_SHUFFLED]
    before = real.set_index("id").loc[shuffled["of"], "eosin"].to_numpy()
    assert np.abs(np.sort(shuffled["eosin"]) - np.sort(before)).mean() < np.abs(shuffled["eosin"] - before).mean()


def test_controls_are_spread_over_patients_and_repeatable(referenced, toy_manifest, real, monkeypatch):
    monkeypatch.setattr(controls, "MAX_TILES_A_CELL", 1)
    manifest = read_manifest(toy_manifest)
    made = make_controls(manifest, real, referenced.encoding, seed=3)
    again = make_controls(manifest, real, referenced.encoding, seed=3)
    assert made.tiles["id"].tolist() == again.tiles["id"].tolist()
    one = made.tiles[made.tiles["group"] == STAIN_JITTERED]
    cells = real.groupby(["cancer_type", "center", "split"]).ngroups
    assert len(one) == cells
    assert (one.groupby(["cancer_type", "center", "split"]).size() == 1).all()


def test_a_jittered_tile_keeps_its_own_stains_within_the_bounds(referenced, toy_manifest, real):
    made = make_controls(read_manifest(toy_manifest), real, referenced.encoding)
    jittered = made.tiles[made.tiles["group"] == STAIN_JITTERED]
    factor = jittered["eosin"].to_numpy() / real.set_index("id").loc[jittered["of"], "eosin"].to_numpy()
    assert (np.abs(factor - 1) < controls.JITTER + 0.1).all()
    assert factor.std() > 0.05
