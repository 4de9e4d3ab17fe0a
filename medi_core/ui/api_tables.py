"""Named endpoints that count and compare, and make no tile: trust, evaluate, plan, check_data."""

import shutil
from typing import Literal

import gradio as gr

from medi_core.data.manifest import SPLITS
from medi_core.data.uploaded_rows import read_metadata
from medi_core.errors import InvalidRequestError
from medi_core.planning.targets import LIFT, MAX_RATIO, MAX_TILES, UNIFORM, WORST, Target
from medi_core.services.audit import AuditConfig, of_splits
from medi_core.services.audit_report import audit_report
from medi_core.services.augmentation import CELL, PlanConfig
from medi_core.services.cohort import OFFERED, cohort_report
from medi_core.services.generation_request import MAX_SEED
from medi_core.services.request_checks import check_number
from medi_core.ui.api_inputs import File, metadata_type, record_of, texts, uploaded_file, whole_number, yes_or_no
from medi_core.ui.handlers import reported, session_folder
from medi_core.ui.shared import Shared

MAX_KINDS, MAX_CROSSED, MAX_CELLS_NAMED, MAX_MINIMUM = 6, 3, 200, 100_000
TABLE_QUEUE, AT_ONCE = "tables", 2
"""`concurrency_id` of these endpoints: they take seconds of the processor, beside whoever uses the tabs."""
Measure = Literal["balanced_accuracy", "accuracy", "f1", "auc", "ece"]
Split = Literal["train", "val", "test"]
Kind = Literal["uniform", "lift", "worst"]


def build_table_endpoints(shared: Shared) -> None:
    """As in api_tiles.py: the docstrings are the schema."""
    services = shared.services
    Metadata = metadata_type(services.checkpoint.vocabulary)  # noqa: N806  a type, made from the checkpoint

    @reported
    def trust(metadata: Metadata) -> dict:
        """How far tiles of one cancer type at one center can be trusted, as measured by probes; null = not measured.

        Args:
            metadata: with cancer_type and center, as `info` lists them.
        """
        return services.fidelity.trust_report(record_of(metadata))

    @reported
    def evaluate(
        predictions: File,
        by: tuple[str, ...] = ("true", "center"),
        measure: Measure = "balanced_accuracy",
        split: list[Split] | None = None,
        min_tiles: int = 20,
        min_patients: int = 3,
    ) -> dict:
        """Accuracy of any tile classifier by subgroup, worst first, with 95 % intervals over patients.

        Args:
            predictions: CSV, as data: URI, a row a tile: tile, true, predicted or p:<class>, metadata (docs/audit.md).
            by: attributes, or crossings such as "cancer_type,center"; "true" = recall of each class.
            measure: of the subgroups.
            split: tiles of these splits only; none = all.
            min_tiles: that a subgroup needs to be ranked.
            min_patients: likewise.
        """
        kinds = [texts("by", kind.split(","), MAX_CROSSED) for kind in texts("by", by, MAX_KINDS)]
        config = AuditConfig(
            measure,
            whole_number("min_tiles", min_tiles, 1, MAX_MINIMUM),
            whole_number("min_patients", min_patients, 1, MAX_MINIMUM),
        )
        found = services.audit.read(uploaded_file(predictions, "predictions", ".csv"))
        if split is not None:
            found = of_splits(found, texts("split", split, len(SPLITS), SPLITS))
        return audit_report(services.audit, found, kinds, config)

    @reported
    def plan(
        table: File | None = None,
        by: tuple[str, ...] = CELL,
        target: Kind = UNIFORM,
        level: int | None = None,
        quantile: float = 0.5,
        cells: list[list[str]] | None = None,
        cap: int | None = None,
        max_tiles: int | None = None,
        ratio: float | None = None,
        min_trust: float = 0.0,
        measured_only: bool = False,
        empty: bool = False,
        seed: int = 0,
    ) -> dict:
        """How many synthetic tiles each subgroup of a data set lacks; the plan that generate_dataset makes.

        Args:
            table: CSV, as data: URI, a row a tile: attributes, patient_id; none = training tiles of the reference set.
            by: attributes to cross.
            target: uniform = all cells alike, lift = small cells to a quantile of all, worst = only the cells named.
            level: of uniform and worst: tiles a cell; none = as many as the largest has.
            quantile: of lift, 0 to 1.
            cells: of worst: each a list of values in the order of by.
            cap: synthetic tiles a cell, at most.
            max_tiles: synthetic tiles in all, at most.
            ratio: synthetic tiles for each real one, at most, in all.
            min_trust: cells that are trusted less get nothing; 0 to 1.
            measured_only: nor do cells whose trust is not measured.
            empty: plan combinations without any tile, too.
            seed: of the tiles.
        """
        by = texts("by", by, len(OFFERED))
        config = PlanConfig(
            by,
            _target(target, quantile, ratio, level=level, cap=cap, max_tiles=max_tiles),
            with_empty=yes_or_no("empty", empty),
            min_trust=_number("min_trust", min_trust, 1),
            measured_only=yes_or_no("measured_only", measured_only),
            chosen=_cells(cells, len(by)),
            seed=whole_number("seed", seed, 0, MAX_SEED),
        )
        service = services.augmentation
        tiles = service.training_tiles() if table is None else read_metadata(uploaded_file(table, "table", ".csv"))
        made = service.plan(tiles, config)
        return made.to_dict() | {"tiles": made.num_tiles, "plan": made.id}

    @reported
    def check_data(zip: File, columns: list[str] | None = None) -> dict:
        """What of a cohort can be used and what cannot and why; it is deleted when it has been looked at.

        Args:
            zip: of images and one CSV with a row a tile, as data: URI or link of this app, at most 100 MB.
            columns: what the CSV's columns are, e.g. "File name=path", "Hospital=center"; none = guessed by name.
        """
        path, folder = uploaded_file(zip, "zip", ".zip"), session_folder()
        try:
            upload = services.cohort.unpack(path, folder)
            column_of = upload.guess() if columns is None else _column_of(columns)
            # no mapping: gradio_client takes one with the key `path` for a file, and tries to download it
            told = [f"{theirs}={ours}" for ours, theirs in column_of.items()]
            return {"columns": told} | cohort_report(services.cohort.check(upload, column_of))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    for endpoint in (trust, evaluate, plan, check_data):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_id=TABLE_QUEUE, concurrency_limit=AT_ONCE)


