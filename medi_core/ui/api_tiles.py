"""Named endpoints that make tiles, or look at one: what the tabs do, without the tabs."""

from dataclasses import replace

import gradio as gr
from gradio import FileData

from medi_core.data.tile_files import read_upload
from medi_core.errors import InvalidRequestError
from medi_core.planning.plan import AugmentationPlan
from medi_core.services.comparison import comparison_of
from medi_core.services.contact_sheet import sheet_png
from medi_core.services.default_sampling import settled
from medi_core.services.export import SHEET_NAME, strength_or_none
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation_request import MAX_SEED, WINDOW_PX, GenerationRequest
from medi_core.services.instant import MAX_INSTANT_TILES, instant_request
from medi_core.services.request_checks import ALL_LEVELS
from medi_core.services.rerender import read_base_image
from medi_core.ui.api_inputs import File, metadata_type, record_of, texts, uploaded_file, whole_number
from medi_core.ui.handlers import png_of, reported, session_folder, tile_name, write_download
from medi_core.ui.runs import stop_when_gone
from medi_core.ui.shared import GPU_QUEUE, INSTANT_QUEUE, INSTANTS_AT_ONCE, RUNS_AT_ONCE, Shared

MAX_API_TILES = 64
MAX_API_WORK = 64 * 50 * 128**2
"""Tiles × steps × pixels of one call: until it is done, it has a share of the device, and one of few places."""
WINDOW_WORK = 4
"""Windows overlap by half in height and in width: each pixel is denoised up to four times."""
MAX_VALUES = 48


