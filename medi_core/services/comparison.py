"""The counterfactual grid: the same seeds under conditions that differ in named attributes only."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord
from medi_core.metadata.vocabulary import Support
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation import GenerationProgress, GenerationService
from medi_core.services.generation_request import GenerationRequest

MAX_CELLS = 48


@dataclass(frozen=True)
class ComparisonRequest:
    """Columns sweep one attribute, rows another; everything else, the seed too, is held."""

    base: GenerationRequest
    """Its record is held, its seeds are drawn in every cell."""
    column_attribute: str
    column_values: tuple[str, ...]
    row_attribute: str | None = None
    row_values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in filter(None, (self.column_attribute, self.row_attribute)):
            if name not in ATTRIBUTE:
                raise InvalidRequestError(f"attribute {name!r} is unknown; known: {', '.join(ATTRIBUTE)}")
        if self.column_attribute == self.row_attribute:
            raise InvalidRequestError(f"columns and rows both sweep {self.column_attribute}; choose two attributes")
        if not self.column_values or (self.row_attribute and not self.row_values):
            raise InvalidRequestError("choose at least one value to compare for the columns, and for the rows")
        if self.row_values and not self.row_attribute:
            raise InvalidRequestError(f"the rows list {', '.join(self.row_values)} but no attribute; choose one")
        num_cells = len(self.column_values) * max(1, len(self.row_values)) * len(self.base.seeds)
        if num_cells > MAX_CELLS:
            raise InvalidRequestError(
                f"the grid has {num_cells} tiles; at most {MAX_CELLS} are made at once: choose fewer values or seeds"
            )

    def records(self) -> list[list[MetadataRecord]]:
        """Rows of columns."""
        rows = [{self.row_attribute: value} for value in self.row_values] if self.row_attribute else [{}]
        return [
            [replace(self.base.record, **row, **{self.column_attribute: value}) for value in self.column_values]
            for row in rows
        ]


def comparison_of(base: GenerationRequest, vary: Mapping[str, Sequence[str]]) -> ComparisonRequest:
    """A comparison from one or two attributes with their values: the first across, the second down.

    Raises:
        InvalidRequestError: none or more than two attributes, one of them held by the record, no or too many values.
    """
    if not 1 <= len(vary) <= 2:
        given = ", ".join(vary) or "none"
        raise InvalidRequestError(f"vary = {given}: name one attribute, or two: the first across, the second down")
    if held := [name for name in vary if name in base.record.to_dict()]:
        raise InvalidRequestError(f"{held[0]} is held at one value and varied, too; give its values once")
    (column, across), *rows = vary.items()
    (row, down) = rows[0] if rows else (None, ())
    return ComparisonRequest(base, column, tuple(across), row, tuple(down))


@dataclass(frozen=True)
class ComparisonCell:
    """One condition of the grid."""

    record: MetadataRecord
    support: Support
    """Real training tiles and patients of this cancer type at this center."""
    tiles: tuple[GeneratedTile, ...]
    """One a seed."""


Grid = list[list[ComparisonCell]]
"""Rows of columns, as `ComparisonRequest.records`."""


class ComparisonService:
    """Grids and interpolations, tile by tile through the generation service."""

    def __init__(self, generation: GenerationService) -> None:
        self._generation = generation

    def compare(
        self, request: ComparisonRequest, on_progress: Callable[[GenerationProgress], None] = lambda _: None
    ) -> Grid:
        """Make the whole grid.

        Raises:
            UnknownValueError: a value that the checkpoint does not know; nothing is made.
        """
        for report in self.stream(request):
            on_progress(report[0])
        return report[1]

    def stream(self, request: ComparisonRequest) -> Iterator[tuple[GenerationProgress, Grid]]:
        """Progress over the whole grid, with the rows finished so far; the last one holds the whole grid."""
        records = request.records()
        vocabulary = self._generation.vocabulary
        for record in (record for row in records for record in row):
            vocabulary.encode(record)  # refuse a wrong value before any waiting
        grid: Grid = [[] for _ in records]
        num_cells, made = sum(map(len, records)), 0
        for row, row_records in zip(grid, records, strict=True):
            for record in row_records:
                for progress in self._generation.stream(replace(request.base, record=record)):
                    yield _within(progress, made, num_cells), grid
                row.append(ComparisonCell(record, vocabulary.support_of(record), progress.tiles))
                made += 1
                yield _within(progress, made - 1, num_cells), grid

    def interpolate(
        self,
        start: GenerationRequest,
        end: MetadataRecord,
        weights: Sequence[float],
        on_progress: Callable[[int, int], None] = lambda *_: None,
    ) -> list[GeneratedTile]:
        """The first seed of `start` on the way to `end`: one tile a weight, 0 = start, 1 = end."""
        # made first, so that a wrong weight is refused before any waiting
        requests = [replace(start, seeds=start.seeds[:1], other_record=end, other_weight=w) for w in weights]
        tiles = []
        for request in requests:
            tiles += self._generation.generate(request)
            on_progress(len(tiles), len(weights))
        return tiles


def _within(progress: GenerationProgress, cells_before: int, num_cells: int) -> GenerationProgress:
    """Progress of one cell as progress of the grid."""
    return replace(progress, done=cells_before * progress.total + progress.done, total=num_cells * progress.total)
