"""Tiles by diffusers' schedulers in a plain loop, without anything of our pipeline: what others would write.

Both classes have as much of `MediPipeline`'s interface as benchmarks/fidelity.py asks for, and start from its noise.
"""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

from benchmarks.networks import PAPER_STEPS, SIDE_PX
from benchmarks.paper_training import NOISE
from medi_core.models.denoiser import NUM_TRAIN_TIMESTEPS
from medi_core.pipelines.guidance import GuidanceTerm, active_terms, combine, drop_columns
from medi_core.pipelines.medi_pipeline import MediPipeline, seeded_noise, to_uint8
from medi_core.training.train_diffusion import TrainingModel

PAPER_SAMPLERS = {"ddim": DDIMScheduler, "dpmsolver": DPMSolverMultistepScheduler}
"""DDIM, and what the authors' code samples with."""


class PaperPipeline:
    """The paper's network under a scheduler of noise prediction; no guidance, for its training drops no metadata."""

    def __init__(self, model: TrainingModel, sampler: str = "ddim", side_px: int = SIDE_PX) -> None:
        self.denoiser, self.metadata_embedder = model.denoiser, model.embedder
        self._build_scheduler, self._side_px = PAPER_SAMPLERS[sampler], side_px

    @torch.inference_mode()
    def __call__(
        self,
        condition_ids: torch.Tensor,
        seeds: Sequence[int],
        num_inference_steps: int = PAPER_STEPS,
        guidance: Sequence[GuidanceTerm] = (),
    ) -> np.ndarray:
        """One tile a seed, uint8 `(B, S, S, 3)`; condition ids int64 `(B, A)`."""
        assert not active_terms(guidance), "this training has no null condition"
        device = next(self.denoiser.parameters()).device
        conditioning = self.metadata_embedder(condition_ids.to(device))
        x_t = torch.stack([seeded_noise(seed, self._side_px, self._side_px) for seed in seeds]).to(device)
        scheduler = self._build_scheduler(**NOISE)
        scheduler.set_timesteps(num_inference_steps)
        for timestep in scheduler.timesteps:
            batch = x_t.to(self.denoiser.dtype, memory_format=torch.channels_last)
            eps = self.denoiser(batch, timestep.to(device), conditioning).float()
            x_t = scheduler.step(eps, timestep, x_t).prev_sample
        return to_uint8(x_t)


class StockPipeline:
    """Our weights in a stock loop: one tile a call, each condition a forward of its own, diffusers' own timesteps."""

    def __init__(self, pipeline: MediPipeline, side_px: int = SIDE_PX) -> None:
        self.denoiser, self.metadata_embedder = pipeline.denoiser, pipeline.metadata_embedder
        self.denoiser.to(memory_format=torch.contiguous_format)  # as `from_pretrained` gives it
        self._side_px = side_px

    @torch.inference_mode()
    def __call__(
        self,
        condition_ids: torch.Tensor,
        seeds: Sequence[int],
        num_inference_steps: int,
        guidance: Sequence[GuidanceTerm] = (),
    ) -> np.ndarray:
        """One tile a seed, uint8 `(B, S, S, 3)`; condition ids int64 `(B, A)`."""
        rows = zip(condition_ids.split(1), seeds, strict=True)
        return np.concatenate([self._sample(ids, seed, num_inference_steps, guidance) for ids, seed in rows])

    def _sample(self, ids: torch.Tensor, seed: int, steps: int, guidance: Sequence[GuidanceTerm]) -> np.ndarray:
        device, dtype = self.denoiser.device, self.denoiser.dtype
        vocabulary, terms = self.metadata_embedder.vocabulary, active_terms(guidance)
        null_ids = torch.tensor([vocabulary.null_id(name) for name in vocabulary.attributes])
        all_ids = [ids, *(drop_columns(ids, term.columns, null_ids) for term in terms)]
        conditionings = [self.metadata_embedder(row.to(device)) for row in all_ids]
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=NUM_TRAIN_TIMESTEPS)
        scheduler.set_timesteps(steps)
        x_t = seeded_noise(seed, self._side_px, self._side_px)[None].to(device)
        for timestep in scheduler.timesteps:
            inputs = x_t.to(dtype), timestep.to(device).expand(1)
            full, *without = [self.denoiser(*inputs, row).float() for row in conditionings]
            clean = combine(full, without, [term.scale for term in terms])
            velocity = (x_t - clean) / (float(timestep) / NUM_TRAIN_TIMESTEPS)
            x_t = scheduler.step(velocity, timestep, x_t).prev_sample
        return to_uint8(x_t)