def _target(kind: object, quantile: object, ratio: object, **counts: object) -> Target:
    """Of the kinds that need no second table."""
    if kind not in (UNIFORM, LIFT, WORST):
        raise InvalidRequestError(f"target = {kind!r}: it must be one of {UNIFORM}, {LIFT}, {WORST}")
    given = {name: whole_number(name, n, 0, MAX_TILES) for name, n in counts.items() if n is not None}
    if ratio is not None:
        given["ratio"] = _number("ratio", ratio, MAX_RATIO)
    return Target(kind, quantile=_number("quantile", quantile, 1), **given)


def _number(name: str, number: object, most: float) -> float:
    check_number(name, number, 0, most)
    return number


def _cells(cells: object, num_values: int) -> tuple[tuple[str, ...], ...]:
    if not isinstance(cells, list | None) or len(cells or ()) > MAX_CELLS_NAMED:
        raise InvalidRequestError(f"cells = {cells!r}: it must be a list of at most {MAX_CELLS_NAMED} lists of values")
    return tuple(texts("a cell", cell, num_values) for cell in cells or ())


def _column_of(columns: object) -> dict[str, str]:
    """`["THEIRS=OURS"]`, as the command line writes it → ours: theirs."""
    pairs = [text.rpartition("=") for text in texts("columns", columns, len(OFFERED))]
    ours = texts("a column of a manifest", [name for *_, name in pairs], len(OFFERED), OFFERED)
    if len(set(ours)) < len(ours) or not all(theirs for theirs, *_ in pairs):
        raise InvalidRequestError(f"columns = {columns!r}: write THEIRS=OURS, each of ours once")
    return {name: theirs for theirs, _, name in pairs}
