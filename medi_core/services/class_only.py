"""Tiles of a checkpoint that was told the cancer type alone: what metadata add is read against them. No widgets.

They are kept as a reference set of their own, features and metadata without images: the weights need not be shipped.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from medi_core.data.reference_set import ReferenceSet, has_reference, read_reference, write_reference
from medi_core.errors import InvalidRequestError, ReferenceSetError
from medi_core.metadata.schema import MetadataRecord
from medi_core.services.encoding import EncodingService
from medi_core.services.generation import GenerationService
from medi_core.services.reference import WORK_SUFFIX
from medi_core.services.synthetic_bank import CLASS_ONLY, BankEntry, make_bank

MAX_TILES_A_TYPE = 32


def make_class_only(
    reference_set: ReferenceSet,
    generation: GenerationService,
    encoding: EncodingService,
    folder: Path,
    tiles_a_type: int = MAX_TILES_A_TYPE,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> ReferenceSet:
    """Make tiles of each cancer type that the bank has class-only tiles of, from the same seeds, and keep them.

    Args:
        reference_set: of the checkpoint that is to be compared.
        generation: around the class-only checkpoint.
        encoding: of the same encoder.
        folder: written whole or not at all; a run that was stopped goes on from a folder beside it.
        tiles_a_type: at most so many.
        on_progress: called with (tiles done, tiles in all).

    Raises:
        InvalidRequestError: the checkpoint is told more, or other things, than the cancer type.
        ReferenceSetError: the bank has no class-only tiles of a type that it knows.
        StorageError: the folder cannot be written; it is as it was.
    """
    vocabulary = generation.vocabulary
    if vocabulary.attributes != ("cancer_type",):
        raise InvalidRequestError(
            f"{generation.checkpoint.id} is conditioned on {', '.join(vocabulary.attributes)}: a class-only checkpoint "
            "knows cancer_type alone; train one with train-diffusion --attributes cancer_type"
        )
    bank = reference_set.synthetic.tiles
    of_type = bank[bank["group"] == CLASS_ONLY].groupby("cancer_type")["seed"]
    entries = tuple(
        BankEntry(MetadataRecord(cancer_type=name), CLASS_ONLY, tuple(int(s) for s in seeds.head(tiles_a_type)))
        for name, seeds in of_type
        if name in vocabulary.values["cancer_type"]
    )
    if not entries:
        raise ReferenceSetError("the reference set has no class-only tiles of a cancer type that this checkpoint knows")
    work = folder.with_name(folder.name + WORK_SUFFIX)
    made, _ = make_bank(entries, generation, encoding, work, on_progress)
    training = generation.checkpoint.training_config
    facts = {
        "checkpoint": generation.checkpoint.id,
        "encoder": encoding.name,
        "step": training.get("step"),
        "tiles_seen": training.get("tiles_seen"),
    }
    kept = ReferenceSet(made.tiles, made.features, facts)
    write_reference(kept, folder)
    shutil.rmtree(work, ignore_errors=True)
    return kept


def read_class_only(folder: Path, encoder: str) -> ReferenceSet | None:
    """What `make_class_only` kept, or `None`: nothing is there, or its features are another encoder's.

    Raises:
        ReferenceSetError: it is damaged.
    """
    if not has_reference(folder):
        return None
    kept = read_reference(folder)
    return kept if kept.facts.get("encoder") == encoder else None
