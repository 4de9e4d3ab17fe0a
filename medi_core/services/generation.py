"""Generate, re-render and interpolate tiles: request in, `GeneratedTile`s out. Knows no widgets.

One checkpoint on one device, loaded once; every tab and the CLI share this service.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import ceil, lcm, prod

import numpy as np
import torch

from medi_core.checkpoints import Checkpoint
from medi_core.errors import InvalidRequestError, StoppingError
from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.pipelines.compiled_denoiser import build_batcher
from medi_core.pipelines.guidance import GuidanceTerm, active_terms
from medi_core.pipelines.medi_pipeline import SIDE_MULTIPLE_PX, to_uint8
from medi_core.pipelines.row_batcher import TRAINED_SIDE_PX, PredictRows
from medi_core.services.default_sampling import default_sampling, settled
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.generation_request import GenerationRequest, digest_of
from medi_core.services.request_checks import check_multiple
from medi_core.services.streaming import stream
from medi_core.services.zero_gpu import gpu_seconds, is_zero_gpu, on_zero_gpu
from medi_core.stain.separation import stain_strengths

CACHED_TILES = 512


@dataclass(frozen=True)
class GenerationProgress:
    """What a request reports while it runs; `tiles` is filled in the last one."""

    done: int
    """Denoising steps done, over all batches of tiles."""
    total: int
    previews: tuple[np.ndarray, ...] = field(default=(), repr=False)
    """Finished tiles, then the present estimates: uint8 `(H, W, 3)` each."""
    tiles: tuple[GeneratedTile, ...] = ()


class GenerationService:
    """The resident pipeline, whose forwards all requests of the moment share, and the tiles it made last."""

    def __init__(self, checkpoint: Checkpoint, batch_size: int, is_compiled: bool = False) -> None:
        self.checkpoint, self._batch_size = checkpoint, batch_size
        self.default_sampling = default_sampling(checkpoint)
        self.find_elsewhere: Callable[[str], GeneratedTile | None] = lambda _: None
        """Where `find` looks for tiles that another service made."""
        # on ZeroGPU each request runs in a process of its own: there is nobody to share with
        self._batcher = None if is_zero_gpu() else build_batcher(checkpoint.pipeline.denoiser, is_compiled)
        self._cache_lock = threading.Lock()
        self._tiles: dict[str, GeneratedTile] = {}
        self._is_stopping = threading.Event()
        self._on_device = on_zero_gpu(lambda request: stream(lambda emit: self._run(request, emit)), self._gpu_seconds)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.checkpoint.vocabulary

    @property
    def batch_size(self) -> int:
        """Tiles that the network sees at once."""
        return self._batch_size

    @property
    def side_multiple_px(self) -> int:
        """Height and width of a tile, and a window, must be multiples of this: a deeper network needs larger ones."""
        return lcm(SIDE_MULTIPLE_PX, self.checkpoint.pipeline.denoiser.side_multiple_px)

    def generate(
        self, request: GenerationRequest, on_progress: Callable[[GenerationProgress], None] = lambda _: None
    ) -> list[GeneratedTile]:
        """Make all tiles of a request.

        Raises:
            UnknownValueError: the record holds what the checkpoint does not know.
        """
        for progress in self.stream(request):
            on_progress(progress)
        return list(progress.tiles)

    def stream(self, request: GenerationRequest) -> Iterator[GenerationProgress]:
        """The same, reporting each denoising step. Stop iterating to cancel.

        Raises:
            StoppingError: `stop` was called.
        """
        request = settled(request, self.default_sampling)
        self.check(request)
        self._refuse_if_stopping()
        for progress in self._on_device(request):
            if not progress.tiles:
                self._refuse_if_stopping()
            for tile in progress.tiles:  # here, not where they are made: that may be another process
                self._remember(tile)
            yield progress

    def check(self, request: GenerationRequest) -> None:
        """Refuse, before any waiting, what this checkpoint does not know.

        Raises:
            UnknownValueError: a value of a record.
            InvalidRequestError: an attribute to guide by, or a side.
        """
        self._condition_ids(request.record)
        if request.other_record is not None:
            self._condition_ids(request.other_record)
        for attribute, _ in request.attribute_guidance:
            self._column(attribute)
        for side in request.size_px:
            check_multiple("side in px", side, self.side_multiple_px)
        if request.window_px is not None:
            check_multiple("window in px", request.window_px, self.side_multiple_px)

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """No more steps: the running one is finished, then its requests and all that follow get a `StoppingError`.

        Args:
            timeout_seconds: for how long the running step is waited for.
        """
        self._is_stopping.set()
        if self._batcher is not None:
            self._batcher.stop(timeout_seconds)

    def _refuse_if_stopping(self) -> None:
        if self._is_stopping.is_set():
            raise StoppingError

    def find(self, tile_id: str) -> GeneratedTile | None:
        """A tile made lately; `None` once it has left the cache (its provenance makes it again)."""
        return self._tiles.get(tile_id) or self.find_elsewhere(tile_id)

    def _gpu_seconds(self, request: GenerationRequest) -> int:
        """For how long ZeroGPU is asked, generously: overlapping windows denoise each pixel up to four times."""
        request = settled(request, self.default_sampling)
        reports = self.checkpoint.pipeline.scheduler.order * request.num_inference_steps
        passes = 1 + len(active_terms(self._guidance(request)))
        overlap = 1 if request.window_px is None else 4
        tiles = len(request.seeds) * overlap * prod(request.size_px) / TRAINED_SIDE_PX**2
        return gpu_seconds(reports * ceil(len(request.seeds) / self._batch_size), reports * passes * tiles)

    def _run(self, request: GenerationRequest, emit: Callable[[GenerationProgress], None]) -> GenerationProgress:
        order = self.checkpoint.pipeline.scheduler.order  # of 2: two reports a step, but for the last
        reports = order * request.num_inference_steps - (order - 1)
        num_batches = ceil(len(request.seeds) / self._batch_size)
        total = num_batches * reports
        finished: list[GeneratedTile] = []
        with nullcontext() if self._batcher is None else self._batcher.caller() as predict_rows:
            for b in range(num_batches):
                seeds = request.seeds[b * self._batch_size : (b + 1) * self._batch_size]

                def on_step(done: int, clean: torch.Tensor, b: int = b, before: tuple = tuple(finished)) -> None:
                    previews = (*(tile.image for tile in before), *to_uint8(clean))
                    emit(GenerationProgress(b * reports + done, total, previews))

                finished += self._sample(request, seeds, on_step, predict_rows)
        return GenerationProgress(total, total, tuple(t.image for t in finished), tuple(finished))

    def _sample(
        self, request: GenerationRequest, seeds: tuple[int, ...], on_step, predict_rows: PredictRows | None
    ) -> list[GeneratedTile]:
        num, base, other = len(seeds), request.base_image, request.other_record
        height, width = request.size_px
        images = self.checkpoint.pipeline(
            condition_ids=self._condition_ids(request.record).expand(num, -1),
            seeds=[int(seed) for seed in seeds],  # torch takes no numpy integers
            num_inference_steps=request.num_inference_steps,
            guidance=self._guidance(request),
            guidance_interval=request.guidance_interval,
            height_px=height,
            width_px=width,
            base_tiles=None if base is None else np.stack([base] * num),
            strength=1.0 if base is None else request.strength,
            other_ids=None if other is None else self._condition_ids(other).expand(num, -1),
            other_weights=[request.other_weight] * num,
            window_px=request.window_px,
            on_step=on_step,
            predict_rows=predict_rows,
        )
        return [self._describe(request, seed, image) for seed, image in zip(seeds, images, strict=True)]

    def _describe(self, request: GenerationRequest, seed: int, image: np.ndarray) -> GeneratedTile:
        hematoxylin, eosin = stain_strengths(image)
        base = request.base_image
        return GeneratedTile(
            image=image,
            record=request.record,
            seed=seed,
            checkpoint_id=self.checkpoint.id,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            attribute_guidance=request.attribute_guidance,
            strength=request.strength,
            base_digest=None if base is None else digest_of(base),
            other_record=request.other_record,
            other_weight=request.other_weight,
            window_px=request.window_px,
            guidance_interval=request.guidance_interval,
            hematoxylin=hematoxylin,
            eosin=eosin,
        )

    def _guidance(self, request: GenerationRequest) -> tuple[GuidanceTerm, ...]:
        # dropping what is not set changes nothing, and would cost a forward pass
        given = request.record.to_dict() | (request.other_record.to_dict() if request.other_record else {})
        columns = tuple(i for i, name in enumerate(self.vocabulary.attributes) if name in given)
        together = GuidanceTerm(columns, request.guidance_scale)
        # in one order, for sums of floats depend on it and provenance does not keep it
        single = (GuidanceTerm((self._column(name),), scale) for name, scale in sorted(request.attribute_guidance))
        return (together, *single)

    def _condition_ids(self, record: MetadataRecord) -> torch.Tensor:
        return torch.tensor([self.vocabulary.encode(record)])  # (1, A)

    def _column(self, attribute: str) -> int:
        if attribute not in self.vocabulary.attributes:
            raise InvalidRequestError(
                f"guidance for {attribute!r}: this checkpoint knows {', '.join(self.vocabulary.attributes)}"
            )
        return self.vocabulary.attributes.index(attribute)

    def adopt(self, request: GenerationRequest, image: np.ndarray) -> GeneratedTile:
        """A tile that was made before, from its request of one seed and its pixels; it can be found from now on."""
        tile = self._describe(settled(request, self.default_sampling), request.seeds[0], image)
        self._remember(tile)
        return tile

    def _remember(self, tile: GeneratedTile) -> None:
        with self._cache_lock:
            self._tiles.pop(tile.id, None)  # made again: the last to go
            self._tiles[tile.id] = tile
            while len(self._tiles) > CACHED_TILES:
                self._tiles.pop(next(iter(self._tiles)))
