"""The endpoints that count: they answer what the services do, within bounds. Run: pytest tests/api"""

import zipfile
from pathlib import Path
from tempfile import mkdtemp

import pandas as pd
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from medi_core.data.manifest import read_manifest
from medi_core.metadata.schema import MetadataRecord
from medi_core.planning.plan import AugmentationPlan
from medi_core.planning.targets import Target
from medi_core.services.audit import AuditConfig
from medi_core.services.audit_report import audit_report
from medi_core.services.augmentation import PlanConfig
from tests.toy_explorer import CENTERS, NUM, TYPES, write_example_files

PAIR = {"cancer_type": TYPES[0], "center": CENTERS[0]}


@pytest.fixture(scope="module")
def client(explorer) -> Client:
    return Client(explorer.url, verbose=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """manifest.csv, mine.csv, cohort.zip and tile.png."""
    folder = tmp_path_factory.mktemp("files")
    write_example_files(folder)
    return folder


def test_trust_is_that_of_the_service_with_the_support(client, explorer):
    trust = explorer.services.fidelity.trust_of(MetadataRecord(**PAIR))
    answer = client.predict(PAIR, api_name="/trust")
    assert answer["trust"]["value"] == pytest.approx(trust.value)
    assert answer["trust"]["num_patients"] == trust.num_patients > 0
    assert answer["support"] == "never seen"


def test_an_audit_is_the_report_of_the_service(client, explorer, files):
    service = explorer.services.audit
    answer = client.predict(
        handle_file(files / "mine.csv"), by=["center", "cancer_type,center"], min_tiles=3, api_name="/evaluate"
    )
    kinds = [("center",), ("cancer_type", "center")]
    report = audit_report(service, service.read(files / "mine.csv"), kinds, AuditConfig(min_tiles=3))
    assert answer["by"] == report["by"]
    assert answer["overall"] == report["overall"]
    assert {row["center"] for row in answer["by"]["center"]["subgroups"]} == set(CENTERS)


def test_a_plan_is_that_of_the_service_and_its_tiles_come_as_a_zip(client, explorer, files):
    answer = client.predict(
        handle_file(files / "manifest.csv"), target="lift", quantile=0.9, max_tiles=3, seed=5, api_name="/plan"
    )
    config = PlanConfig(target=Target("lift", quantile=0.9, max_tiles=3), seed=5)
    plan = explorer.services.augmentation.plan(read_manifest(files / "manifest.csv"), config)
    assert AugmentationPlan.from_dict(answer) == plan
    assert (answer["plan"], answer["tiles"]) == (plan.id, 3)
    quick = answer | {"num_inference_steps": 2}
    with zipfile.ZipFile(client.predict(quick, api_name="/generate_dataset")) as archive:
        manifest = pd.read_csv(archive.open("manifest.csv"))
        assert set(manifest["path"]) <= set(archive.namelist())
    wanted = [cell.record.center for cell in plan.cells for _ in range(cell.planned_tiles)]
    assert sorted(manifest["center"]) == sorted(wanted)
    assert len(wanted) == 3


def test_without_a_table_the_training_tiles_of_the_reference_set_are_counted(client):
    answer = client.predict(target="worst", cells=[list(PAIR.values())], level=30, api_name="/plan")
    cells = {tuple(cell["record"].values()): cell for cell in answer["cells"]}
    assert {cell["real_tiles"] for cell in cells.values()} == {24}
    assert [key for key, cell in cells.items() if cell["planned_tiles"]] == [tuple(PAIR.values())]
    assert answer["tiles"] == 6


def test_a_cohort_is_looked_at_with_guessed_or_given_columns_and_deleted(client, files, tmp_path, monkeypatch):
    monkeypatch.setattr("medi_core.ui.api_tables.session_folder", lambda: Path(mkdtemp(dir=tmp_path)))
    guessed = client.predict(handle_file(files / "cohort.zip"), api_name="/check_data")
    given = client.predict(handle_file(files / "cohort.zip"), columns=guessed["columns"], api_name="/check_data")
    assert given == guessed
    assert set(guessed["columns"]) >= {"File name=path", "Diagnosis=cancer_type", "Hospital=center"}
    assert (guessed["rows"], guessed["rows_given"]) == (NUM - 1, NUM)
    assert guessed["faults"][0]["what"] == "file not found"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "center"}, "by = 'center': it must be a list of at most"),
        ({"by": ["a,b,c,d"]}, "it must be a list of at most 3 texts"),
        ({"by": ["smell"]}, "smell"),
        ({"measure": "luck"}, "luck"),
        ({"split": ["exam"]}, "split = 'exam': it must be one of train, val, test"),
        ({"split": ["test"]}, "mine has no tile of the split test"),
        ({"min_tiles": 0}, "min_tiles = 0: it must be a whole number from 1"),
        ({"min_patients": "3"}, "min_patients = '3': it must be a whole number"),
    ],
)
def test_an_audit_that_makes_no_sense_is_one_clear_message(client, files, arguments, message):
    with pytest.raises(AppError, match=message):
        client.predict(handle_file(files / "mine.csv"), **arguments, api_name="/evaluate")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "match"}, "target = 'match': it must be one of uniform, lift, worst"),
        ({"target": ["lift"]}, "target = .*: it must be one of uniform"),
        ({"quantile": None}, "quantile = None: it must be from 0 to 1"),
        ({"quantile": 2}, "quantile = 2: it must be from 0 to 1"),
        ({"ratio": "all"}, "ratio = all: it must be from 0 to 100"),
        ({"level": 1.5}, "level = 1.5: it must be a whole number"),
        ({"min_trust": 7}, "min_trust = 7"),
        ({"cells": "Rome"}, "cells = 'Rome': it must be a list"),
        ({"target": "worst", "cells": [["nowhere", CENTERS[0]]]}, "there is no cell nowhere"),
        ({"target": "worst"}, "needs at least one cell"),
        ({"by": []}, "by nothing: name one attribute"),
        ({"by": ["scanner"]}, "not conditioned on scanner"),
        ({"seed": -1}, "seed = -1: it must be a whole number"),
    ],
)
def test_a_plan_that_makes_no_sense_is_one_clear_message(client, arguments, message):
    with pytest.raises(AppError, match=message):
        client.predict(**arguments, api_name="/plan")


