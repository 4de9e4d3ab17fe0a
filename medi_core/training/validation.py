"""The validation loss: the training objective on fixed tiles, noise levels and noise."""

from dataclasses import dataclass

import torch

from medi_core.data.tile_dataset import RandomTileDataset
from medi_core.models.denoiser import NUM_TRAIN_TIMESTEPS
from medi_core.training.flow_matching import NoiseDraw, add_noise, velocity_loss
from medi_core.training.train_diffusion import DiffusionTraining, DiffusionTrainingConfig

NUM_TILES = 96
BATCH = 32


@dataclass(frozen=True)
class ValidationSet:
    """Fixed draws, so that the loss of two steps differs by the weights alone."""

    tiles: torch.Tensor
    """float32 `(N, 3, S, S)` in [−1, 1]."""
    condition_ids: torch.Tensor
    """int64 `(N, A)`."""
    draw: NoiseDraw
    sigma_floor: float

    @classmethod
    def build(cls, dataset: RandomTileDataset, config: DiffusionTrainingConfig) -> "ValidationSet":
        items = [dataset[i] for i in range(NUM_TILES)]
        tiles = torch.stack([tile for tile, _ in items]).float() / 127.5 - 1
        generator = torch.Generator().manual_seed(config.seed)
        eps = torch.randn(tiles.shape, generator=generator)
        # the noise levels that training draws, stratified over the quantiles of their distribution
        quantiles = (torch.arange(NUM_TILES) + 0.5) / NUM_TILES
        logits = config.objective.sigma_logit_mean + config.objective.sigma_logit_std * torch.special.ndtri(quantiles)
        sigmas = torch.sigmoid(logits)[torch.randperm(NUM_TILES, generator=generator)]
        nothing = torch.zeros(NUM_TILES, len(dataset.vocabulary.attributes), dtype=torch.bool)
        draw = NoiseDraw(sigmas, eps, nothing)
        return cls(tiles, torch.stack([ids for _, ids in items]), draw, config.objective.sigma_floor)

    @torch.inference_mode()
    def loss(self, training: DiffusionTraining) -> float:
        """Mean velocity loss of the training's present weights."""
        device = training.accelerator.device
        x_t = add_noise(self.tiles, self.draw)
        losses = []
        for part in torch.arange(len(self.tiles)).split(BATCH):
            with training.accelerator.autocast():
                predicted = training.model(
                    x_t[part].to(device, memory_format=torch.channels_last),
                    self.draw.sigmas[part].to(device) * NUM_TRAIN_TIMESTEPS,
                    self.condition_ids[part].to(device),
                )
            losses.append(velocity_loss(predicted.cpu(), self.tiles[part], self.draw.sigmas[part], self.sigma_floor))
        return torch.cat(losses).mean().item()
