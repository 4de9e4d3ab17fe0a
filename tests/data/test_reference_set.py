"""A reference set comes back as it was written; one that does not fit is refused by name."""

import json

import numpy as np
import pandas as pd
import pytest

from medi_core.data import reference_set
from medi_core.data.reference_set import COLUMNS, ReferenceSet, read_reference, require_match, write_reference
from medi_core.errors import ReferenceSetError


@pytest.fixture
def reference() -> ReferenceSet:
    rng = np.random.default_rng(0)
    tiles = pd.DataFrame({"id": [f"{i:032x}" for i in range(7)], "origin": ["real"] * 4 + ["synthetic"] * 3})
    tiles["cancer_type"] = ["Lung_adenocarcinoma"] * 6 + [None]
    tiles["eosin"] = [0.5, np.nan, *np.linspace(0.1, 1, 5)]
    tiles["seed"] = [np.nan] * 4 + [1, 2, 3]
    features = rng.normal(size=(7, 6)).astype(np.float16).astype(np.float32)
    return ReferenceSet(tiles.reindex(columns=COLUMNS), features, {"checkpoint": "medi@1", "encoder": "lite0"})


def test_it_comes_back_as_it_was_written(reference, tmp_path, monkeypatch):
    monkeypatch.setattr(reference_set, "TILES_A_FILE", 3)
    write_reference(reference, tmp_path / "reference")
    again = read_reference(tmp_path / "reference")
    assert len(list((tmp_path / "reference").glob("*.parquet"))) == 3
    assert np.array_equal(again.features, reference.features)
    assert list(again.tiles.columns) == list(COLUMNS)
    for name in ("id", "origin", "eosin", "seed"):
        pd.testing.assert_series_equal(again.tiles[name], reference.tiles[name])
    assert again.tiles["cancer_type"].isna().tolist() == [False] * 6 + [True]
    assert again.facts["checkpoint"] == "medi@1"
    assert (len(again.real.tiles), len(again.synthetic.tiles)) == (4, 3)
    assert np.array_equal(again.synthetic.features, reference.features[4:])


def test_another_checkpoint_or_encoder_is_refused_by_name(reference):
    require_match(reference, "medi@1", "lite0")
    with pytest.raises(ReferenceSetError, match=r"checkpoint medi@1, but medi@2 is loaded; load that one, or rebuild"):
        require_match(reference, "medi@2", "lite0")
    with pytest.raises(ReferenceSetError, match="encoder lite0, but uni is loaded"):
        require_match(reference, "medi@1", "uni")


def test_what_is_missing_damaged_or_not_finite_is_refused(reference, tmp_path):
    folder = tmp_path / "reference"
    with pytest.raises(ReferenceSetError, match=r"no reference set in .*build-reference"):
        read_reference(folder)
    write_reference(reference, folder)
    facts = json.loads((folder / "reference.json").read_text())
    (folder / "reference.json").write_text(json.dumps(facts | {"tiles": 9}))
    with pytest.raises(ReferenceSetError, match="incomplete: 7 of 9 tiles"):
        read_reference(folder)
    (folder / "reference.json").write_text(json.dumps(facts | {"dim": 5}))
    with pytest.raises(ReferenceSetError, match="is damaged"):
        read_reference(folder)
    (folder / "reference.json").write_text(json.dumps(facts))
    (folder / "tiles-00.parquet").write_bytes(b"PAR1")
    with pytest.raises(ReferenceSetError, match="is damaged"):
        read_reference(folder)
    reference.features[2, 1] = np.nan
    write_reference(reference, folder)
    with pytest.raises(ReferenceSetError, match=r"1 tiles of the reference set .* no finite features"):
        read_reference(folder)
