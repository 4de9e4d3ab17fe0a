"""Commands around a checkpoint: what it knows, tiles, re-rendered images, the welcome tiles."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medi_core.commands.parsing import (
    add_command,
    add_metadata,
    mapping,
    progress,
    record_of_flags,
    settings_of,
)
from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import ATTRIBUTE

# Heavy imports stand inside the commands that need them: `--help` answers at once.


def add_generation_commands(commands) -> None:
    """info, generate, compare, rerender, build-welcome."""
    add_command(commands, "info", info, "what a checkpoint knows", text=info_text, checkpoint=True)

    command = add_command(commands, "generate", generate, "tiles with provenance, and a manifest", checkpoint=True)
    add_metadata(command)
    _add_sampling(command)
    command.add_argument("--num", type=int, default=8, help="tiles; seeds SEED, SEED + 1, … (default: 8)")
    command.add_argument("--side-px", type=int, default=128, help="multiple of 32, at most 512 (default: 128)")

    summary = "the same seeds under other metadata: tiles, a manifest and one labelled sheet"
    command = add_command(commands, "compare", compare, summary, text=compare_text, checkpoint=True)
    vary = "values across; a second --vary goes down"
    command.add_argument("--vary", nargs="+", action="append", required=True, metavar="ATTRIBUTE VALUE", help=vary)
    add_metadata(command)
    _add_sampling(command)
    command.add_argument("--num", type=int, default=1, help="seeds a cell: SEED, SEED + 1, … (default: 1)")
    command.add_argument("--side-px", type=int, default=128, help="multiple of 32, at most 512 (default: 128)")

    command = add_command(commands, "rerender", rerender, "a tile as from another center", checkpoint=True)
    command.add_argument("--image", type=Path, required=True, help="PNG, JPEG or TIFF, at most 10 MB")
    command.add_argument("--strength", type=float, default=0.5, help="0.01 (keep) to 1 (redraw) (default: 0.5)")
    add_metadata(command)
    _add_sampling(command)

    add_command(commands, "build-welcome", build_welcome, "remake the tiles a first visitor sees", checkpoint=True)


def info(flags: argparse.Namespace) -> dict[str, Any]:
    """Checkpoint, attributes, values, support."""
    from medi_core.bootstrap import build_services

    return build_services(settings_of(flags)).checkpoint.facts()


def info_text(answer: dict[str, Any]) -> str:
    """The same as a listing."""
    from medi_core.metadata.vocabulary import Support, Vocabulary

    vocabulary = Vocabulary.from_dict(answer)
    lines = [f"checkpoint {answer['checkpoint']}"]
    if few := answer.get("distillation"):
        lines.append(f"few-step: {few['num_inference_steps']} steps, distilled from {few['teacher']}")
    for name in vocabulary.attributes:
        lines.append(f"\n{name} ({ATTRIBUTE[name].label}, {len(vocabulary.values[name])} values)")
        for value in vocabulary.values[name]:
            support = vocabulary.support.get(name, {}).get(value, Support())
            shown = vocabulary.label(name, value) if name in vocabulary.bin_edges else value
            lines.append(f"  {shown}: {support.describe()}")
    lines.append("\ncancer type @ center")
    lines += [f"  {pair}: {support.describe()}" for pair, support in vocabulary.pair_support.items()]
    return "\n".join(lines)


def generate(flags: argparse.Namespace) -> dict[str, Any]:
    """PNGs with provenance and a manifest."""
    return _generate_into(flags, _request(flags))


def compare(flags: argparse.Namespace) -> dict[str, Any]:
    """A counterfactual grid."""
    from medi_core.bootstrap import build_services
    from medi_core.services.comparison import comparison_of
    from medi_core.services.export import compare_into

    varied: dict[str, list[str]] = {}
    for flag, *values in flags.vary:
        name = flag.replace("-", "_")
        if name in varied:
            raise InvalidRequestError(f"--vary {name} is given twice: list all its values after one --vary")
        varied[name] = values
    request = comparison_of(_request(flags), varied)
    service = build_services(settings_of(flags)).generation
    show = progress(flags, "Tiles")
    made = compare_into(service, request, flags.out, lambda done, total: show(round(done, 1), total))
    return {
        "checkpoint": service.checkpoint.id,
        "sheet": str(made.sheet),
        "manifest": str(made.manifest),
        "cells": [asdict(cell) for cell in made.cells],
    }


def compare_text(answer: dict[str, Any]) -> str:
    """Each cell with the real training tiles behind it, then where all is."""
    cells = [f"{', '.join(cell['metadata'].values())}: {cell['support']}" for cell in answer["cells"]]
    return "\n".join([*cells, f"sheet: {answer['sheet']}", f"manifest: {answer['manifest']}"])


def rerender(flags: argparse.Namespace) -> dict[str, Any]:
    """One image under other metadata."""
    from medi_core.services.generation_request import GenerationRequest
    from medi_core.services.rerender import read_base_image

    if not flags.image.is_file():
        raise InvalidRequestError(f"--image {flags.image} does not exist")
    base = read_base_image(flags.image)
    request = GenerationRequest(
        record_of_flags(flags),
        (flags.seed,),
        flags.steps,
        flags.guidance,
        _attribute_guidance(flags.guide),
        base.image.shape[:2],
        base.image,
        flags.strength,
        window_px=flags.window_px,
        guidance_interval=tuple(flags.guidance_interval),
    )
    before = {"before": {"hematoxylin": base.hematoxylin, "eosin": base.eosin}}
    return _generate_into(flags, request) | before


def build_welcome(flags: argparse.Namespace) -> dict[str, Any]:
    """The tiles a first visitor sees, for the present checkpoint."""
    from medi_core.bootstrap import build_services

    paths = build_services(settings_of(flags)).welcome.store()
    return {"written": [str(path) for path in paths]}


def _generate_into(flags: argparse.Namespace, request) -> dict[str, Any]:
    from medi_core.bootstrap import build_services
    from medi_core.services.export import generate_into

    service = build_services(settings_of(flags)).generation
    show = progress(flags, "Tiles")
    export = generate_into(service, request, flags.out, lambda done, total: show(round(done, 1), total))
    return {
        "checkpoint": service.checkpoint.id,
        "support": service.vocabulary.support_of(request.record).describe(),
        "manifest": str(export.manifest),
        "tiles": [asdict(tile) for tile in export.tiles],
    }


def _request(flags: argparse.Namespace):
    """From noise, one tile a seed."""
    from medi_core.services.generation_request import MAX_TILES, GenerationRequest

    if not 1 <= flags.num <= MAX_TILES:
        raise InvalidRequestError(f"--num {flags.num}: it must be from 1 to {MAX_TILES:,}")
    return GenerationRequest(
        record_of_flags(flags),
        tuple(range(flags.seed, flags.seed + flags.num)),
        flags.steps,
        flags.guidance,
        _attribute_guidance(flags.guide),
        (flags.side_px, flags.side_px),
        window_px=flags.window_px,
        guidance_interval=tuple(flags.guidance_interval),
    )


def _attribute_guidance(pairs: Sequence[str]) -> tuple[tuple[str, float], ...]:
    try:
        return tuple((name, float(scale)) for name, scale in mapping(pairs).items())
    except ValueError as error:
        raise InvalidRequestError(f"--guide {' '.join(pairs)}: write ATTRIBUTE=SCALE, e.g. center=2") from error


def _add_sampling(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0)
    few = "a few-step checkpoint has its own"
    command.add_argument("--steps", type=int, help=f"denoising steps (default: 12; {few})")
    command.add_argument("--guidance", type=float, help=f"1 = none (default: 2; {few})")
    command.add_argument("--guide", nargs="*", default=[], metavar="ATTRIBUTE=SCALE", help="guidance by attribute")
    command.add_argument(
        "--guidance-interval",
        nargs=2,
        type=float,
        default=(0.0, 1.0),
        metavar=("LOW", "HIGH"),
        help="guide only between these noise levels, 0 to 1 (default: 0 1)",
    )
    command.add_argument("--window-px", type=int, help="denoise in overlapping windows (default: all at once)")
    command.add_argument("--out", type=Path, required=True, help="folder for PNGs and manifest.csv")
