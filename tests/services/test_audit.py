"""The audit of predictions: subgroups, their bins, cells, and the command around it. No checkpoint is needed."""

import json

import numpy as np
import pandas as pd
import pytest

from medi_core.cli import main
from medi_core.data.predictions import PredictionSet
from medi_core.data.reference_set import COLUMNS, ReferenceSet, write_reference
from medi_core.errors import InvalidRequestError, PredictionsError
from medi_core.metrics.subgroup import Resampling
from medi_core.services import audit as audit_service
from medi_core.services.audit import AuditConfig, AuditService, available_measures, held_out
from medi_core.services.subgroup_columns import recorded_columns

QUICK = AuditConfig(min_tiles=10, min_patients=2, resampling=Resampling(100))
NUM = 240


def reference_tiles() -> pd.DataFrame:
    """Two cancer types, three centers of ten patients each; the last 8 tiles have neither center nor patient."""
    i = np.arange(NUM)
    patients = i % 30
    tiles = pd.DataFrame(
        {
            "id": [f"{n:032x}" for n in i],
            "origin": "real",
            "cancer_type": np.array(["Lung_adenocarcinoma", "Colorectal_benign"], dtype=object)[i // 3 % 2],
            "center": np.array(["Lyon", "Paris", "Rome"], dtype=object)[patients % 3],
            "hematoxylin": np.linspace(0.1, 2, NUM),
            "patient_id": [f"P{n}" for n in patients],
            "dataset": "toy",
            "split": np.where(patients < 15, "train", np.where(patients < 20, "val", "test")),
            "image": "region.png",
        }
    )
    tiles.loc[NUM - 8 :, ["center", "patient_id"]] = None
    return tiles.reindex(columns=COLUMNS)


@pytest.fixture
def assets(tmp_path):
    tiles = reference_tiles()
    write_reference(ReferenceSet(tiles, np.ones((NUM, 2), np.float32), {}), tmp_path / "assets" / "reference")
    return tmp_path / "assets"


@pytest.fixture
def service(assets) -> AuditService:
    return AuditService(assets / "reference", assets / "predictions.parquet")


def predicted(seed: int = 0, bad_center: str = "Rome") -> pd.DataFrame:
    """A model that is right nine times of ten, but half of the time at one center."""
    rng, tiles = np.random.default_rng(seed), reference_tiles()
    classes = sorted(tiles["cancer_type"].unique())
    is_right = rng.random(NUM) < np.where(tiles["center"] == bad_center, 0.5, 0.9)
    sure = rng.uniform(0.5, 1, NUM).round(4)
    first = np.where((tiles["cancer_type"] == classes[0]) == is_right, sure, 1 - sure)
    table = {"tile": tiles["id"], "true": tiles["cancer_type"], f"p:{classes[0]}": first, f"p:{classes[1]}": 1 - first}
    return pd.DataFrame(table)


@pytest.fixture
def predictions(service, tmp_path) -> PredictionSet:
    predicted().to_csv(tmp_path / "mine.csv", index=False)
    return service.read(tmp_path / "mine.csv")


def test_the_worst_center_is_found_with_its_patients_and_the_gap_to_the_best(service, predictions):
    audit = service.audit(predictions, ["center"], QUICK)
    worst = audit.subgroups.iloc[0]
    assert worst["subgroup"] == "Rome"
    assert (worst["n"], worst["n_patients"]) == (77, 10)
    assert audit.gap.lowest == "Rome"
    assert audit.gap.ci_low > 0
    assert audit.gap.value == pytest.approx(audit.subgroups["value"].max() - worst["value"])
    assert "Rome" in (audit.equalized_odds.lowest, audit.equalized_odds.highest)
    assert audit.num_left_out == 8, "tiles without a center are in no subgroup"
    assert (audit.overall["n"], audit.overall["n_patients"]) == (NUM, 31), "tiles without a patient count as one"


def test_a_crossing_with_the_true_class_is_recall(service, predictions):
    audit = service.audit(predictions, ["cancer_type", "center"], QUICK)
    assert set(audit.subgroups["measure"]) == {"recall"}
    assert len(audit.subgroups) == 6
    hits = predictions.tiles[predictions.tiles["true"] == predictions.tiles["predicted"]]
    recall = (
        hits.groupby(["cancer_type", "center"]).size() / predictions.tiles.groupby(["cancer_type", "center"]).size()
    )
    found = audit.subgroups.set_index(["cancer_type", "center"])["value"]
    np.testing.assert_allclose(found.loc[recall.index], recall)


def test_numbers_are_cut_at_the_quantiles_of_the_training_tiles(service, predictions):
    table = service.audit(predictions, ["hematoxylin"], QUICK).subgroups
    assert sorted(table["subgroup"])[0].startswith("1 (below ")
    assert len(table) == 5
    tiles = reference_tiles()
    training = tiles[tiles["split"] == "train"]
    columns = service.attributes(predictions, ["hematoxylin"])["hematoxylin"]
    counts = columns[predictions.tiles["id"].isin(training["id"])].value_counts()
    assert counts.max() - counts.min() <= 2, "training tiles fill the bins equally"


def test_minima_decide_who_is_ranked_and_one_subgroup_has_no_gap(service, predictions):
    audit = service.audit(predictions, ["center"], AuditConfig(min_tiles=1000))
    assert not audit.subgroups["is_ranked"].any()
    assert audit.gap is None
    assert audit.equalized_odds is None
    for given, message in (({"min_tiles": 0}, "min_tiles = 0"), ({"measure": "smell"}, "measure = 'smell'")):
        with pytest.raises(InvalidRequestError, match=message):
            AuditConfig(**given)


@pytest.mark.parametrize("label", ["true", "cancer_type"])
def test_equalized_odds_are_never_taken_between_the_true_classes_themselves(service, predictions, label):
    alone = service.audit(predictions, [label], QUICK)
    assert (alone.equalized_odds, alone.odds_by) == (None, ())
    assert alone.gap is not None
    crossed, plain = (service.audit(predictions, by, QUICK) for by in ([label, "center"], ["center"]))
    assert crossed.odds_by == ("center",)
    assert crossed.equalized_odds == plain.equalized_odds


def test_the_command_says_why_the_true_classes_have_no_equalized_odds(evaluate):
    _, out, _ = evaluate("--predictions", "mine.csv", "--by", "true", "cancer_type,center")
    assert "Equalized-odds difference: none, for the subgroups are the true classes themselves." in out
    assert "Equalized-odds difference over center (" in out


def test_the_command_calls_recall_what_is_recall_and_says_where_it_stands_beside_another_measure(evaluate, tmp_path):
    table = predicted()
    is_alone = reference_tiles()["center"].eq("Rome") & table["true"].ne("Lung_adenocarcinoma")
    table[~is_alone].to_csv(tmp_path / "mine.csv", index=False)
    _, out, _ = evaluate("--predictions", "mine.csv", "--by", "true", "center")
    assert "Gap (recall): " in out
    assert "Gap (recall of Lung_adenocarcinoma against balanced_accuracy): " in out
    assert out.count("Recalls of one class stand beside values of balanced_accuracy.") == 1


def test_a_cell_shows_its_confusions_and_its_wrong_tiles_first(service, predictions):
    by, key = ["cancer_type", "center"], ["Lung_adenocarcinoma", "Rome"]
    cell = service.cell(predictions, by, key, QUICK)
    own = predictions.tiles[(predictions.tiles["cancer_type"] == key[0]) & (predictions.tiles["center"] == "Rome")]
    assert cell.measured["n"] == len(cell.tiles) == len(own) == cell.confusions["n"].sum()
    assert set(cell.tiles["id"]) == set(own["id"])
    wrong = cell.confusions[cell.confusions["true"] != cell.confusions["predicted"]]
    assert wrong["n"].tolist() == [(own["true"] != own["predicted"]).sum()]
    assert (wrong["n_patients"] <= 10).all()
    is_right = (cell.tiles["true"] == cell.tiles["predicted"]).to_numpy()
    assert (np.diff(is_right.astype(int)) >= 0).all()
    assert (np.diff(cell.tiles["confidence"][~is_right]) <= 0).all()
    empty = service.cell(predictions, by, ["Lung_adenocarcinoma", "Mars"], QUICK)
    assert (empty.measured["n"], len(empty.tiles), len(empty.confusions)) == (0, 0, 0)
    with pytest.raises(InvalidRequestError, match="Rome is no subgroup by cancer_type, center: choose one anew"):
        service.cell(predictions, by, ["Rome"], QUICK)


def test_two_models_are_compared_on_the_tiles_that_both_predicted(service, predictions, tmp_path):
    second = predicted(seed=1, bad_center="none").sample(150, random_state=0)
    second.to_csv(tmp_path / "second.csv", index=False)
    other = service.read(tmp_path / "second.csv")
    table = service.compare(predictions, other, ["center"], QUICK).set_index("subgroup")
    assert table["n"].sum() == 150 - second["tile"].isin(predictions.tiles["id"].iloc[NUM - 8 :]).sum()
    assert table.loc["Rome", "difference"] > table.loc[["Lyon", "Paris"], "difference"].max()
    with pytest.raises(InvalidRequestError, match="mine and second have no tile in common"):
        service.compare(predictions.part(~predictions.tiles["id"].isin(second["tile"])), other, [])


def test_shipped_predictions_are_those_of_test_patients(service, predictions, assets):
    assert service.shipped() is None
    frame = predicted()
    frame.attrs["model"] = "lite0"
    frame.to_parquet(assets / "predictions.parquet")
    shipped = service.shipped()
    assert shipped.model == "lite0"
    assert set(shipped.tiles["split"]) == {"test"}
    assert len(shipped.tiles) == (reference_tiles()["split"] == "test").sum()
    with pytest.raises(InvalidRequestError, match="mine has no tile of the split test"):
        held_out(predictions.part(predictions.tiles["split"] == "train"))


def test_only_what_is_recorded_and_measurable_is_offered(service, predictions, tmp_path):
    expected = ["true", "cancer_type", "center", "hematoxylin", "dataset", "split"]
    assert recorded_columns(predictions.tiles) == expected
    assert len(available_measures(predictions)) == 5
    table = predicted()[["tile", "true"]].assign(predicted=predicted()["true"])
    table.to_csv(tmp_path / "plain.csv", index=False)
    plain = service.read(tmp_path / "plain.csv")
    assert available_measures(plain) == ["accuracy", "balanced_accuracy", "f1"]
    with pytest.raises(InvalidRequestError, match="these predictions have none: give a column p:<class>"):
        service.audit(plain, [], AuditConfig("auc"))
    for by, message in ((["smell"], "by smell: it must be made of true, cancer_type"), (["center"] * 2, "once")):
        with pytest.raises(InvalidRequestError, match=message):
            service.audit(plain, by)


@pytest.fixture
def evaluate(assets, tmp_path, monkeypatch, capfd):
    predicted().to_csv(tmp_path / "mine.csv", index=False)
    predicted(1, "none").to_csv(tmp_path / "second.csv", index=False)
    monkeypatch.setenv("MEDI_ASSETS_DIR", str(assets))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        return main(["evaluate", *arguments]), *capfd.readouterr()

    return run


def test_the_command_gives_every_number_with_its_tiles_patients_and_interval(evaluate):
    code, out, err = evaluate(
        "--predictions", "mine.csv", "--by", "center", "cancer_type,center", "--compare", "second.csv"
    )
    assert (code, err) == (0, "")
    assert "mine: 240 tiles of 31 patients, 2 classes. 95% intervals over patients, 1,000 resamples, seed 0" in out
    head = "| subgroup | n | n_patients | measure | value | ci_low | ci_high | interval | is_ranked |"
    assert out.count(head) == 2
    assert [line for line in out.splitlines() if line.startswith("| ")][1:6]
    assert "| Rome | 77 | 10 | balanced_accuracy |" in out
    assert "| Lung_adenocarcinoma × Rome |" in out
    assert "Gap (balanced_accuracy): " in out
    assert "8 tiles are in no subgroup: center is not recorded." in out
    assert "## second less mine, paired, 240 tiles" in out
    for measure in ("accuracy", "balanced_accuracy", "f1", "auc", "ece"):
        assert f"| 240 | 31 | {measure} |" in out


def test_with_more_patients_than_auc_can_pair_all_else_is_measured_and_the_reason_given(evaluate, monkeypatch):
    monkeypatch.setattr(audit_service, "MAX_PAIRED_PATIENTS", 30)
    code, out, err = evaluate("--predictions", "mine.csv", "--by", "center")
    assert (code, err) == (0, "")
    assert "Not measured: auc: it compares patients pair by pair, at most 30 of them; given 31." in out
    assert "| 240 | 31 | auc |" not in out
    assert "| 240 | 31 | ece |" in out
    monkeypatch.setattr(audit_service, "MAX_PAIRED_PATIENTS", 31)
    assert "Not measured" not in evaluate("--predictions", "mine.csv", "--by", "center")[1]


def test_the_command_answers_in_json_without_nan(evaluate):
    arguments = ("--predictions", "mine.csv", "--split", "val", "test", "--min-tiles", "1000", "--json")
    code, out, _ = evaluate(*arguments)
    answer = json.loads(out, parse_constant=pytest.fail)
    assert code == 0
    assert answer["tiles"] == int((reference_tiles()["split"] != "train").sum())
    assert list(answer["by"]) == ["true", "center"]
    assert answer["by"]["center"]["gap"] is None
    assert {row["measure"] for row in answer["by"]["true"]["subgroups"]} == {"recall"}


def test_the_command_refuses_bad_predictions_in_one_line(evaluate, tmp_path, service):
    predicted().drop(columns="true").to_csv(tmp_path / "bad.csv", index=False)
    code, out, err = evaluate("--predictions", "bad.csv")
    assert (code, out) == (2, "")
    assert err.startswith("error: bad.csv lacks the column true; allowed: ")
    assert err.count("\n") == 1
    assert evaluate("--predictions", "mine.csv", "--by", "smell")[0] == 2
    with pytest.raises(PredictionsError):
        service.read(tmp_path / "bad.csv")


def test_own_predictions_with_an_own_manifest_need_no_reference_set(tmp_path, toy_manifest, monkeypatch, capsys):
    monkeypatch.setenv("MEDI_ASSETS_DIR", str(tmp_path / "no assets"))
    tiles = pd.read_csv(toy_manifest)
    table = pd.DataFrame({"path": tiles["path"], "true": tiles["cancer_type"], "predicted": tiles["cancer_type"]})
    table.to_csv(toy_manifest.parent / "mine.csv", index=False)
    command = ["evaluate", "--predictions", str(toy_manifest.parent / "mine.csv"), "--by", "center", "age", "--json"]
    assert main([*command, "--manifest", str(toy_manifest)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["tiles"], answer["patients"], answer["bins"]) == (24, 12, "these tiles")
    assert {row["subgroup"] for row in answer["by"]["center"]["subgroups"]} == {"Lyon", "Paris", "Rome"}
    assert len(answer["by"]["age"]["subgroups"]) == 4
    assert main(command) == 2, "tiles by path need their manifest"
