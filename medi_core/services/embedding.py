"""The map of real and synthetic tiles: points, their tiles, their neighbours, new tiles beside them. No widgets.

A point is called by the row of its tile in the reference set, as text; a tile made since by `new:` and its id, one of
the visitor's own cohort by `own:` and its row.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.reference_set import ReferenceSet
from medi_core.data.tile_dataset import read_grid_tile, read_image
from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import ATTRIBUTE, ATTRIBUTES
from medi_core.projection import ProjectionConfig, fit_projection, nearest, place_by_neighbours
from medi_core.services.attached_tiles import AttachedTiles
from medi_core.services.cohort_use import OwnTiles
from medi_core.services.encoding import EncodingService
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import request_from
from medi_core.services.reference import ReferenceService

NEW, OWN = "new:", "own:"
NUM_NEIGHBOURS = 5
NUM_RANGES = 5
"""A selection is counted by so many ranges of a number."""
FACT_COLUMNS = ("origin", "group", *(attribute.name for attribute in ATTRIBUTES), "dataset", "split")


@dataclass(frozen=True)
class PointDetails:
    """What a click on a point shows."""

    id: str
    facts: dict[str, object]
    """Metadata that are known, by column; for a real tile also where its image comes from."""
    image: np.ndarray | None
    """uint8 `(H, W, 3)`; `None` for a real tile that is not attached."""
    tile: GeneratedTile | None
    """A synthetic tile with its provenance: still in memory, or made again from its seed."""
    neighbours: pd.DataFrame
    """The nearest real tiles of other ids: `id`, `distance` and metadata, nearest first."""


class EmbeddingService:
    """Points of the reference set and of tiles made in this session."""

    def __init__(
        self,
        generation: GenerationService,
        encoding: EncodingService,
        reference: ReferenceService,
        attached: AttachedTiles,
    ) -> None:
        self._generation, self._encoding, self._reference = generation, encoding, reference
        self.attached = attached

    def points(self, coordinates: np.ndarray | None = None) -> pd.DataFrame:
        """Every tile of the reference set: `id`, `x`, `y`, `origin` and metadata.

        Args:
            coordinates: `(N, 2)` of a map fitted anew; by default those that were shipped.
        """
        reference = self._reference.load_map()
        points = reference.tiles[list(FACT_COLUMNS)].copy()
        points.insert(0, "id", [str(i) for i in range(len(points))])
        places = reference.tiles[["map_x", "map_y"]].to_numpy() if coordinates is None else coordinates
        points["x"], points["y"] = places.T
        return points

    def place(self, tiles: Sequence[GeneratedTile], coordinates: np.ndarray | None = None) -> pd.DataFrame:
        """New tiles on the map, among their nearest neighbours: as `points`, with origin `new`."""
        reference = self._reference.load_map()
        places = reference.tiles[["map_x", "map_y"]].to_numpy() if coordinates is None else coordinates
        features = self._encoding.features_of([tile.image for tile in tiles])
        where = place_by_neighbours(features, reference.features, places, NUM_NEIGHBOURS)
        rows = [{"id": NEW + tile.id} | _facts_of(tile) for tile in tiles]
        frame = pd.DataFrame(rows).reindex(columns=["id", *FACT_COLUMNS])
        frame["origin"] = frame["group"] = "new"
        frame["x"], frame["y"] = where.T
        return frame

    def place_own(self, own: OwnTiles, coordinates: np.ndarray | None = None) -> pd.DataFrame:
        """Tiles of a cohort on the map, among their nearest neighbours: as `points`, with origin `own`."""
        reference = self._reference.load_map()
        places = reference.tiles[["map_x", "map_y"]].to_numpy() if coordinates is None else coordinates
        where = place_by_neighbours(own.features, reference.features, places, NUM_NEIGHBOURS)
        frame = own.tiles.reindex(columns=list(FACT_COLUMNS))
        frame.insert(0, "id", [f"{OWN}{i}" for i in range(len(frame))])
        frame["origin"] = frame["group"] = "own"
        frame["x"], frame["y"] = where.T
        return frame

    def points_with(
        self, tile_ids: Sequence[str], coordinates: np.ndarray | None = None, own: OwnTiles | None = None
    ) -> pd.DataFrame:
        """`points`, a visitor's own tiles, and those made in this session that are still in memory."""
        parts = [self.points(coordinates)]
        if own is not None:
            parts.append(self.place_own(own, coordinates))
        if tiles := [tile for tile in map(self._generation.find, dict.fromkeys(tile_ids)) if tile is not None]:
            parts.append(self.place(tiles, coordinates))
        return pd.concat(parts, ignore_index=True)

    def describe(self) -> str:
        """What the map is made of: tiles, encoder, checkpoint, and how robust the encoder is to centers."""
        reference = self._reference.load_map()
        num_real = int((reference.tiles["origin"] == "real").sum())
        text = (
            f"{num_real:,} real and {len(reference.tiles) - num_real:,} synthetic tiles · features of "
            f"{reference.facts['encoder']} · synthetic tiles of {reference.facts['checkpoint']}"
        )
        if index := reference.facts.get("robustness"):
            text += (
                " · robustness index {value:.2f} (0: like tiles share the center, 1: the cancer type; by chance "
                "{chance:.2f}; {num_tiles:,} tiles, {num_patients:,} patients, {k} neighbours)"
            ).format(**index)
        return text

    def real_image(self, point_id: str, attached: AttachedTiles | None = None) -> np.ndarray | None:
        """Pixels of a real tile, uint8 `(H, W, 3)`, where it is attached: by the visitor, or by default to the app."""
        reference = self._reference.load_map()
        return (attached or self.attached).image(reference.tiles.iloc[self._row(reference, point_id)])

    def num_known(self, attached: AttachedTiles) -> int:
        """How many real tiles of the map have a place among attached ones."""
        return attached.num_known(self._reference.load_map().real.tiles)

    def refit(self, config: ProjectionConfig, on_progress: Callable[[int, int], None]) -> np.ndarray:
        """A map of the same tiles with other settings, float32 `(N, 2)`; an error raised by `on_progress` ends it."""
        return fit_projection(self._reference.load_map().features, config, on_progress)

    def details(
        self, point_id: str, attached: AttachedTiles | None = None, own: OwnTiles | None = None
    ) -> PointDetails:
        """Tile, metadata and nearest real tiles of a point.

        Args:
            point_id: of `points_with`.
            attached: real tiles of the visitor; by default those of the app.
            own: the visitor's tiles on the map, if there are any.

        Raises:
            InvalidRequestError: there is no such point, or its tile has left the memory.
        """
        reference = self._reference.load_map()
        if point_id.startswith(OWN):
            return self._own_details(reference, point_id, own)
        if point_id.startswith(NEW):
            tile = self._generation.find(point_id.removeprefix(NEW))
            if tile is None:
                raise InvalidRequestError("this tile is no longer in memory: generate it again with the same seed")
            features = self._encoding.features_of([tile.image])[0]
            facts = {"origin": "new"} | {k: v for k, v in _facts_of(tile).items() if pd.notna(v)} | {"seed": tile.seed}
            return PointDetails(point_id, facts, tile.image, tile, self._neighbours(reference, features, None))
        row = self._row(reference, point_id)
        tile = reference.tiles.iloc[row]
        columns = (*FACT_COLUMNS, "patient_id", "slide", "image", "x", "y", "source", "licence", "seed")
        facts = {name: tile[name] for name in columns if pd.notna(tile[name])}
        neighbours = self._neighbours(reference, reference.features[row], row)
        if tile["origin"] == "real":
            return PointDetails(point_id, facts, (attached or self.attached).image(tile), None, neighbours)
        (made,) = self._generation.generate(request_from(json.loads(tile["requested"])))
        return PointDetails(point_id, facts, made.image, made, neighbours)

    def _own_details(self, reference: ReferenceSet, point_id: str, own: OwnTiles | None) -> PointDetails:
        number = point_id.removeprefix(OWN)
        if own is None or not (number.isdecimal() and int(number) < len(own.tiles)):
            raise InvalidRequestError("this tile is no longer on the map: place your cohort anew in the tab Data")
        row = own.tiles.iloc[int(number)]
        columns = (*FACT_COLUMNS, "patient_id", "slide", "x", "y", "source", "licence")
        facts = {name: row[name] for name in columns if name in row and pd.notna(row[name])}
        facts |= {"origin": "own", "image": Path(row["path"]).name}
        image = read_grid_tile(row, read_image(row["path"]))
        neighbours = self._neighbours(reference, own.features[int(number)], None)
        return PointDetails(point_id, facts, image, None, neighbours)

    def counts(self, point_ids: Sequence[str], by: str) -> pd.DataFrame:
        """How many of the selected tiles are in each subgroup: `value`, `real`, `synthetic`, `patients`, most first.

        Raises:
            InvalidRequestError: nothing is selected, or `by` is no column of the points.
        """
        if by not in FACT_COLUMNS:
            raise InvalidRequestError(f"count by {by!r}: it must be one of {', '.join(FACT_COLUMNS)}")
        chosen = self.selection(point_ids)
        column = chosen[by]
        if pd.api.types.is_numeric_dtype(column) and column.nunique() > NUM_RANGES:  # else one row a tile
            column = pd.cut(column, NUM_RANGES, precision=2).astype(object).map(str, na_action="ignore")
        value = column.astype(object).where(column.notna(), "not recorded")
        table = pd.crosstab(value, chosen["origin"]).reindex(columns=["real", "synthetic"], fill_value=0)
        table["patients"] = chosen["patient_id"].groupby(value).nunique()
        table.index.name = "value"
        return table.reset_index().sort_values(["real", "synthetic"], ascending=False, ignore_index=True)

    def selection(self, point_ids: Sequence[str]) -> pd.DataFrame:
        """The rows of the reference set behind selected points, in their order; new tiles are left out.

        Raises:
            InvalidRequestError: nothing is selected.
        """
        reference = self._reference.load_map()
        chosen = (point_id for point_id in dict.fromkeys(point_ids) if not point_id.startswith((NEW, OWN)))
        rows = [self._row(reference, point_id) for point_id in chosen]
        if not rows:
            raise InvalidRequestError(
                "no tile of the reference set is selected: draw a lasso or a box around some points"
            )
        return reference.tiles.iloc[rows].drop(columns=["map_x", "map_y"])

    def _row(self, reference: ReferenceSet, point_id: str) -> int:
        if not (point_id.isdecimal() and int(point_id) < len(reference.tiles)):
            raise InvalidRequestError(f"there is no point {point_id!r}; points go from 0 to {len(reference.tiles) - 1}")
        return int(point_id)

    def _neighbours(self, reference: ReferenceSet, features: np.ndarray, own_row: int | None) -> pd.DataFrame:
        real = np.flatnonzero((reference.tiles["origin"] == "real").to_numpy())
        real = real[real != own_row] if own_row is not None else real
        indices, distances = nearest(features[None], reference.features[real], min(NUM_NEIGHBOURS, len(real)))
        rows = real[indices[0]]
        table = reference.tiles.iloc[rows][["cancer_type", "center", "patient_id", "dataset"]].copy()
        table.insert(0, "id", [str(row) for row in rows])
        table.insert(1, "distance", distances[0])
        return table.reset_index(drop=True)


def _facts_of(tile: GeneratedTile) -> dict[str, object]:
    """What a new tile shares with the reference set: names asked for, stains measured; a bin is no number."""
    asked = {name: value for name, value in tile.record.to_dict().items() if ATTRIBUTE[name].kind == "categorical"}
    return asked | {"hematoxylin": tile.hematoxylin, "eosin": tile.eosin}
