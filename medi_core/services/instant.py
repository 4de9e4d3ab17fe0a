"""Instant tiles: a few-step checkpoint beside the main one, and what it is asked for while somebody drags a slider."""

from dataclasses import replace
from pathlib import Path

import torch

from medi_core.checkpoints import Checkpoint, list_checkpoints, load_checkpoint
from medi_core.errors import CheckpointError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest
from medi_core.services.request_checks import check_number

MAX_INSTANT_TILES = 4
"""On a CPU the network sees four rows at a time, however few are asked for: so many cost no more than one."""
OFF_ON_ZERO_GPU = "on ZeroGPU every render would wait for a GPU to be lent"


def load_fast_checkpoint(name: str, root: Path, main: Checkpoint, dtype: torch.dtype) -> Checkpoint:
    """The few-step checkpoint of instant tiles, on the device of the main one.

    Raises:
        CheckpointError: why there can be no instant tiles: it is missing, cannot be used, takes many steps, or knows
            other metadata than the main one.
    """
    if not name or ("/" not in name and name not in list_checkpoints(root) and not Path(name).exists()):
        raise CheckpointError(f"there is no few-step checkpoint {name!r}")  # without the folder: visitors read this
    fast = load_checkpoint(name, root, main.pipeline.device, dtype)
    if fast.distillation is None:
        raise CheckpointError(f"checkpoint {fast.id} is no few-step model: it records no distillation")
    if odd := _differing(fast.vocabulary, main.vocabulary):
        raise CheckpointError(
            f"checkpoint {fast.id} knows other metadata than {main.id}: {odd} differs. Give MEDI_FAST_CHECKPOINT one "
            "that was distilled from it"
        )
    return fast


def instant_request(
    record: MetadataRecord, seeds: tuple[int, ...], towards: str | None = None, share: float = 0.0
) -> GenerationRequest:
    """Few tiles, with the steps and the guidance of the checkpoint.

    Args:
        towards: a second center to blend into; `None` = none.
        share: of the second center, 0 to 1.

    Raises:
        InvalidRequestError: no tile, too many, a wrong seed, or a share out of range.
    """
    check_number("number of instant tiles", len(seeds), 1, MAX_INSTANT_TILES)
    return blended(GenerationRequest(record, seeds), towards, share)


def blended(request: GenerationRequest, towards: str | None, share: float) -> GenerationRequest:
    """The same seeds on the way to another center; at either end it is a plain request of that center.

    Raises:
        InvalidRequestError: the share is out of range.
    """
    check_number("blend", share, 0, 1)
    if not towards or not share or towards == request.record.center:
        return request
    other = replace(request.record, center=towards)
    if share == 1:
        return replace(request, record=other)
    return replace(request, other_record=other, other_weight=float(share))


def found_or_remade(
    generation: GenerationService,
    instant: GenerationService | None,
    tile_id: str,
    request: GenerationRequest | None,
) -> GeneratedTile | None:
    """A tile by its id, whichever service made it.

    Args:
        request: of the instant tiles in sight: who drags makes hundreds, and those of others leave the memory.
    """
    if (tile := generation.find(tile_id)) or instant is None or request is None:
        return tile
    return next((made for made in instant.generate(request) if made.id == tile_id), None)


def _differing(fast: Vocabulary, main: Vocabulary) -> str:
    """The first attribute that one of them knows otherwise; "" if there is none."""
    for name in dict.fromkeys((*main.attributes, *fast.attributes)):
        for facts in ("values", "bin_edges"):
            if getattr(fast, facts).get(name) != getattr(main, facts).get(name):
                return name
    return ""
