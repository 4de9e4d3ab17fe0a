"""Value ↔ id for each attribute, and how much data stood behind each value. Knows no tensors.

The vocabulary travels inside the checkpoint (`metadata_embedder/config.json`): the app builds its
controls from it and nothing about a value is ever looked up in a CSV at sampling time.
"""

import bisect
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from medi_core.errors import UnknownValueError
from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord, display_name

RARE_BELOW_PATIENTS = 3
PAIR_SEPARATOR = " @ "


@dataclass(frozen=True)
class Support:
    """What a value, or a (cancer type, center) pair, was trained on."""

    num_tiles: int = 0
    """Grid tiles (128 × 128 px) of the training split."""
    num_patients: int = 0
    """Patients with a recorded id; tiles without one add none."""

    @property
    def status(self) -> Literal["seen", "rare", "never seen"]:
        if self.num_tiles == 0:
            return "never seen"
        return "rare" if self.num_patients < RARE_BELOW_PATIENTS else "seen"

    def describe(self) -> str:
        """`seen (40 tiles, 12 patients)`, `rare (243 tiles, patients not recorded)` or `never seen`."""
        if self.num_tiles == 0:
            return self.status
        patients = count(self.num_patients, "patient") if self.num_patients else "patients not recorded"
        return f"{self.status} ({count(self.num_tiles, 'tile')}, {patients})"