def build_tile_endpoints(shared: Shared) -> None:
    """Typed functions with their docstrings, which are the schema that MCP clients see: one line an argument."""
    services = shared.services
    service = services.generation
    default_steps, default_guidance = service.default_sampling
    Metadata = metadata_type(service.vocabulary)  # noqa: N806  a type, made from the checkpoint

    def bounded(request: GenerationRequest, num_conditions: int = 1) -> GenerationRequest:
        return within_bounds(settled(request, service.default_sampling), num_conditions)  # null = left open

    def info() -> dict:
        """What the checkpoint knows: attributes, their values, and tiles and patients of training behind each."""
        return service.checkpoint.facts()

    @reported
    def generate(
        metadata: Metadata,
        num: int = 1,
        seed: int = 0,
        steps: int = default_steps,
        guidance: float = default_guidance,
        side_px: int = 128,
        window_px: int | None = None,
        guidance_interval: tuple[float, float] = ALL_LEVELS,
    ) -> list[dict]:
        """Synthetic H&E tiles as PNG files, each with its provenance and measured stains.

        Args:
            metadata: attribute → value, as `info` lists them; what is left out is left open. Bins are text, "1" to "5".
            num: tiles, at most 64; they have the seeds seed, seed + 1, …
            seed: the same seed gives the same tile.
            steps: denoising steps, at most 200.
            guidance: towards the metadata; 1 = none, at most 10.
            side_px: of a tile, a multiple of 32, at most 512.
            window_px: denoise a larger image in overlapping windows of this side; none = the whole image at once.
            guidance_interval: guide only between these noise levels, low and high, from 0 = tile to 1 = noise.
        """
        interval = tuple(guidance_interval) if isinstance(guidance_interval, list) else guidance_interval
        request = replace(request_of(metadata, num, seed, steps, guidance, side_px), guidance_interval=interval)
        return [
            _answer(tile) for tile in service.generate(bounded(replace(request, window_px=window_px)), stop_when_gone())
        ]

    @reported
    def generate_tile(
        metadata: Metadata,
        seed: int = 0,
        steps: int = default_steps,
        guidance: float = default_guidance,
        side_px: int = 128,
    ) -> FileData:
        """One synthetic H&E tile, as an image to look at; the PNG says that it is synthetic and how it was made.

        Args:
            metadata: attribute → value, as `info` lists them; what is left out is left open. Bins are text, "1" to "5".
            seed: the same seed gives the same tile.
            steps: denoising steps, at most 200.
            guidance: towards the metadata; 1 = none, at most 10.
            side_px: of the tile, a multiple of 32, at most 512.
        """
        (tile,) = service.generate(bounded(request_of(metadata, 1, seed, steps, guidance, side_px)), stop_when_gone())
        return _png_file(tile_name(tile), png_of(tile))

    @reported
    def generate_instant(
        metadata: Metadata, num: int = 1, seed: int = 0, towards: str | None = None, blend: float = 0.0
    ) -> list[dict]:
        """Synthetic H&E tiles of the few-step model, in a fraction of the time of `generate`: for quick looks.

        Args:
            metadata: attribute → value, as `info` lists them; what is left out is left open. Bins are text, "1" to "5".
            num: tiles, at most 4; they have the seeds seed, seed + 1, …
            seed: the same seed gives the same tile.
            towards: a second center to blend into, from the same noise; none = no blending.
            blend: share of the second center, 0 to 1.
        """
        whole_number("num", num, 1, MAX_INSTANT_TILES)
        whole_number("seed", seed, 0, MAX_SEED)
        request = instant_request(record_of(metadata), tuple(range(seed, seed + num)), towards, blend)
        return [_answer(tile) for tile in services.instant.generate(request, stop_when_gone())]

    @reported
    def compare(
        metadata: Metadata,
        vary: dict[str, list[str]],
        num: int = 1,
        seed: int = 0,
        steps: int = default_steps,
        guidance: float = default_guidance,
        side_px: int = 128,
    ) -> FileData:
        """Tiles from the same noise under other metadata, as one labelled image; under each, how much training had it.

        Args:
            metadata: held in every tile: attribute → value, as `info` lists them.
            vary: attribute → values, of one attribute, or two: the first across, the second down; at most 48 tiles.
            num: tiles a combination, of the seeds seed, seed + 1, …
            seed: of the noise that all combinations start from.
            steps: denoising steps, at most 200.
            guidance: towards the metadata; 1 = none, at most 10.
            side_px: of a tile, a multiple of 32, at most 512.
        """
        if not isinstance(vary, dict):
            raise InvalidRequestError(f"vary = {vary!r}: it must map one or two attributes to lists of values")
        vary = {name: texts(f"vary[{name!r}]", values, MAX_VALUES) for name, values in vary.items()}
        request = comparison_of(request_of(metadata, num, seed, steps, guidance, side_px), vary)
        bounded(request.base, sum(map(len, request.records())))
        grid = services.comparison.compare(request, stop_when_gone())
        return _png_file(SHEET_NAME, sheet_png(service.vocabulary, request, grid, service.checkpoint.id))

    @reported
    def rerender(
        image: File,
        metadata: Metadata,
        strength: float = 0.5,
        seed: int = 0,
        steps: int = default_steps,
        guidance: float = default_guidance,
    ) -> dict:
        """One H&E tile re-rendered as if it had other metadata, e.g. came from another center.

        Args:
            image: PNG, JPEG or TIFF of at most 10 MB, as data: URI or link of this app; its centre is used.
            metadata: attribute → value to render it under, as `info` lists them.
            strength: how much is drawn anew: 0.01 = keep, 1 = all.
            seed: the same seed gives the same tile.
            steps: denoising steps, at most 200.
            guidance: towards the metadata; 1 = none, at most 10.
        """
        base = read_base_image(uploaded_file(image, "image"))
        request = GenerationRequest(
            record_of(metadata), (seed,), steps, guidance, (), base.image.shape[:2], base.image, strength
        )
        return _answer(service.generate(bounded(request), stop_when_gone())[0])

    @reported
    def classify(image: File) -> dict:
        """Calibrated probability of each cancer type in one H&E tile; for research only, not a diagnosis.

        Args:
            image: PNG, JPEG or TIFF of at most 10 MB, as data: URI or link of this app; its centre is used.
        """
        (verdict,) = services.classification.verdicts([read_upload(uploaded_file(image, "image"))])
        return {
            "classifier": verdict.model,
            "predicted": verdict.top,
            "tumor": verdict.tumor,
            "probabilities": dict(verdict.probabilities),
        }

    @reported
    def generate_dataset(plan: dict) -> FileData:
        """The tiles of a small plan, as a zip of PNGs with their manifest and the plan.

        Args:
            plan: what `plan` answered, of at most 100 tiles; the command line makes larger ones.
        """
        made = AugmentationPlan.from_dict(plan)
        _require_bounded(made.num_tiles * made.num_inference_steps * WINDOW_PX**2)
        return FileData(
            path=str(services.datasets.zip_of(made, session_folder(), stop_when_gone())), mime_type="application/zip"
        )

    for endpoint in (generate, generate_tile, compare, rerender, classify, generate_dataset):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_id=GPU_QUEUE, concurrency_limit=RUNS_AT_ONCE)
    if services.instant:
        gr.api(
            generate_instant,
            api_name="generate_instant",
            concurrency_id=INSTANT_QUEUE,
            concurrency_limit=INSTANTS_AT_ONCE,
        )
    gr.api(info, api_name="info")


def request_of(metadata: dict, num: int, seed: int, steps: int, guidance: float, side_px: int) -> GenerationRequest:
    """From noise, `num` seeds in a row."""
    whole_number("num", num, 1, MAX_API_TILES)
    whole_number("seed", seed, 0, MAX_SEED)
    seeds = tuple(range(seed, seed + num))
    return GenerationRequest(record_of(metadata), seeds, steps, guidance, side_px=(side_px, side_px))


def within_bounds(request: GenerationRequest, num_conditions: int = 1) -> GenerationRequest:
    """The request, if one call may ask for so much."""
    # its numbers are numbers, as it has checked: a text times a million is a long text
    height, width = request.size_px
    windows = 1 if request.window_px is None else WINDOW_WORK
    _require_bounded(num_conditions * len(request.seeds) * request.num_inference_steps * height * width * windows)
    return request


def _require_bounded(work: int) -> None:
    if work > MAX_API_WORK:
        raise InvalidRequestError("too much for one call: ask for fewer or smaller tiles, or fewer steps")


def _answer(tile: GeneratedTile) -> dict:
    return {
        "file": _png_file(tile_name(tile), png_of(tile)).model_dump(),
        "hematoxylin": strength_or_none(tile.hematoxylin),
        "eosin": strength_or_none(tile.eosin),
        **tile.provenance(),
    }


def _png_file(name: str, png: bytes) -> FileData:
    return FileData(path=write_download(name, png), mime_type="image/png")