@pytest.mark.parametrize(
    ("endpoint", "argument", "file", "message"),
    [
        ("/plan", "table", "tile.png", r"it must be a \.csv file"),
        (
            "/plan",
            "table",
            "mine.csv",
            r"mine.csv has unknown columns: 'tile' \(did you mean 'path'\?\), 'true', 'predicted'",
        ),
        ("/evaluate", "predictions", "cohort.zip", r"it must be a \.csv file"),
        ("/evaluate", "predictions", "manifest.csv", "must name the tile in one column"),
        ("/check_data", "zip", "manifest.csv", r"it must be a \.zip file"),
    ],
)
def test_a_file_of_another_kind_is_one_clear_message(client, files, endpoint, argument, file, message):
    with pytest.raises(AppError, match=message):
        client.predict(**{argument: handle_file(files / file)}, api_name=endpoint)


@pytest.mark.parametrize("path", ["/etc/passwd", "", "a" * 5000, "\0", "data:text/csv;base64,abc"])
def test_no_file_of_the_server_can_be_named(client, path):
    for endpoint, argument in (("/plan", "table"), ("/evaluate", "predictions"), ("/check_data", "zip")):
        for given in (path, {"path": path}):
            with pytest.raises(AppError, match=f"{argument} is no (uploaded )?file: send it with handle_file"):
                client.predict(**{argument: given}, api_name=endpoint)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("path", "it must be a list of at most"),
        (["File name=picture"], "a column of a manifest = 'picture': it must be one of path"),
        (["File name=path", "Hospital=path"], "write THEIRS=OURS, each of ours once"),
        (["path"], "write THEIRS=OURS"),
        (["Hospital=center"], "path"),
        (["Picture=path"], "Picture"),
    ],
)
def test_columns_that_make_no_sense_are_one_clear_message(client, files, columns, message):
    with pytest.raises(AppError, match=message):
        client.predict(handle_file(files / "cohort.zip"), columns=columns, api_name="/check_data")


def test_a_plan_that_is_too_large_or_none_is_one_clear_message(client):
    plan = client.predict(level=60, api_name="/plan")
    assert plan["tiles"] > 100
    with pytest.raises(AppError, match="at most 100 are made here"):
        client.predict(plan, api_name="/generate_dataset")
    with pytest.raises(AppError, match="too much for one call"):
        client.predict(plan | {"num_inference_steps": 200}, api_name="/generate_dataset")
    for none in ({}, [], {"format": 1}):
        with pytest.raises(AppError, match="plan"):
            client.predict(none, api_name="/generate_dataset")
    with pytest.raises(AppError, match="was made for the checkpoint other@1"):
        client.predict(plan | {"checkpoint": "other@1", "cells": plan["cells"][:1]}, api_name="/generate_dataset")