@dataclass(frozen=True)
class Vocabulary:
    """The attributes a checkpoint is conditioned on, in the order of its condition ids."""

    values: dict[str, tuple[str, ...]]
    """Attribute → its values; a value's id is its place, the null id is `len(values)`."""
    bin_edges: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Binned attribute → the inner edges between its bins, ascending, in the attribute's unit."""
    support: dict[str, dict[str, Support]] = field(default_factory=dict)
    """Attribute → value → support."""
    pair_support: dict[str, Support] = field(default_factory=dict)
    """`<cancer_type> @ <center>` → support; an absent pair was never seen."""
    total: Support = field(default_factory=Support)
    """All training tiles and patients. No sum gives it: a patient may have tiles of two cancer types."""

    def __post_init__(self) -> None:
        for name, values in self.values.items():
            if name not in ATTRIBUTE:
                raise UnknownValueError(f"attribute {name!r} is unknown; known: {', '.join(ATTRIBUTE)}")
            if len(set(values)) != len(values):
                raise UnknownValueError(f"{name} lists a value twice: {list(values)}")

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(self.values)

    def null_id(self, attribute: str) -> int:
        return len(self.values[attribute])

    def encode(self, record: MetadataRecord) -> tuple[int, ...]:
        """Condition ids, one an attribute in vocabulary order; `None` becomes the null id.

        Raises:
            UnknownValueError: a value, or an attribute, that this checkpoint does not know.
        """
        given = record.to_dict()
        for name in given:
            if name not in self.values:
                raise UnknownValueError(
                    f"this checkpoint is not conditioned on {name!r}; it knows: {', '.join(self.values)}"
                )
        return tuple(
            self.null_id(name) if name not in given else self._id_of(name, given[name]) for name in self.values
        )

    def decode(self, ids: Sequence[int]) -> MetadataRecord:
        """The inverse of `encode`.

        Raises:
            UnknownValueError: an id that no value of this checkpoint has.
        """
        values = {}
        for name, i in zip(self.values, ids, strict=True):
            if not 0 <= i <= self.null_id(name):  # a negative id would count from the end
                raise UnknownValueError(f"{name} has no id {i}; ids go from 0 to {self.null_id(name)}, the null id")
            if i != self.null_id(name):
                values[name] = self.values[name][i]
        return MetadataRecord(**values)

    def bin_of(self, attribute: str, number: float) -> str:
        """The bin "1" … "n" into which a number of a binned attribute falls.

        Raises:
            UnknownValueError: NaN, which falls nowhere (e.g. the stain of a tile without tissue).
        """
        if math.isnan(number):
            raise UnknownValueError(f"{attribute} is not known (NaN), so it has no bin; leave it unset")
        return str(bisect.bisect_right(self.bin_edges[attribute], number) + 1)

    def label(self, attribute: str, value: str) -> str:
        """What a person reads for a value: `Breast invasive carcinoma`, `2 (0.61–0.83)`."""
        if attribute not in self.bin_edges:
            return display_name(value)
        edges, i = self.bin_edges[attribute], int(value) - 1
        if not edges:  # all numbers of the training set were alike, or none was recorded
            return value
        if i == 0:
            return f"{value} (below {edges[0]:.2f})"
        if i == len(edges):
            return f"{value} ({edges[-1]:.2f} and above)"
        return f"{value} ({edges[i - 1]:.2f} to {edges[i]:.2f})"

    def support_of(self, record: MetadataRecord) -> Support:
        """The weakest support among the (cancer type, center) pair and every other value that is set."""
        given = record.to_dict()
        parts = [self.support[name].get(given[name], Support()) for name in given if name in self.support]
        if record.cancer_type and record.center:
            parts.append(self.pair_support.get(pair_key(record.cancer_type, record.center), Support()))
        return min(parts, key=lambda support: (support.num_patients, support.num_tiles), default=self.total)

    def pairs_by_support(self) -> list[tuple[str, str]]:
        """(cancer type, center), most patients first, then most tiles."""
        support = self.pair_support
        ordered = sorted(support, key=lambda key: (-support[key].num_patients, -support[key].num_tiles))
        return [tuple(key.split(PAIR_SEPARATOR, 1)) for key in ordered]

    def close_values(self, attribute: str, value: str, num: int = 3) -> list[str]:
        """Values of an attribute that are spelled like another one, most alike first; case does not count."""
        return close_names(value, self.values[attribute], num)

    def _id_of(self, attribute: str, value: str) -> int:
        values = self.values[attribute]
        if value in values:
            return values.index(value)
        close = self.close_values(attribute, value, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ";"
        raise UnknownValueError(
            f"{attribute}={value!r} is not in this checkpoint's vocabulary{hint} "
            f"known: {', '.join(values)} ({len(values)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, the inverse of `from_dict`."""
        return {
            "attributes": list(self.values),  # the order: configs are written with sorted keys
            "values": {k: list(v) for k, v in self.values.items()},
            "bin_edges": {k: list(v) for k, v in self.bin_edges.items()},
            "support": {
                name: {value: [s.num_tiles, s.num_patients] for value, s in by_value.items()}
                for name, by_value in self.support.items()
            },
            "pair_support": {k: [s.num_tiles, s.num_patients] for k, s in self.pair_support.items()},
            "total": [self.total.num_tiles, self.total.num_patients],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Vocabulary":
        return cls(
            values={name: tuple(plain["values"][name]) for name in plain["attributes"]},
            bin_edges={k: tuple(v) for k, v in plain["bin_edges"].items()},
            support={
                name: {value: Support(*s) for value, s in by_value.items()}
                for name, by_value in plain["support"].items()
            },
            pair_support={k: Support(*s) for k, s in plain["pair_support"].items()},
            total=Support(*plain["total"]),
        )


def describe(vocabulary: Vocabulary, record: MetadataRecord) -> str:
    """`Breast invasive carcinoma · Indivumed · Eosin 4`, or `Unconditioned`."""
    parts = [
        f"{ATTRIBUTE[name].label} {value}" if name in vocabulary.bin_edges else display_name(value)
        for name, value in record.to_dict().items()
    ]
    return " · ".join(parts) or "Unconditioned"


def pair_key(cancer_type: str, center: str) -> str:
    return f"{cancer_type}{PAIR_SEPARATOR}{center}"


def pair_of(row: Mapping[str, Any]) -> str | None:
    """The key of a tile's (cancer type, center), where it has both."""
    return pair_key(row["cancer_type"], row["center"]) if row.get("cancer_type") and row.get("center") else None


def build_vocabulary(
    rows: Sequence[Mapping[str, Any]], attributes: Sequence[str], patients: Sequence[str | None]
) -> Vocabulary:
    """The vocabulary of a training set.

    Args:
        rows: one mapping a grid tile: attribute → value (`None` if absent; a number if binned).
        attributes: the attributes to condition on, in the order wanted.
        patients: patient id of each row, or `None`.
    """
    bin_edges = {
        name: quantile_edges([row[name] for row in rows if row.get(name) is not None], ATTRIBUTE[name].num_bins)
        for name in attributes
        if ATTRIBUTE[name].kind == "binned"
    }
    binner = Vocabulary(values={}, bin_edges=bin_edges)
    columns = {
        name: [
            None if row.get(name) is None else binner.bin_of(name, row[name]) if name in bin_edges else row[name]
            for row in rows
        ]
        for name in attributes
    }
    values = {
        name: tuple(str(i + 1) for i in range(len(bin_edges[name]) + 1))
        if name in bin_edges
        else tuple(sorted({v for v in column if v is not None}))
        for name, column in columns.items()
    }
    return Vocabulary(
        values=values,
        bin_edges=bin_edges,
        support={name: support_by_key(column, patients) for name, column in columns.items()},
        pair_support=support_by_key([pair_of(row) for row in rows], patients),
        total=Support(len(rows), len(set(filter(None, patients)))),
    )


def quantile_edges(numbers: Sequence[float], num_bins: int) -> tuple[float, ...]:
    """Inner edges of `num_bins` equally filled bins; fewer if many numbers are equal, so that none is empty."""
    ordered = sorted(numbers)
    if not ordered:
        return ()
    edges = {round(float(ordered[len(ordered) * i // num_bins]), 6) for i in range(1, num_bins)}
    return tuple(sorted(edge for edge in edges if edge > ordered[0]))


def support_by_key(keys: Sequence[str | None], patients: Sequence[str | None]) -> dict[str, Support]:
    """Key → tiles and patients that have it, sorted; `None` is no key and no patient."""
    tiles: dict[str, int] = {}
    seen: dict[str, set[str]] = {}
    for key, patient in zip(keys, patients, strict=True):
        if key is None:
            continue
        tiles[key] = tiles.get(key, 0) + 1
        seen.setdefault(key, set())
        if patient:
            seen[key].add(patient)
    return {key: Support(tiles[key], len(seen[key])) for key in sorted(tiles)}


def close_names(given: str, known: Iterable[str], num: int = 3, alike: float = 0.6) -> list[str]:
    """Names among those known that are spelled like the one given, most alike first; case does not count.

    Args:
        alike: the least share of the letters that both have in the same order, 0 to 1.
    """
    by_folded = {name.casefold(): name for name in known}
    return [by_folded[match] for match in difflib.get_close_matches(given.casefold(), by_folded, num, alike)]


def count(n: int, noun: str) -> str:
    """`1 tile`, `8 tiles`, `6,940 tiles`."""
    return f"{n} {noun}" if n == 1 else f"{n:,} {noun}s"
