"""What a plan takes from tables: shares, and the worst subgroups of an audit as its own command writes them."""

import argparse

import pandas as pd
import pytest

from medi_core.cli import main
from medi_core.commands.plan import add_plan_commands, plan_config
from medi_core.errors import ManifestError, PlanError
from medi_core.metrics.subgroup import Resampling
from medi_core.planning.targets import WORST
from medi_core.services import plan_tables
from medi_core.services.audit import AuditConfig, AuditService
from medi_core.services.plan_tables import read_shares, read_worst
from tests.services.test_audit import assets, predicted  # noqa: F401  a fixture

BY = ("cancer_type", "center")


@pytest.fixture
def audit_csv(assets, tmp_path, monkeypatch):  # noqa: F811
    """The subgroups of an audit in which tiles of Rome are often wrong, as `evaluate --out` writes them."""
    predicted().to_csv(tmp_path / "mine.csv", index=False)
    monkeypatch.setenv("MEDI_ASSETS_DIR", str(assets))
    arguments = ["--by", "cancer_type,center", "center", "--min-tiles", "10", "--min-patients", "2"]
    path = tmp_path / "audit.csv"
    assert (
        main(["evaluate", "--predictions", str(tmp_path / "mine.csv"), *arguments, "--out", str(path), "--json"]) == 0
    )
    return path


def test_the_worst_subgroups_are_those_of_the_audit_in_its_order(audit_csv, assets, tmp_path):  # noqa: F811
    service = AuditService(assets / "reference", assets / "predictions.parquet")
    config = AuditConfig("balanced_accuracy", 10, 2, Resampling())
    expected = service.audit(service.read(tmp_path / "mine.csv"), BY, config).subgroups
    worst = read_worst(audit_csv, BY, 2)
    assert list(worst) == list(expected[list(BY)].head(2).itertuples(index=False, name=None))
    assert {center for _, center in worst} == {"Rome"}
    assert len(read_worst(audit_csv, BY, 100)) == expected["is_ranked"].sum() == 6


def test_subgroups_that_are_too_small_to_be_ranked_are_not_taken(audit_csv):
    table = pd.read_csv(audit_csv)
    table.assign(is_ranked=[False, *[True] * 5]).to_csv(audit_csv, index=False)
    assert read_worst(audit_csv, BY, 1) == (tuple(table.loc[1, list(BY)]),)
    table.assign(is_ranked=False).to_csv(audit_csv, index=False)
    with pytest.raises(PlanError, match="no subgroup has tiles and patients enough to be ranked"):
        read_worst(audit_csv, BY)


def test_the_command_fills_them_beside_the_cells_that_are_named(audit_csv):
    parser = argparse.ArgumentParser()
    add_plan_commands(parser.add_subparsers())
    named = "Colorectal_benign|Lyon"
    flags = parser.parse_args(
        ["plan", "--target", WORST, "--audit", str(audit_csv), "--num-worst", "1", "--cells", named]
    )
    assert plan_config(flags).chosen == (("Colorectal_benign", "Lyon"), *read_worst(audit_csv, BY, 1))


@pytest.mark.parametrize(("flag", "target"), [("--cells", "uniform"), ("--audit", "match"), ("--shares", "worst")])
def test_a_flag_of_another_target_is_refused(flag, target):
    parser = argparse.ArgumentParser()
    add_plan_commands(parser.add_subparsers())
    with pytest.raises(PlanError, match=rf"{flag} goes with --target \w+, given is --target {target}"):
        plan_config(parser.parse_args(["plan", "--target", target, flag, "x.csv"]))


def test_an_audit_by_more_attributes_is_refused(audit_csv):
    with pytest.raises(PlanError, match="is an audit by center, cancer_type: give one by center alone"):
        read_worst(audit_csv, ("center",))


def test_shares_are_read_by_cell(tmp_path):
    path = tmp_path / "shares.csv"
    path.write_text("center,cancer_type,share\nLyon,A,1\nRome,B,3\n")
    assert read_shares(path, BY) == {("A", "Lyon"): 1.0, ("B", "Rome"): 3.0}


def test_tables_that_cannot_be_used_are_refused_by_name(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_text("center,share\nLyon,1\nLyon,2\n")
    with pytest.raises(
        PlanError, match=r"table\.csv lacks the columns cancer_type; give a row a cell, with cancer_type, c"
    ):
        read_shares(path, BY)
    with pytest.raises(PlanError, match=r"table\.csv names a cell twice"):
        read_shares(path, ("center",))
    with pytest.raises(PlanError, match="lacks the columns is_ranked; give the table of an audit by center"):
        read_worst(path, ("center",))
    with pytest.raises(PlanError, match="0 worst subgroups were asked for"):
        read_worst(path, ("center",), 0)
    with pytest.raises(ManifestError, match="does not exist"):
        read_shares(tmp_path / "nothing.csv", BY)
    monkeypatch.setattr(plan_tables, "MAX_BYTES", 10)
    with pytest.raises(PlanError, match=r"table\.csv has 27 bytes; at most 10 are read here"):
        read_shares(path, ("center",))
