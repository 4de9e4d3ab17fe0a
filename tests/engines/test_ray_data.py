"""The Ray engine makes the bytes of the in-process one, also where a worker is killed in the middle."""

import hashlib
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from medi_core.engines import ray_data
from medi_core.engines.ray_data import RayEngine
from medi_core.errors import InvalidRequestError, StorageError
from medi_core.metadata.schema import MetadataRecord
from medi_core.planning.plan import AugmentationPlan, PlannedCell
from medi_core.services.dataset_generation import DatasetOptions
from tests.toy_classifier import save_toy_classifier

OPTIONS = DatasetOptions("webdataset", shard_size=2)


@pytest.fixture
def services(tiny_services):
    save_toy_classifier(tiny_services.settings.classifier_dir)
    return tiny_services


def plan_of(services, num: int, steps: int) -> AugmentationPlan:
    cell = PlannedCell(MetadataRecord(center="Lyon"), 1, 1, 1, 1, None, num)
    return AugmentationPlan(services.checkpoint.id, ("center",), {}, (cell,), num_inference_steps=steps)


def digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}


def test_without_ray_the_message_says_what_to_install(services, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InvalidRequestError, match=r"requirements-cluster\.txt"):
        RayEngine(services.settings, plan_of(services, 2, 1), tmp_path, OPTIONS)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"gpus_a_worker": -1}])
def test_workers_that_make_no_sense_are_refused(services, tmp_path, wrong):
    with pytest.raises(InvalidRequestError, match="give 1 worker or more"):
        RayEngine(services.settings, plan_of(services, 2, 1), tmp_path, OPTIONS, **wrong)


def test_a_maker_takes_a_shard_that_is_whole_as_it_is_and_answers_errors_as_values(services, tmp_path):
    plan = plan_of(services, 4, 1)
    services.datasets.run(plan, tmp_path / "set", OPTIONS)
    before = digests(tmp_path / "set")
    maker = ray_data._ShardMaker(services.settings, plan.to_dict(), str(tmp_path / "set"), OPTIONS)
    assert maker({"index": [1]}) == {"index": [1], "notes": ["[]"], "error": [""]}
    assert digests(tmp_path / "set") == before
    (tmp_path / "file").write_text("")
    nowhere = ray_data._ShardMaker(services.settings, plan.to_dict(), str(tmp_path / "file"), OPTIONS)
    assert "a worker cannot take part: could not write" in nowhere({"index": [0]})["error"][0]
    other = DatasetOptions("zip", shard_size=2)
    differs = ray_data._ShardMaker(services.settings, plan.to_dict(), str(tmp_path / "set"), other)
    assert "format = 'webdataset', asked for is 'zip'" in differs({"index": [0]})["error"][0]


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(services, tmp_path):
    """20 shards on two workers of a local cluster; one worker gets SIGKILL when some shards are there."""
    ray = pytest.importorskip("ray")
    plan = plan_of(services, 40, 30)
    services.datasets.run(plan, tmp_path / "alone", OPTIONS)
    engine = RayEngine(services.settings, plan, tmp_path / "cluster", OPTIONS, workers=2)
    killed = []

    def kill_one() -> None:
        """As soon as the third shard is written."""
        while len(list((tmp_path / "cluster").glob("*.tar"))) < 3:
            time.sleep(0.02)
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it ended meanwhile
                if b"ray::MapWorker" in command.read_bytes():
                    os.kill(int(command.parent.name), signal.SIGKILL)
                    killed.append(command.parent.name)
                    return

    threading.Thread(target=kill_one, daemon=True).start()
    try:
        services.datasets.run(plan, tmp_path / "cluster", OPTIONS, engine=engine)
    finally:
        ray.shutdown()
    assert killed, "a worker was killed while shards were missing"
    assert digests(tmp_path / "cluster") == digests(tmp_path / "alone")


def test_a_folder_that_the_nodes_do_not_share_is_said(services, tmp_path, monkeypatch):
    class Rows(list):
        def map_batches(self, *_, **__):
            return self

        def iter_rows(self):
            return [{"index": 0, "notes": "[]", "error": ""}]

    class Ray:
        class data:  # noqa: N801
            from_items = staticmethod(lambda *_, **__: Rows())
            ActorPoolStrategy = staticmethod(lambda **_: None)

            class DataContext:
                get_current = staticmethod(lambda: Ray)

        is_initialized = staticmethod(lambda: True)

    monkeypatch.setattr(ray_data, "_ray", lambda: Ray)
    plan = plan_of(services, 2, 1)
    engine = RayEngine(services.settings, plan, tmp_path / "set", OPTIONS)
    with pytest.raises(StorageError, match="all nodes must share the folder"):
        services.datasets.run(plan, tmp_path / "set", OPTIONS, engine=engine)
