"""The named HTTP endpoints, for programs: typed, with names of attributes as parameters."""

from pathlib import Path

import gradio as gr
from gradio import FileData

from medi_core.data.tile_files import read_upload
from medi_core.errors import InvalidImageError, InvalidRequestError, UnknownValueError
from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord
from medi_core.services.export import strength_or_none
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation import DEFAULT_GUIDANCE, DEFAULT_STEPS, MAX_SEED, GenerationRequest
from medi_core.services.request_checks import ALL_LEVELS
from medi_core.services.rerender import read_base_image
from medi_core.ui.handlers import png_of, reported, tile_name, write_download
from medi_core.ui.runs import stop_when_gone
from medi_core.ui.shared import GPU_QUEUE, Shared
from medi_core.ui.uploads import uploaded_path

MAX_API_TILES = 64
MAX_API_WORK = 64 * 50 * 128**2
"""Tiles × steps × pixels of one call: it holds the device until it is done."""
WINDOW_WORK = 4
"""Windows overlap by half in height and in width: each pixel is denoised up to four times."""


def build_api(shared: Shared) -> None:
    """`/info`, `/generate`, `/rerender`, `/classify`: what the tabs do, without the tabs."""
    service = shared.services.generation

    def info() -> dict:
        """The checkpoint, its attributes, their values and the training support of each pair."""
        return {"checkpoint": service.checkpoint.id, **service.vocabulary.to_dict()}

    @reported
    def generate(
        metadata: dict,
        num: int = 1,
        seed: int = 0,
        steps: int = DEFAULT_STEPS,
        guidance: float = DEFAULT_GUIDANCE,
        side_px: int = 128,
        window_px: int | None = None,
        guidance_interval: tuple[float, float] = ALL_LEVELS,
    ) -> list[dict]:
        """Tiles as PNG files with their provenance.

        Args:
            metadata: attribute → value, e.g. {"cancer_type": "...", "center": "..."}; see `/info`.
            num: tiles, at most 64; seeds seed, seed + 1, …
            window_px: denoise a larger image in overlapping windows of this side; none = the whole image at once.
            guidance_interval: guide only between these noise levels, low and high, from 0 = tile to 1 = noise.
        """
        for name, value, most in (("num", num, MAX_API_TILES), ("seed", seed, MAX_SEED)):
            if not isinstance(value, int) or value > most:
                raise InvalidRequestError(f"{name} = {value!r}: it must be a whole number, at most {most:,}")
        seeds = tuple(range(seed, seed + num))
        request = GenerationRequest(
            _record(metadata),
            seeds,
            steps,
            guidance,
            side_px=(side_px, side_px),
            window_px=window_px,
            guidance_interval=tuple(guidance_interval) if isinstance(guidance_interval, list) else guidance_interval,
        )
        # after the request has checked that these are numbers: a text times a million is a long text
        if num * steps * side_px**2 * (1 if window_px is None else WINDOW_WORK) > MAX_API_WORK:
            raise InvalidRequestError("too much for one call: ask for fewer or smaller tiles, or fewer steps")
        return [_answer(tile) for tile in service.generate(request, stop_when_gone())]

    @reported
    def rerender(
        image: FileData,
        metadata: dict,
        strength: float = 0.5,
        seed: int = 0,
        steps: int = DEFAULT_STEPS,
        guidance: float = DEFAULT_GUIDANCE,
    ) -> dict:
        """One tile re-rendered under other metadata."""
        base = read_base_image(_uploaded(image))
        request = GenerationRequest(
            _record(metadata), (seed,), steps, guidance, (), base.image.shape[:2], base.image, strength
        )
        return _answer(service.generate(request, stop_when_gone())[0])

    @reported
    def classify(image: FileData) -> dict:
        """Calibrated probability of each cancer type in one tile; research only, not a diagnosis."""
        (verdict,) = shared.services.classification.verdicts([read_upload(_uploaded(image))])
        return {
            "classifier": verdict.model,
            "predicted": verdict.top,
            "tumor": verdict.tumor,
            "probabilities": dict(verdict.probabilities),
        }

    gr.api(info, api_name="info")
    gr.api(generate, api_name="generate", concurrency_id=GPU_QUEUE, concurrency_limit=1)
    gr.api(rerender, api_name="rerender", concurrency_id=GPU_QUEUE, concurrency_limit=1)
    gr.api(classify, api_name="classify", concurrency_id=GPU_QUEUE, concurrency_limit=1)


def _uploaded(image: FileData) -> Path:
    """The path of an upload; Gradio does not check what `gr.api` hands on, so any file of the server could be named."""
    path = uploaded_path(image.get("path") if isinstance(image, dict) else None)
    if path is None:
        raise InvalidImageError("image is no uploaded file: send it with handle_file(...) of gradio_client")
    return path


def _record(metadata: dict) -> MetadataRecord:
    if not isinstance(metadata, dict):
        raise InvalidRequestError(f"metadata = {metadata!r}: it must be a mapping of attribute to value")
    unknown = set(metadata) - set(ATTRIBUTE)
    if unknown:
        raise UnknownValueError(f"metadata names {', '.join(sorted(unknown))}; known: {', '.join(ATTRIBUTE)}")
    return MetadataRecord(**metadata)


def _answer(tile: GeneratedTile) -> dict:
    path = write_download(tile_name(tile), png_of(tile))
    return {
        "file": FileData(path=path, mime_type="image/png").model_dump(),
        "hematoxylin": strength_or_none(tile.hematoxylin),
        "eosin": strength_or_none(tile.eosin),
        **tile.provenance(),
    }
