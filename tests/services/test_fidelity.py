"""Synthetic tiles against held-out real ones: distances beside their floor, and what was asked against what came."""

import argparse
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medi_core.commands.fidelity import add_fidelity_commands, markdown_table
from medi_core.data.reference_set import COLUMNS, ReferenceSet
from medi_core.errors import InvalidRequestError, ReferenceSetError, UnknownValueError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Support, Vocabulary, pair_key
from medi_core.services.asked_versus_got import asked_versus_got, measure_requests, stain_agreement
from medi_core.services.fidelity import (
    ASKED,
    BLUR,
    FLOOR,
    MEASURES,
    OPEN,
    SHUFFLE,
    TRAINED_PAIRS,
    UNSEEN_PAIRS,
    FidelityConfig,
    FidelityService,
    fidelity_table,
)

SEEN = [("lung", "Lyon"), ("lung", "Paris"), ("colon", "Lyon"), ("colon", "Paris"), ("lung", "Rome")]
NEVER = ("colon", "Rome")
AXES = {"lung": 0, "colon": 1, "Lyon": 2, "Paris": 3, "Rome": 4}
QUICK = FidelityConfig(num_subsets=10)


def tiles_of(cell, num, rng, **facts) -> tuple[pd.DataFrame, np.ndarray]:
    """Tiles that show their cancer type and their center, one a channel, in noise."""
    features = rng.normal(0, 1, (num, 8)) + 6 * np.eye(8)[[AXES[value] for value in cell]].sum(axis=0)
    return pd.DataFrame({"cancer_type": cell[0], "center": cell[1], **facts}, index=range(num)), features


def build(num_synthetic: int = 20, seed: int = 0) -> ReferenceSet:
    """24 training tiles of 4 patients and 20 held-out ones of 4 others a cell; synthetic ones of the same kind."""
    rng, parts = np.random.default_rng(seed), []
    for cell in [*SEEN, NEVER]:
        for split, num in (("train", 24), ("val", 10), ("test", 10)):
            num_patients = 4 if split == "train" else 2
            patients = [f"{cell}-{split}-{i % num_patients}" for i in range(num)]
            facts = {"origin": "real", "group": "real", "split": split, "patient_id": patients}
            if (cell, split) != (NEVER, "train"):
                parts.append(tiles_of(cell, num, rng, **facts))
        group = "never seen" if cell == NEVER else "seen"
        parts.append(tiles_of(cell, num_synthetic, rng, origin="synthetic", group=group))
        part, features = tiles_of(cell, num_synthetic, rng, origin="synthetic", group="class only")
        parts.append((part.drop(columns="center"), features))
    tiles = pd.concat([part for part, _ in parts], ignore_index=True).reindex(columns=COLUMNS)
    tiles.loc[tiles["origin"] == "synthetic", "seed"] = 7
    features = np.concatenate([features for _, features in parts]).astype(np.float32)
    return ReferenceSet(tiles, features, {"checkpoint": "toy@1", "encoder": "toy-encoder"})


@pytest.fixture
def reference_set() -> ReferenceSet:
    return build()


def moved(reference_set: ReferenceSet, mask, by: float) -> ReferenceSet:
    return dataclasses.replace(
        reference_set, features=reference_set.features + by * np.asarray(mask, np.float32)[:, None]
    )


def relabelled(reference_set: ReferenceSet, mask, **values) -> ReferenceSet:
    tiles = reference_set.tiles.copy()
    for name, value in values.items():
        tiles.loc[mask, name] = value
    return dataclasses.replace(reference_set, tiles=tiles)


def is_asked(reference_set: ReferenceSet, group: str = "seen") -> pd.Series:
    return reference_set.tiles["group"] == group


