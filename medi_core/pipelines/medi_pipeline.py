"""MediPipeline: condition ids and seeds → tiles. Knows no attribute names, files or widgets.

The module path is recorded in checkpoints (`model_index.json`): never rename it.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.schedulers import SchedulerMixin

from medi_core.errors import InvalidRequestError
from medi_core.models.denoiser import NUM_TRAIN_TIMESTEPS, Denoiser
from medi_core.models.metadata_embedder import MetadataEmbedder
from medi_core.pipelines.guidance import GuidanceTerm, active_terms, combine, drop_columns
from medi_core.pipelines.row_batcher import PredictRows, predict_alone
from medi_core.pipelines.schedulers import set_noise_levels
from medi_core.pipelines.windows import predict_by_windows

MAX_SIDE_PX = 512
SIDE_MULTIPLE_PX = 32
SIGMA_MAX = 1.0


class MediPipeline(DiffusionPipeline):
    """Metadata-guided diffusion of H&E tiles (Drexlin et al. 2025, arXiv 2506.17140) in pixel space.

    Load with `MediPipeline.from_pretrained(folder)`.
    """

    def __init__(self, denoiser: Denoiser, metadata_embedder: MetadataEmbedder, scheduler: SchedulerMixin) -> None:
        super().__init__()
        self.register_modules(denoiser=denoiser, metadata_embedder=metadata_embedder, scheduler=scheduler)

    @torch.inference_mode()
    def __call__(
        self,
        condition_ids: torch.Tensor,
        seeds: Sequence[int],
        num_inference_steps: int = 12,
        guidance: Sequence[GuidanceTerm] = (),
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        height_px: int = 128,
        width_px: int = 128,
        base_tiles: np.ndarray | None = None,
        strength: float = 1.0,
        other_ids: torch.Tensor | None = None,
        other_weights: Sequence[float] = (),
        window_px: int | None = None,
        on_step: Callable[[int, torch.Tensor], None] | None = None,
        predict_rows: PredictRows | None = None,
    ) -> np.ndarray:
        """Denoise one tile a seed.

        Args:
            condition_ids: int64 `(B, A)`, in the order of the checkpoint's vocabulary.
            seeds: one a tile; tile i is a function of its seed and condition, not of the batch.
            num_inference_steps: noise levels visited.
            guidance: terms to push towards; none, or all scales 1, is plain conditional sampling.
            guidance_interval: (low, high) σ within which guidance applies (Kynkäänniemi et al. 2024).
            height_px, width_px: multiples of 32, at most 512.
            base_tiles: uint8 `(B, height, width, 3)`, RGB: re-render these instead of starting from noise.
            strength: noise level σ in (0, 1] to which `base_tiles` are taken (SDEdit, Meng et al. 2022).
            other_ids: int64 `(B, A)`: a second condition to interpolate towards, in embedding space.
            other_weights: share of the second condition a tile, 0 to 1.
            window_px: denoise in overlapping windows of this side instead of in one pass.
            on_step: called with (steps done, current clean estimate `(B, 3, H, W)` in [−1, 1]).
            predict_rows: who runs the denoiser, e.g. for several calls at once; the tiles are the same. `None` = this
                call, alone.

        Returns:
            uint8 `(B, height, width, 3)`, RGB.

        Raises:
            InvalidRequestError: a size, step count or strength outside its range; a checkpoint that leaves the range of
                its number format.
        """
        self._check(condition_ids, seeds, num_inference_steps, height_px, width_px, base_tiles, strength)
        device, predict_rows = self.device, predict_rows or partial(predict_alone, self.denoiser)

        # 1) conditioning vectors: the full condition first, then one a guidance term
        terms = active_terms(guidance)
        null_ids = self._null_ids(device)
        ids = condition_ids.to(device)
        conditionings = [self._embed(ids, (), null_ids, other_ids, other_weights)]
        conditionings += [self._embed(ids, t.columns, null_ids, other_ids, other_weights) for t in terms]

        # 2) noise, one generator a seed, and the base tiles where there are any
        x_t = torch.stack([seeded_noise(seed, height_px, width_px) for seed in seeds]).to(device)
        if base_tiles is not None:
            x_t = (1 - strength) * to_model_range(base_tiles).to(device) + strength * x_t

        # 3) denoise from σ = strength to 0. A scheduler holds state: each call has its own
        scheduler = type(self.scheduler).from_config(self.scheduler.config)
        set_noise_levels(scheduler, strength, num_inference_steps, device)
        for i, timestep in enumerate(scheduler.timesteps):
            sigma = float(timestep) / NUM_TRAIN_TIMESTEPS
            is_guided = guidance_interval[0] <= sigma <= guidance_interval[1]
            used = len(terms) + 1 if is_guided else 1

            def predict(window: torch.Tensor, timestep=timestep, used=used) -> torch.Tensor:
                rows = torch.cat([window] * used)
                return predict_rows(rows, timestep.expand(len(rows)), torch.cat(conditionings[:used]))

            predicted = predict_by_windows(predict, x_t, used, window_px)  # (used, B, 3, H, W)
            clean = combine(predicted[0], predicted[1:], [t.scale for t in terms[: used - 1]])
            x_t = scheduler.step((x_t - clean) / sigma, timestep, x_t).prev_sample
            if on_step is not None:
                on_step(i + 1, clean)
        if not x_t.isfinite().all():  # it would be a black tile
            raise InvalidRequestError(
                f"the checkpoint leaves the range of {str(self.denoiser.dtype).removeprefix('torch.')} here: "
                "start with --dtype float32"
            )
        return to_uint8(x_t)

    def _embed(self, ids, columns, null_ids, other_ids, other_weights) -> torch.Tensor:
        """Conditioning `(B, E)` with some columns dropped, mixed with the second condition if given."""
        first = self._embed_rows(drop_columns(ids, columns, null_ids))
        if other_ids is None:
            return first
        second = self._embed_rows(drop_columns(other_ids.to(ids.device), columns, null_ids))
        weights = torch.tensor(other_weights, dtype=first.dtype, device=first.device)[:, None]
        return (1 - weights) * first + weights * second

    def _embed_rows(self, ids: torch.Tensor) -> torch.Tensor:
        """`(B, A)` → `(B, E)`, a row at a time: as for the denoiser, the kernel must not depend on the company."""
        return torch.cat([self.metadata_embedder(row) for row in ids.split(1)])

    def _null_ids(self, device: torch.device) -> torch.Tensor:
        vocabulary = self.metadata_embedder.vocabulary
        return torch.tensor([vocabulary.null_id(name) for name in vocabulary.attributes], device=device)

    def _check(self, condition_ids, seeds, num_inference_steps, height_px, width_px, base_tiles, strength) -> None:
        for name, side in (("height_px", height_px), ("width_px", width_px)):
            if side % SIDE_MULTIPLE_PX or not 0 < side <= MAX_SIDE_PX:
                raise InvalidRequestError(
                    f"{name} = {side}: it must be a multiple of {SIDE_MULTIPLE_PX} from {SIDE_MULTIPLE_PX} "
                    f"to {MAX_SIDE_PX}"
                )
        if num_inference_steps < 1:
            raise InvalidRequestError(f"num_inference_steps = {num_inference_steps}: at least 1 is needed")
        if not 0 < strength <= SIGMA_MAX:
            raise InvalidRequestError(f"strength = {strength}: it must be above 0 and at most 1")
        assert condition_ids.shape == (len(seeds), len(self.metadata_embedder.vocabulary.attributes))
        if base_tiles is None:
            assert strength == SIGMA_MAX, "strength belongs to base_tiles"
        else:
            assert base_tiles.shape == (len(seeds), height_px, width_px, 3), base_tiles.shape


def seeded_noise(seed: int, height_px: int, width_px: int) -> torch.Tensor:
    """Standard normal `(3, H, W)`, drawn on the CPU so that it is the same for every device."""
    return torch.randn(3, height_px, width_px, generator=torch.Generator().manual_seed(seed))


def to_model_range(tiles: np.ndarray) -> torch.Tensor:
    """uint8 `(B, H, W, 3)` → float32 `(B, 3, H, W)` in [−1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(tiles)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(tiles: torch.Tensor) -> np.ndarray:
    """float `(B, 3, H, W)` in [−1, 1], clipped → uint8 `(B, H, W, 3)`."""
    scaled = ((tiles.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).cpu().numpy()
