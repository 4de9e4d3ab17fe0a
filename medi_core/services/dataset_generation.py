"""A plan → a data set on disk, shard by shard: reproducible, resumable, measured. No widgets.

Tile = checkpoint, cell and seed. A shard depends on nothing but the plan, so that any worker can make it, twice if one
died, and the bytes are the same on one type of device.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from medi_core.data.shard_files import (
    FOLDER,
    SUFFIX,
    WEBDATASET,
    ShardRecord,
    ShardTile,
    has_record,
    open_dataset,
    read_record,
    write_shard,
    write_summary,
)
from medi_core.data.tile_files import encode_png, manifest_row
from medi_core.errors import InvalidRequestError, PlanError
from medi_core.metadata.vocabulary import count
from medi_core.planning.plan import AugmentationPlan, write_plan
from medi_core.planning.shards import DEFAULT_SHARD_SIZE, CellTiles, Shard, require_shard_size, shards_of
from medi_core.services.augmentation import AugmentationService
from medi_core.services.export import strength_or_none
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest
from medi_core.services.tile_measures import MeasureService, TileMeasures, training_rows
from medi_core.storage import translate_write_errors

MAX_TILES_IN_APP = 100
"""Of a plan that is made while its user waits: some minutes on two cores."""
COPY, UNRECOGNISED = "copies", "not recognised by probes"
SIGNIFICANT = 4
"""Digits of measured numbers: the last ones of a float differ between machines."""


@dataclass(frozen=True)
class DatasetOptions:
    """How a plan becomes files."""

    form: str = WEBDATASET
    """`folder`, `zip` or `webdataset`."""
    shard_size: int = DEFAULT_SHARD_SIZE
    drop_unrecognised: bool = False
    """Leave out tiles in which the probes do not see what was asked for."""
    drop_copies_of: Path | None = None
    """Manifest of the training regions: leave out tiles that the copy audit would flag."""

    def __post_init__(self) -> None:
        if self.form not in SUFFIX:
            raise PlanError(f"format {self.form!r} is unknown; known: {', '.join(SUFFIX)}")
        require_shard_size(self.shard_size)


@dataclass(frozen=True)
class DatasetProgress:
    """What a run tells while it goes on."""

    done: int
    """Tiles made or found, those that were left out by a filter among them."""
    total: int
    made: int
    """Tiles made by this run."""
    seconds: float
    """Since it began."""
    note: str = ""
    """What a person should know, e.g. that a shard was damaged and is made anew."""

    @property
    def seconds_left(self) -> float | None:
        """At the rate of this run; `None` before its first tile."""
        return (self.total - self.done) * self.seconds / self.made if self.made else None


def require_usable(options: DatasetOptions) -> None:
    """What can be told of options without a checkpoint.

    Raises:
        ManifestError: the training regions to compare with cannot be used.
    """
    if options.drop_copies_of is not None:
        training_rows(options.drop_copies_of)


Report = Callable[[str, int], None]
"""Called with (note, tiles made since the last call)."""
Engine = Callable[[Sequence[Shard], Report], Iterator[tuple[Shard, ShardRecord]]]
"""Makes and writes shards, in any order."""


class DatasetService:
    """Data sets from plans with the loaded checkpoint."""

    def __init__(
        self, generation: GenerationService, augmentation: AugmentationService, measures: MeasureService
    ) -> None:
        self._generation, self._augmentation, self._measures = generation, augmentation, measures
        self._filters: dict[Path, tuple[pd.DataFrame, float]] = {}
        self._at_once = generation.batch_size
        """Tiles that the memory holds: what one cell found out is neither tried nor told again for the next."""

    def run(
        self,
        plan: AugmentationPlan,
        folder: Path,
        options: DatasetOptions,
        on_progress: Callable[[DatasetProgress], None] = lambda _: None,
        engine: Engine | None = None,
    ) -> dict[str, Any]:
        """Make what is missing of a data set; answers the summary that is written beside it.

        Args:
            folder: new, empty, or begun with the same plan and options: then shards that are whole are kept.
            on_progress: an error it raises ends the run; what is written by then is whole.
            engine: by default one shard after the other, here.

        Raises:
            PlanError: a plan that this checkpoint cannot run.
            StorageError: the folder holds something else, or cannot be written.
            ReferenceSetError, ManifestError: a filter without what it needs.
        """
        shards = shards_of(plan, options.shard_size)
        self._augmentation.require_runnable(plan)
        self.open(plan, folder, options)
        self._at_once = self._generation.batch_size  # another run may have had less memory
        begun, made, done = time.monotonic(), 0, 0

        def tell(note: str, num: int) -> None:
            nonlocal made, done
            made, done = made + num, done + num
            on_progress(DatasetProgress(done, plan.num_tiles, made, time.monotonic() - begun, note))

        records: dict[int, ShardRecord] = {}
        for shard in shards:
            if record := read_record(folder, shard.name, options.form):
                records[shard.index] = record
                done += shard.num_tiles
            elif has_record(folder, shard.name):
                tell(f"{shard.name} is damaged and is made anew", 0)
        tell(f"{len(records)} of {len(shards)} shards were there" if records else "", 0)
        missing = [shard for shard in shards if shard.index not in records]
        engine = engine or (lambda shards, report: self._one_by_one(plan, folder, options, shards, report))
        for shard, record in engine(missing, tell) if missing else ():
            records[shard.index] = record
        return self._summarize(plan, folder, options, [records[shard.index] for shard in shards])

    def open(self, plan: AugmentationPlan, folder: Path, options: DatasetOptions) -> None:
        """Begin a data set in a folder, or see that the one in it is the same; each worker does.

        Raises:
            StorageError: the folder holds another one, or this machine would measure with something else.
            ReferenceSetError, ManifestError: a filter without what it needs; nothing is begun.
        """
        if options.drop_unrecognised:
            self._measures.require_probes()
        open_dataset(folder, self._head(plan, options, self._copy_filter(options)))

    def zip_of(
        self, plan: AugmentationPlan, folder: Path, on_progress: Callable[[DatasetProgress], None] = lambda _: None
    ) -> Path:
        """A small plan as a zip of PNGs with their manifest, for who waits for it.

        Args:
            folder: of the caller's, who deletes it.
            on_progress: an error it raises ends the work.

        Raises:
            PlanError: more than `MAX_TILES_IN_APP` tiles, or as `run`.
        """
        if plan.num_tiles > MAX_TILES_IN_APP:
            raise PlanError(
                f"the plan has {plan.num_tiles:,} tiles, at most {MAX_TILES_IN_APP} are made here: lower a limit, or "
                "download the plan and run: python -m medi_core generate-dataset plan.json --out tiles"
            )
        self.run(plan, folder / "tiles", DatasetOptions(FOLDER, MAX_TILES_IN_APP), on_progress)
        write_plan(plan, folder / "tiles" / "plan.json")
        with translate_write_errors("the zip"):
            return Path(shutil.make_archive(str(folder / "medi-tiles"), "zip", folder / "tiles"))

    def make_shard(
        self,
        plan: AugmentationPlan,
        shard: Shard,
        folder: Path,
        options: DatasetOptions,
        report: Report = lambda *_: None,
    ) -> ShardRecord:
        """Make, measure, filter and write one shard; a function of the plan, the shard and the options.

        Raises:
            StorageError: it cannot be written; nothing half stays.
        """
        copied_from = self._copy_filter(options)
        kept: list[ShardTile] = []
        dropped = dict.fromkeys(_filters(options), 0)
        number = 0
        for part in shard.parts:
            tiles = self._generate(plan, part, report)
            measures = self._measures.measure(tiles)
            is_copy = [False] * len(tiles) if copied_from is None else self._measures.copies(tiles, *copied_from)
            for tile, measured, copied in zip(tiles, measures, is_copy, strict=True):
                name = f"{shard.index:05d}-{number:05d}.png"
                number += 1
                if copied:
                    dropped[COPY] += 1
                elif options.drop_unrecognised and not measured.is_recognised:
                    dropped[UNRECOGNISED] += 1
                else:
                    png = encode_png(tile.image, tile.provenance())
                    kept.append(ShardTile(name, png, _row(tile, measured, part.cell.trust)))
        return write_shard(folder, shard.name, options.form, kept, dropped)

    def _one_by_one(
        self,
        plan: AugmentationPlan,
        folder: Path,
        options: DatasetOptions,
        shards: Sequence[Shard],
        report: Report,
    ) -> Iterator[tuple[Shard, ShardRecord]]:
        for shard in shards:
            yield shard, self.make_shard(plan, shard, folder, options, report)

    def _generate(self, plan: AugmentationPlan, part: CellTiles, report: Report) -> list[GeneratedTile]:
        """All tiles of a part; where memory runs out, in smaller requests."""
        request = GenerationRequest(
            part.cell.record, part.seeds(plan.seed), plan.num_inference_steps, plan.guidance_scale
        )
        made: list[GeneratedTile] = []
        while len(made) < len(request.seeds):
            seeds = request.seeds[len(made) : len(made) + self._at_once]
            try:
                made += self._generation.generate(replace(request, seeds=seeds))
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if len(seeds) == 1:
                    raise InvalidRequestError("the memory does not hold a single tile: free some of it") from error
                self._at_once = min(self._at_once, len(seeds) // 2)
                report(f"memory ran out: {count(self._at_once, 'tile')} at once from here on", 0)
            else:
                report("", len(seeds))
        return made

    def _copy_filter(self, options: DatasetOptions) -> tuple[pd.DataFrame, float] | None:
        """Training rows and threshold; read once a run and worker.

        Raises:
            ManifestError, ReferenceSetError: the filter cannot be used.
        """
        if options.drop_copies_of is None:
            return None
        if options.drop_copies_of not in self._filters:
            rows = training_rows(options.drop_copies_of)
            self._filters[options.drop_copies_of] = rows, self._measures.copy_threshold()
        return self._filters[options.drop_copies_of]

    def _head(
        self, plan: AugmentationPlan, options: DatasetOptions, copied_from: tuple[pd.DataFrame, float] | None
    ) -> dict[str, Any]:
        """What decides the bytes of tiles and manifest."""
        trust = {cell.key: cell.trust for cell in plan.cells if cell.planned_tiles}
        return {
            **{"plan": plan.id, "checkpoint": plan.checkpoint, "trust": _short_hash(trust)},
            **{"classifier": self._measures.classifier_id, "reference": self._measures.reference_id},
            **{"format": options.form, "shard_size": options.shard_size},
            "drop_unrecognised": options.drop_unrecognised,
            "drop_copies": None if copied_from is None else _short_hash(sorted(copied_from[0]["path"].map(_name))),
        }

    def _summarize(
        self, plan: AugmentationPlan, folder: Path, options: DatasetOptions, records: Sequence[ShardRecord]
    ) -> dict[str, Any]:
        rows = [row for record in records for row in record.rows]
        dropped = {name: sum(record.dropped[name] for record in records) for name in _filters(options)}
        summary = {
            **{"plan": plan.id, "checkpoint": plan.checkpoint, "format": options.form, "shards": len(records)},
            **{"tiles_planned": plan.num_tiles, "tiles": len(rows), "dropped": dropped},
        }
        manifest = write_summary(folder, options.form, rows, summary)
        return summary | {"manifest": str(manifest)}


def _short_hash(plain: Any) -> str:
    return sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def _name(path: str) -> str:
    """Of an image, wherever the folder stands on this machine."""
    return Path(path).name


def _filters(options: DatasetOptions) -> tuple[str, ...]:
    wanted = {COPY: options.drop_copies_of is not None, UNRECOGNISED: options.drop_unrecognised}
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


def _row(tile: GeneratedTile, measured: TileMeasures, trust: float | None) -> dict[str, Any]:
    """Of the manifest, but for the path: what was asked for, and what was measured."""
    stains = (_rounded(strength_or_none(strength)) for strength in (tile.hematoxylin, tile.eosin))
    return manifest_row(tile.provenance(), *stains) | {
        "seed": str(tile.seed),
        "verdict": measured.verdict,
        "verdict_probability": _rounded(measured.verdict_probability),
        "trust": _rounded(trust),
        "train_distance": _rounded(measured.train_distance),
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None or pd.isna(number) else float(f"{float(number):.{SIGNIFICANT}g}")


def _is_out_of_memory(error: Exception) -> bool:
    """torch says so by a RuntimeError, of its own kind on a graphics card."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "can't allocate" in str(error)
