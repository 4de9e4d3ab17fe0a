"""Shards of a data set on a Ray cluster: actors hold the model, shards are rows, a shard whose worker died is retried.

The one home of Ray, an extra (requirements-cluster.txt). All nodes see the same folder, e.g. on a network file system:
a shard is written where it is made, and only its index travels.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medi_core.data.shard_files import ShardRecord, read_record
from medi_core.errors import InvalidRequestError, MediError, StorageError
from medi_core.planning.plan import AugmentationPlan
from medi_core.planning.shards import Shard, shards_of
from medi_core.services.dataset_generation import DatasetOptions, Report
from medi_core.settings import Settings

MAX_WORKERS = 10_000


@dataclass(frozen=True)
class RayEngine:
    """An `Engine` for `DatasetService.run`.

    Raises:
        InvalidRequestError: Ray is not installed, or a number of workers that makes no sense.
    """

    settings: Settings
    plan: AugmentationPlan
    folder: Path
    options: DatasetOptions
    address: str | None = None
    """Of a cluster that runs; `None`: one on this machine, for this run."""
    workers: int = 1
    gpus_a_worker: float = 0

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= MAX_WORKERS or self.gpus_a_worker < 0:
            raise InvalidRequestError(
                f"workers = {self.workers}, GPUs a worker = {self.gpus_a_worker}: give 1 worker or more, and no "
                "negative number of GPUs"
            )
        _ray()

    def __call__(self, shards: Sequence[Shard], report: Report) -> Iterator[tuple[Shard, ShardRecord]]:
        ray = _ray()
        by_index = {shard.index: shard for shard in shards}
        if not ray.is_initialized():
            try:
                ray.init(
                    address=self.address,
                    log_to_driver=False,
                    include_dashboard=False,
                    num_cpus=None if self.address else max(self.workers, os.cpu_count() or 1),
                )
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise InvalidRequestError(
                    f"no Ray cluster at {self.address or 'this machine'}: {str(error).splitlines()[0]}"
                ) from error
        ray.data.DataContext.get_current().enable_progress_bars = False
        indices = ray.data.from_items([{"index": index} for index in by_index], override_num_blocks=len(by_index))
        facts = (self.settings, self.plan.to_dict(), str(self.folder.resolve()), _with_whole_paths(self.options))
        made = indices.map_batches(
            _ShardMaker,
            fn_constructor_args=facts,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=self.workers),
            num_gpus=self.gpus_a_worker or None,
        )
        for row in made.iter_rows():
            if row["error"]:
                raise StorageError(row["error"])
            shard = by_index[int(row["index"])]
            record = read_record(self.folder, shard.name, self.options.form)
            if record is None:
                raise StorageError(
                    f"{shard.name} was made by a worker and is not in {self.folder}: all nodes must share the folder"
                )
            for note in json.loads(row["notes"]):
                report(note, 0)
            report("", shard.num_tiles)
            yield shard, record


class _ShardMaker:
    """An actor: loads the model once, then makes one shard after the other."""

    def __init__(self, settings: Settings, plan: dict[str, Any], folder: str, options: DatasetOptions) -> None:
        from medi_core.bootstrap import build_services

        self._service = build_services(settings).datasets
        self._plan, self._folder, self._options = AugmentationPlan.from_dict(plan), Path(folder), options
        self._shards = shards_of(self._plan, options.shard_size)
        self._refused = ""
        try:
            self._service.open(self._plan, self._folder, options)
        except MediError as error:
            self._refused = f"a worker cannot take part: {error}"

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        (index,) = batch["index"]
        shard, notes, error = self._shards[int(index)], [], self._refused
        if (
            not error and read_record(self._folder, shard.name, self._options.form) is None
        ):  # else: made before its worker died
            try:
                self._service.make_shard(
                    self._plan, shard, self._folder, self._options, lambda *report: notes.append(report[0])
                )
            except MediError as refused:  # as a value: Ray would wrap it in an error of its own, and try again
                error = str(refused)
        return {"index": [int(index)], "notes": [json.dumps([note for note in notes if note])], "error": [error]}


def _with_whole_paths(options: DatasetOptions) -> DatasetOptions:
    """A worker has another working directory."""
    manifest = options.drop_copies_of
    return options if manifest is None else replace(options, drop_copies_of=manifest.resolve())


def _ray():
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InvalidRequestError(
            "the engine ray needs the package Ray: pip install -r requirements-cluster.txt, or leave --engine out"
        ) from error
    return ray
