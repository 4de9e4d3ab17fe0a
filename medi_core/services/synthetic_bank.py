"""Which synthetic tiles the reference set holds, and making them so that a stop loses little."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.feature_cache import tile_digest
from medi_core.data.patients import patients_of
from medi_core.data.reference_set import (
    ReferenceSet,
    is_train_split,
    read_pixels,
    read_reference,
    write_pixels,
    write_reference,
)
from medi_core.data.tile_files import provenance_json
from medi_core.errors import InvalidRequestError, ReferenceSetError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary, pair_key
from medi_core.services.encoding import EncodingService
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest

TRAINED, UNSEEN = ("seen", "rare"), "never seen"
CLASS_ONLY = "class only"
ATTRIBUTE_SWEEP = "attribute sweep"
SWEPT = ("hematoxylin", "eosin", "preparation")
MAX_TILES_A_PAIR = 1000
MIN_FOCUS_PATIENTS = 5


@dataclass(frozen=True)
class BankConfig:
    """How many tiles of what."""

    tiles_a_pair: int = 8
    """Of a (cancer type, center) pair that was seen, and of each never-seen pair; a rare pair gets a quarter."""
    crossed_centers: int = 4
    """Never-seen pairs: so many best supported centers …"""
    crossed_types: int = 4
    """… with so many best supported cancer types, besides the pairs that occur in held-out real tiles only."""
    swept_types: int = 4
    """Best supported cancer types to ask for with each stain bin and preparation: a quarter of `tiles_a_pair` each."""
    first_seed: int = 10_000
    """Tile i of the bank has seed `first_seed` + i."""
    tiles_a_focus_pair: int = 0
    """At least so many of each pair that a target is set for (`focus_pairs`); 0 = no more than of any other."""

    def __post_init__(self) -> None:
        for name, least in (("tiles_a_pair", 1), ("tiles_a_focus_pair", 0)):
            if not least <= (number := getattr(self, name)) <= MAX_TILES_A_PAIR:
                raise InvalidRequestError(f"{name} = {number}: it must be from {least} to {MAX_TILES_A_PAIR:,} tiles")


@dataclass(frozen=True)
class BankEntry:
    """Tiles under one condition."""

    record: MetadataRecord
    group: str
    """`seen`, `rare`, `never seen`, `class only` or `attribute sweep`."""
    seeds: tuple[int, ...]


def plan_bank(
    vocabulary: Vocabulary,
    held_out_pairs: list[tuple[str, str]],
    config: BankConfig,
    focus: Collection[tuple[str, str]] = (),
) -> tuple[BankEntry, ...]:
    """Every pair with support, never-seen pairs, the same cancer types with the center left open, and sweeps.

    Of a type there are as many tiles without a center as there are with one of its pairs that held-out tiles can be
    compared with.

    A sweep asks for a cancer type and one value of one other attribute, so that what is got is owed to that value.

    Args:
        held_out_pairs: (cancer type, center) of real tiles outside the training split.
        focus: pairs of which there are at least `tiles_a_focus_pair`.

    Raises:
        InvalidRequestError: the checkpoint is not conditioned on both.
    """
    if missing := {"cancer_type", "center"} - set(vocabulary.attributes):
        raise InvalidRequestError(
            f"a reference set is made of (cancer type, center) pairs, but this checkpoint is not conditioned on "
            f"{' and '.join(sorted(missing))}; it knows: {', '.join(vocabulary.attributes)}"
        )
    seen = vocabulary.pairs_by_support()
    unseen = [pair for pair in _crossings(vocabulary, held_out_pairs, config) if pair not in seen]
    wanted: list[tuple[MetadataRecord, str, int]] = []
    of_type: dict[str, int] = {}
    for cancer_type, center in [*seen, *unseen]:
        record = MetadataRecord(cancer_type=cancer_type, center=center)
        status = vocabulary.support_of(record).status if (cancer_type, center) in seen else UNSEEN
        num = _quarter(config) if status == "rare" else config.tiles_a_pair
        if (cancer_type, center) in focus:
            num = max(num, config.tiles_a_focus_pair)
        wanted.append((record, status, num))
        if (cancer_type, center) in held_out_pairs:
            of_type[cancer_type] = of_type.get(cancer_type, 0) + num
    wanted += [(MetadataRecord(cancer_type=name), CLASS_ONLY, num) for name, num in of_type.items()]
    wanted += [(record, ATTRIBUTE_SWEEP, _quarter(config)) for record in _sweeps(vocabulary, config)]
    entries, seed = [], config.first_seed
    for record, group, num in wanted:
        entries.append(BankEntry(record, group, tuple(range(seed, seed + num))))
        seed += num
    return tuple(entries)


def focus_pairs(manifest: pd.DataFrame) -> set[tuple[str, str]]:
    """Pairs that a target is set for: of 5 or more test patients, or of test patients alone.

    Args:
        manifest: rows of real tiles, as `read_manifest` gives them.
    """
    pairs = ["cancer_type", "center"]
    known = manifest.assign(like=patients_of(manifest)).dropna(subset=pairs)
    trained = set(known.loc[is_train_split(known), pairs].itertuples(index=False, name=None))
    num_patients = known[known["split"] == "test"].groupby(pairs)["like"].nunique()
    return {pair for pair, num in num_patients.items() if num >= MIN_FOCUS_PATIENTS or pair not in trained}


def make_bank(
    entries: tuple[BankEntry, ...],
    generation: GenerationService,
    encoding: EncodingService,
    work: Path,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[ReferenceSet, np.ndarray]:
    """Generate, encode and describe the tiles; entries already in `work` are taken from there.

    Args:
        work: folder for finished entries, one a sub-folder; delete it when the result is written.
        on_progress: called with (tiles done, tiles in all).

    Returns:
        The tiles as rows, and their pixels, uint8 `(N, 128, 128, 3)`, which are nowhere kept.
    """
    total, done, parts = sum(len(entry.seeds) for entry in entries), 0, []
    for entry in entries:
        on_progress(done, total)
        parts.append(_finished_or_made(entry, generation, encoding, work))
        done += len(entry.seeds)
    on_progress(done, total)
    tiles = pd.concat([part.tiles for part, _ in parts], ignore_index=True)
    features, pixels = (np.concatenate(each) for each in zip(*((p.features, i) for p, i in parts), strict=True))
    return ReferenceSet(tiles, features, parts[0][0].facts), pixels


def _finished_or_made(
    entry: BankEntry, generation: GenerationService, encoding: EncodingService, work: Path
) -> tuple[ReferenceSet, np.ndarray]:
    folder = work / f"{entry.seeds[0]}-{len(entry.seeds)}"
    pixels = folder.with_suffix(".safetensors")
    steps, guidance = generation.default_sampling
    facts = {
        "checkpoint": generation.checkpoint.id,
        "encoder": encoding.name,
        "condition": entry.record.to_dict(),
        "group": entry.group,
        "steps": steps,
        "guidance": guidance,
    }
    try:
        finished = read_reference(folder)
        if {name: finished.facts.get(name) for name in facts} == facts:
            return finished, read_pixels(pixels)
    except ReferenceSetError:
        pass  # not begun, or begun with something else
    made = generation.generate(GenerationRequest(entry.record, entry.seeds))
    images = np.stack([tile.image for tile in made])
    part = ReferenceSet(pd.DataFrame([_row(tile, entry.group) for tile in made]), encoding.features_of(images), facts)
    write_pixels(images, pixels)
    write_reference(part, folder)  # last: its presence says that the entry is finished
    return read_reference(folder), images


def _row(tile: GeneratedTile, group: str) -> dict[str, object]:
    """Metadata asked for, stains measured."""
    return tile.record.to_dict() | {
        "id": tile_digest(tile.image),
        "origin": "synthetic",
        "group": group,
        "hematoxylin": tile.hematoxylin,
        "eosin": tile.eosin,
        "seed": tile.seed,
        "requested": provenance_json(tile.provenance()),
        "dataset": "medi-synthetic",
    }


def _crossings(
    vocabulary: Vocabulary, held_out_pairs: list[tuple[str, str]], config: BankConfig
) -> list[tuple[str, str]]:
    """Candidates for never-seen pairs, both values known to the checkpoint, in a fixed order."""
    known = {pair for pair in held_out_pairs if _is_known(vocabulary, pair)}
    centers = _best_supported(vocabulary, "center", config.crossed_centers)
    types = _best_supported(vocabulary, "cancer_type", config.crossed_types)
    crossed = [(cancer_type, center) for cancer_type in types for center in centers]
    return list(dict.fromkeys([*sorted(known, key=lambda pair: pair_key(*pair)), *crossed]))


def _sweeps(vocabulary: Vocabulary, config: BankConfig) -> list[MetadataRecord]:
    return [
        MetadataRecord(cancer_type=cancer_type, **{name: value})
        for cancer_type in _best_supported(vocabulary, "cancer_type", config.swept_types)
        for name in SWEPT
        for value in vocabulary.values.get(name, ())
    ]


def _best_supported(vocabulary: Vocabulary, name: str, num: int) -> list[str]:
    support = vocabulary.support.get(name, {})
    return sorted(support, key=lambda v: (-support[v].num_patients, -support[v].num_tiles, v))[:num]


def _quarter(config: BankConfig) -> int:
    return max(1, config.tiles_a_pair // 4)


def _is_known(vocabulary: Vocabulary, pair: tuple[str, str]) -> bool:
    names = zip(("cancer_type", "center"), pair, strict=True)
    return all(value in vocabulary.values.get(name, ()) for name, value in names)