def by_row(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index(["subgroup", "compared"])


def service_of(reference_set: ReferenceSet, rare: tuple = ()) -> FidelityService:
    support = {pair_key(*cell): Support(24, 1 if cell in rare else 4) for cell in SEEN}
    singles = {"cancer_type": ("lung", "colon"), "center": ("Lyon", "Paris", "Rome")}
    vocabulary = Vocabulary(
        values=singles,
        support={name: dict.fromkeys(values, Support(48, 8)) for name, values in singles.items()},
        pair_support=support,
    )
    measured = with_requests(reference_set)
    return FidelityService(SimpleNamespace(load=lambda: measured), vocabulary)


def with_controls(reference_set: ReferenceSet, every: int = 1) -> ReferenceSet:
    """Copies of every n-th training tile, moved by 1 where stain-shuffled and by 2 where blurred."""
    is_train = (reference_set.tiles["origin"] == "real") & (reference_set.tiles["split"] == "train")
    is_train &= reference_set.tiles.index % every == 0
    real = reference_set.part(is_train)
    copies = [real.tiles.assign(origin="control", group=group) for group in ("stain-shuffled", "blurred")]
    features = [reference_set.features, real.features + 1, real.features + 2]
    return ReferenceSet(
        pd.concat([reference_set.tiles, *copies], ignore_index=True), np.concatenate(features), reference_set.facts
    )


def with_requests(reference_set: ReferenceSet) -> ReferenceSet:
    return dataclasses.replace(reference_set, facts={**reference_set.facts, "asked": measure_requests(reference_set)})


def test_tiles_like_real_ones_lie_no_farther_than_other_patients(reference_set):
    rows = by_row(fidelity_table(reference_set, "overall", QUICK)).loc[TRAINED_PAIRS]
    far = by_row(fidelity_table(moved(reference_set, is_asked(reference_set), 1), "overall", QUICK)).loc[TRAINED_PAIRS]
    assert abs(rows.loc[ASKED, "kid"] - rows.loc[FLOOR, "kid"]) < 0.1 * far.loc[ASKED, "kid"]
    assert rows.loc[ASKED, "fd"] < 1.5 * rows.loc[FLOOR, "fd"] < far.loc[ASKED, "fd"]
    assert rows.loc[[ASKED, OPEN], "coverage"].min() > 0.7 > far.loc[ASKED, "coverage"]


def test_spoiled_real_tiles_lie_farther_than_unspoiled_ones_and_change_no_other_row(reference_set):
    plain = by_row(fidelity_table(reference_set, "overall", QUICK)).loc[TRAINED_PAIRS]
    rows = by_row(fidelity_table(with_controls(reference_set), "overall", QUICK)).loc[TRAINED_PAIRS]
    assert not {BLUR, SHUFFLE} & set(plain.index), "without controls there is nothing to measure"
    assert rows.loc[BLUR, "kid"] > rows.loc[SHUFFLE, "kid"] > rows.loc[FLOOR, "kid"] + 5 * rows.loc[FLOOR, "kid_sd"]
    pd.testing.assert_frame_equal(rows.loc[[ASKED, OPEN, FLOOR]], plain.loc[[ASKED, OPEN, FLOOR]])
    few = with_controls(reference_set, every=3)
    thin = by_row(fidelity_table(few, "overall", QUICK)).loc[TRAINED_PAIRS]
    pd.testing.assert_frame_equal(thin.loc[[ASKED, OPEN, FLOOR]], plain.loc[[ASKED, OPEN, FLOOR]])
    assert 0 < thin.loc[BLUR, "n"] < thin.loc[FLOOR, "n"], "few controls are compared as few"


def test_a_shift_in_one_center_raises_only_its_row_and_no_floor(reference_set):
    before = by_row(fidelity_table(reference_set, "center", QUICK))
    is_lyon = is_asked(reference_set) & (reference_set.tiles["center"] == "Lyon")
    after = by_row(fidelity_table(moved(reference_set, is_lyon, 2), "center", QUICK))
    assert after.loc[("Lyon", ASKED), "kid"] > before.loc[("Lyon", ASKED), "kid"] + 10 * before["kid_sd"].max()
    others = [row for row in before.index if row != ("Lyon", ASKED)]
    assert len(others) == 5  # class-only tiles have no center
    pd.testing.assert_frame_equal(after.loc[others], before.loc[others])


def test_another_mix_of_cells_is_no_lack_of_fidelity(reference_set):
    full = by_row(fidelity_table(reference_set, "overall", QUICK)).loc[TRAINED_PAIRS]
    is_lung = is_asked(reference_set) & (reference_set.tiles["cancer_type"] == "lung")
    fewer = reference_set.part(~is_lung | (reference_set.tiles.index % 5 == 0))
    rows = by_row(fidelity_table(fewer, "overall", QUICK)).loc[TRAINED_PAIRS]
    assert rows["n"].unique().tolist() == [52]  # 3 × 4 of lung, 2 × 20 of colon, on every side
    assert abs(rows.loc[ASKED, "kid"]) < 2 * full["kid_sd"].max()
    assert rows["num_cells"].unique() == [5]


@pytest.mark.parametrize("by", ["overall", "cancer_type", "center"])
def test_all_rows_of_a_subgroup_have_the_same_n_at_most_the_limit(reference_set, by):
    table = fidelity_table(reference_set, by, dataclasses.replace(QUICK, max_tiles=35))
    assert (table.groupby("subgroup")["n"].nunique() == 1).all()
    assert table["n"].max() == 35
    assert (table["n_patients"] == 4 * table["num_cells"]).all(), "tiles are spread over all held-out patients"


def test_too_few_tiles_are_not_measured_and_their_number_is_given():
    table = fidelity_table(build(num_synthetic=4), "center", QUICK).set_index("subgroup")
    assert table.loc["Rome", "n"].tolist() == [4, 4]
    assert table[list(MEASURES)].isna().all(axis=None)
    with pytest.raises(InvalidRequestError, match="min_tiles = 5: it must be from 6"):
        FidelityConfig(min_tiles=5)


def test_never_seen_pairs_stand_apart_and_have_no_floor(reference_set):
    before = by_row(fidelity_table(reference_set, "overall", QUICK))
    after = by_row(fidelity_table(moved(reference_set, is_asked(reference_set, "never seen"), 3), "overall", QUICK))
    pd.testing.assert_frame_equal(after.loc[[TRAINED_PAIRS]], before.loc[[TRAINED_PAIRS]])
    assert after.loc[(UNSEEN_PAIRS, ASKED), "kid"] > before.loc[(UNSEEN_PAIRS, ASKED), "kid"] + 1
    assert after.loc[(UNSEEN_PAIRS, FLOOR), list(MEASURES)].isna().all()
    no_real = reference_set.part((reference_set.tiles["center"] != "Rome") | (reference_set.tiles["origin"] != "real"))
    assert set(fidelity_table(no_real, "overall", QUICK)["subgroup"]) == {TRAINED_PAIRS}


def test_the_same_seed_gives_the_same_tables_and_another_one_does_not(reference_set):
    config = dataclasses.replace(QUICK, max_tiles=40)
    first = fidelity_table(reference_set, "overall", config)
    pd.testing.assert_frame_equal(first, fidelity_table(reference_set, "overall", config))
    other = fidelity_table(reference_set, "overall", dataclasses.replace(config, seed=1))
    assert first["kid"][0] != other["kid"][0]
    with pytest.raises(InvalidRequestError, match="by = 'smell': it must be one of overall, cancer_type, center"):
        fidelity_table(reference_set, "smell")


def test_what_shows_the_request_agrees_and_a_swapped_request_does_not(reference_set):
    table = asked_versus_got(reference_set, "cancer_type")
    assert table[["value", "group"]].to_numpy().tolist() == [
        ["colon", "seen"],
        ["colon", "never seen"],
        ["lung", "seen"],
    ]
    assert table["n"].tolist() == [40, 20, 60]
    assert (table[["agreement", "real_agreement", "ratio"]] > 0.98).all(axis=None)
    assert table["real_patients"].tolist() == [12, 12, 12]
    is_lung = is_asked(reference_set) & (reference_set.tiles["cancer_type"] == "lung")
    swapped = asked_versus_got(relabelled(reference_set, is_lung, cancer_type="colon"), "cancer_type")
    assert swapped.loc[swapped["group"] == "seen", "agreement"].tolist() == [pytest.approx(0.4, abs=0.02)]


def test_the_probe_never_saw_a_held_out_patient(reference_set):
    plain = asked_versus_got(reference_set, "center")
    is_held_out = reference_set.tiles["split"].isin(("val", "test")).to_numpy()
    patients = pd.factorize(reference_set.tiles["patient_id"])[0]
    marks = 30 * np.eye(patients.max() + 2)[patients] * is_held_out[:, None]  # a channel a patient, and nothing else
    features = np.hstack([reference_set.features * ~is_held_out[:, None], marks]).astype(np.float32)
    marked = asked_versus_got(dataclasses.replace(reference_set, features=features), "center")
    assert marked["real_agreement"].mean() < 0.5 < 0.98 < plain["real_agreement"].min()
    np.testing.assert_allclose(marked["agreement"], plain["agreement"], atol=0.03)


def test_a_value_that_the_probe_could_not_learn_is_listed(reference_set):
    is_rome = (reference_set.tiles["center"] == "Rome") & (reference_set.tiles["split"] == "train")
    table = asked_versus_got(relabelled(reference_set, is_rome, patient_id="one"), "center")
    rome = table[table["value"] == "Rome"]
    assert (rome["n"].tolist(), rome["real_n"].tolist()) == ([20, 20], [40, 40])
    assert rome[["agreement", "real_agreement", "ratio"]].isna().all(axis=None)
    assert asked_versus_got(reference_set, "preparation").empty  # nothing was asked
    with pytest.raises(InvalidRequestError, match="attribute = 'age': it must be one of cancer_type"):
        asked_versus_got(reference_set, "age")


def test_trust_is_that_of_the_weaker_part_and_of_pairs_of_the_same_kind(reference_set):
    every_other = is_asked(reference_set) & (reference_set.tiles.index % 2 == 0)
    service = service_of(
        relabelled(reference_set, every_other & (reference_set.tiles["center"] == "Paris"), center="Lyon")
    )
    trust = service.trust_of(MetadataRecord(cancer_type="lung", center="Lyon", gender="female"))
    row = service.asked_versus_got("center").set_index(["value", "group"]).loc[("Lyon", "seen")]
    assert (trust.weakest, trust.group, trust.num_tiles) == ("center", "seen", 60)
    assert trust.value == pytest.approx(row["ratio"])
    assert trust.value == pytest.approx(2 / 3, abs=0.05)
    assert (trust.num_real, trust.num_patients) == (40, 8)
    assert service.trust_of(MetadataRecord(cancer_type="lung", center="Rome")).value > 0.95
    never_seen = service.trust_of(MetadataRecord(cancer_type="colon", center="Rome"))
    assert (never_seen.group, never_seen.num_tiles) == ("never seen", 20)
    assert never_seen.value <= 1


def test_trust_is_unknown_where_it_was_not_measured(reference_set):
    service = service_of(reference_set, rare=(("lung", "Paris"),))
    assert service.trust_of(MetadataRecord(cancer_type="lung", center="Paris")) is None  # no tile of a rare pair
    assert service.trust_of(MetadataRecord(cancer_type="lung")) is None
    noise = np.random.default_rng(1).normal(size=reference_set.features.shape).astype(np.float32)
    blind = service_of(dataclasses.replace(reference_set, features=noise))
    assert blind.trust_of(MetadataRecord(cancer_type="lung", center="Lyon")) is None  # a ratio of two chances


def test_a_report_of_trust_holds_its_numbers_and_the_support_or_says_that_it_was_not_measured(reference_set):
    service = service_of(reference_set, rare=(("lung", "Paris"),))
    record = MetadataRecord(cancer_type="lung", center="Lyon")
    report = json.loads(json.dumps(service.trust_report(record)))
    trust = service.trust_of(record)
    assert report["metadata"] == {"cancer_type": "lung", "center": "Lyon"}
    assert report["support"].startswith("seen (")
    assert report["trust"] == json.loads(json.dumps(dataclasses.asdict(trust)))
    unmeasured = service.trust_report(MetadataRecord(cancer_type="lung", center="Paris"))
    assert (unmeasured["trust"], unmeasured["support"][:4]) == (None, "rare")
    with pytest.raises(InvalidRequestError, match=r"given: center Lyon\. Name both"):
        service.trust_report(MetadataRecord(center="Lyon"))
    with pytest.raises(UnknownValueError, match="'Lyonn' is not in"):
        service.trust_report(MetadataRecord(cancer_type="lung", center="Lyonn"))


def test_a_set_built_without_probes_says_how_to_get_them(reference_set):
    service = FidelityService(SimpleNamespace(load=lambda: reference_set), Vocabulary({"center": ("a",)}))
    with pytest.raises(ReferenceSetError, match=r"built without probes; rebuild it: python -m medi_core build-ref"):
        service.asked_versus_got("center")


def test_a_preparation_is_looked_for_where_it_was_asked_for(reference_set):
    tiles, rng = reference_set.tiles, np.random.default_rng(2)
    frozen = rng.random(len(tiles)) < 0.5
    shown = reference_set.features + 8 * np.outer(frozen, np.eye(8)[6]).astype(np.float32)
    prepared = tiles.assign(preparation=np.where(frozen, "frozen", "FFPE"))
    prepared.loc[is_asked(reference_set), "group"] = "attribute sweep"
    table = asked_versus_got(ReferenceSet(prepared, shown, {}), "preparation").set_index("value")
    assert table["group"].unique().tolist() == ["attribute sweep"]
    assert table["n"].sum() == is_asked(reference_set).sum()
    assert (table[["agreement", "real_agreement"]] > 0.95).all(axis=None)


def test_stain_bins_asked_for_are_ranked_against_strengths_measured(reference_set):
    assert stain_agreement(reference_set.synthetic.tiles).empty
    requests = [json.dumps({"metadata": {"hematoxylin": str(1 + i % 5), "center": "Lyon"}}) for i in range(10)]
    strengths = [1.0 + (i % 5) ** 2 for i in range(9)] + [np.nan]
    tiles = pd.DataFrame({"requested": [*requests, None], "hematoxylin": [*strengths, 3.0], "eosin": 1.0})
    assert stain_agreement(tiles).to_dict("records") == [
        {"attribute": "hematoxylin", "n": 9, "spearman": pytest.approx(1)}
    ]


def test_the_commands_name_checkpoint_encoder_tiles_and_seeds(reference_set, monkeypatch):
    services = SimpleNamespace(
        fidelity=service_of(reference_set), reference=SimpleNamespace(load=lambda: with_requests(reference_set))
    )
    monkeypatch.setattr("medi_core.bootstrap.build_services", lambda _: services)
    parser = argparse.ArgumentParser()
    add_fidelity_commands(parser.add_subparsers())
    for arguments, title in ((["fidelity", "--by", "overall"], "FD-toy-encoder"), (["probe"], "real_agreement")):
        flags = parser.parse_args(arguments)
        answer = flags.run(flags)
        json.dumps(answer, allow_nan=False)
        text = flags.text(answer)
        assert "240 synthetic tiles of toy@1, seeds 7 to 7; 120 held-out real tiles of 24 patients" in text
        assert title in text
        assert "FID" not in text
    assert answer["tables"]["stains"] == []


def test_what_is_missing_or_divides_columns_is_shown_as_such():
    table = markdown_table(pd.DataFrame({"value": ["a|b"], "n": [12], "kid": [np.nan], "fd": [0.123456]}))
    assert table.splitlines() == [
        "| value | n | kid | fd |",
        "| --- | --- | --- | --- |",
        r"| a\|b | 12 | n/a | 0.1235 |",
    ]
