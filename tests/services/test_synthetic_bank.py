"""The bank holds what it says, in equal numbers with and without the center, and can be made again."""

import json
from collections import Counter

import numpy as np
import pytest

from medi_core.data.feature_cache import tile_digest
from medi_core.errors import InvalidRequestError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.services.generation_request import request_from
from medi_core.services.synthetic_bank import BankConfig, make_bank, plan_bank
from tests.services.test_encoding import CountingEncoder

HELD_OUT = [
    ("Breast_invasive_carcinoma", "Lyon"),
    ("Lung_adenocarcinoma", "Lyon"),
    ("Lung_adenocarcinoma", "Paris"),
    ("Lung_adenocarcinoma", "Atlantis"),
]


def test_every_pair_is_there_with_as_many_tiles_of_its_type_without_a_center_where_they_can_be_compared(toy_vocabulary):
    entries = plan_bank(toy_vocabulary, HELD_OUT, BankConfig(tiles_a_pair=8, crossed_centers=1, crossed_types=2))
    pairs = [e for e in entries if e.group != "attribute sweep"]
    of = {(e.record.cancer_type, e.record.center): (e.group, len(e.seeds)) for e in pairs}
    assert of["Breast_invasive_carcinoma", "Lyon"] == ("seen", 8)
    assert of["Lung_adenocarcinoma", "Lyon"] == ("rare", 2)
    assert of["Lung_adenocarcinoma", "Paris"] == ("never seen", 8)  # in held-out tiles only
    assert ("Lung_adenocarcinoma", "Atlantis") not in of  # the checkpoint knows no such center
    assert of["Breast_invasive_carcinoma", None] == ("class only", 8)  # none for Paris: no held-out tiles
    assert of["Lung_adenocarcinoma", None] == ("class only", 10)
    seeds = [seed for e in entries for seed in e.seeds]
    assert len(set(seeds)) == len(seeds)


def test_crossings_of_well_supported_centers_and_types_are_never_seen(toy_vocabulary):
    entries = plan_bank(toy_vocabulary, [], BankConfig(tiles_a_pair=4, crossed_centers=3, crossed_types=2))
    never = {(e.record.cancer_type, e.record.center) for e in entries if e.group == "never seen"}
    assert never == {("Breast_invasive_carcinoma", "Rome"), ("Lung_adenocarcinoma", "Paris")}
    assert not never & set(toy_vocabulary.pairs_by_support())


def test_a_checkpoint_that_knows_no_center_is_refused_with_what_it_knows():
    with pytest.raises(InvalidRequestError, match="not conditioned on center; it knows: cancer_type, eosin"):
        plan_bank(Vocabulary({"cancer_type": ("a", "b"), "eosin": ("1", "2")}), [], BankConfig())


def test_a_number_of_tiles_below_one_is_refused():
    with pytest.raises(InvalidRequestError, match="tiles_a_pair = 0: it must be from 1 to 1,000"):
        BankConfig(tiles_a_pair=0)


def test_a_bank_that_was_stopped_goes_on_and_every_tile_can_be_made_again(tiny_services, tmp_path, monkeypatch):
    monkeypatch.setattr("medi_core.services.encoding.TileEncoder", CountingEncoder)
    generation, encoding = tiny_services.generation, tiny_services.encoding
    config = BankConfig(tiles_a_pair=1, crossed_centers=1, crossed_types=1)
    entries = plan_bank(generation.vocabulary, [], config)[:3]

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        make_bank(entries, generation, encoding, tmp_path / "work", stop)
    made = []
    generate = generation.generate
    monkeypatch.setattr(generation, "generate", lambda request: made.append(request) or generate(request))
    bank, pixels = make_bank(entries, generation, encoding, tmp_path / "work")
    assert len(made) == 1, "finished entries are taken from the folder"
    assert len(bank.tiles) == len(bank.features) == 3
    assert [tile_digest(image) for image in pixels] == bank.tiles["id"].tolist()
    assert Counter(bank.tiles["group"]) == Counter(e.group for e in entries for _ in e.seeds)
    monkeypatch.undo()
    for _, row in bank.tiles.iterrows():
        (tile,) = generation.generate(request_from(json.loads(row["requested"])))
        assert tile_digest(tile.image) == row["id"]
        assert np.isclose(tile.eosin, row["eosin"], equal_nan=True)


def test_a_sweep_asks_for_every_value_of_one_attribute_with_the_best_supported_types(toy_vocabulary):
    entries = plan_bank(toy_vocabulary, [], BankConfig(tiles_a_pair=8, swept_types=1))
    sweeps = [entry for entry in entries if entry.group == "attribute sweep"]
    asked = Counter(tuple(entry.record.to_dict().items()) for entry in sweeps)
    values = [
        (name, value) for name in ("hematoxylin", "eosin", "preparation") for value in toy_vocabulary.values[name]
    ]
    assert asked == Counter((("cancer_type", "Breast_invasive_carcinoma"), pair) for pair in values)
    assert {len(entry.seeds) for entry in sweeps} == {2}
