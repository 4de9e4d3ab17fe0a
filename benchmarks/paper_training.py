"""The paper's training (MeDi, Drexlin et al. 2025) in our loop: its network, objective, optimiser and average.

Data, their order, metadata, batch and resuming are ours, so that two trainings differ in nothing but the recipe. The
recipe is that of the authors' public code (David-Drexlin/MeDi on GitHub, train_diffusion.py): 1000 steps of noise with
linear β, ε prediction with a plain mean squared error, AdamW, no dropped metadata. Two things are not: the learning
rate stays constant after a short warm-up instead of falling over three million steps, and embeddings of attributes are
summed by our `MetadataEmbedder`, whose small residual network the paper does not have.
"""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.networks import PAPER_WIDTHS, build_paper_network
from medi_core.checkpoints import TRAINING_CONFIG
from medi_core.data.tile_dataset import RandomTileDataset
from medi_core.errors import InvalidRequestError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.models.metadata_embedder import MetadataEmbedder
from medi_core.storage import replaced_folder
from medi_core.training.flow_matching import ObjectiveConfig
from medi_core.training.train_diffusion import DiffusionTraining, DiffusionTrainingConfig, TrainingModel

NOISE = {"num_train_timesteps": 1000, "beta_schedule": "linear", "prediction_type": "epsilon"}
NORM_GROUPS = 32
PAPER_RECIPE = DiffusionTrainingConfig(
    block_out_channels=PAPER_WIDTHS,
    patch_px=1,
    norm_num_groups=NORM_GROUPS,
    attention_head_dim=8,
    learning_rate=1e-4,
    weight_decay=1e-6,
    betas=(0.95, 0.999),
    max_grad_norm=1.0,
    ema_decay=0.9999,
    objective=ObjectiveConfig(drop_each=0.0, drop_all=0.0),
)
WEIGHTS, VOCABULARY = "weights.safetensors", "vocabulary.json"


def scaled_widths(scale: Fraction) -> tuple[int, ...]:
    """The paper's widths times a factor, e.g. 1/4 → (32, 64, 128, 128, 256, 256).

    Raises:
        InvalidRequestError: a width would not be a multiple of the group norm's 32.
    """
    widths = [width * scale for width in PAPER_WIDTHS]
    if scale <= 0 or any(width % NORM_GROUPS for width in widths):
        raise InvalidRequestError(
            f"--paper-scale {scale}: widths {'-'.join(map(str, PAPER_WIDTHS))} times it must be multiples of "
            f"{NORM_GROUPS}, the groups of the norm; use 1/4, 1/2, 3/4 or 1"
        )
    return tuple(map(int, widths))


def paper_config(scale: Fraction, **changes: Any) -> DiffusionTrainingConfig:
    """The paper's recipe with widths times a factor and some fields changed."""
    return replace(PAPER_RECIPE, block_out_channels=scaled_widths(scale), **changes)


class PaperDenoiser(nn.Module):
    """The paper's network, called as ours is: noisy tiles, timesteps, conditioning `(B, E)` → noise `(B, 3, H, W)`."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.unet = build_paper_network(widths)

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @property
    def embedding_dim(self) -> int:
        """E of the conditioning vector."""
        return 4 * self.unet.config.block_out_channels[0]

    def forward(self, x_t: torch.Tensor, timesteps: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        return self.unet(x_t, timesteps, class_labels=conditioning).sample


def build_paper_model(widths: tuple[int, ...], vocabulary: Vocabulary) -> TrainingModel:
    """Embedder and network, untrained."""
    denoiser = PaperDenoiser(widths)
    return TrainingModel(MetadataEmbedder(vocabulary.to_dict(), denoiser.embedding_dim), denoiser)


class PaperTraining(DiffusionTraining):
    """A training under way: `steps()` advances it, in the loop of ours."""

    def __init__(self, config: DiffusionTrainingConfig, dataset: RandomTileDataset, accelerator: Accelerator) -> None:
        super().__init__(config, dataset, accelerator)
        torch.manual_seed(config.seed)
        model = build_paper_model(config.block_out_channels, dataset.vocabulary)
        self.model = model.to(accelerator.device, memory_format=torch.channels_last)
        parameters = list(self.model.parameters())
        self.ema = EMAModel(
            parameters, decay=config.ema_decay, use_ema_warmup=True, inv_gamma=1.0, power=0.75, foreach=True
        )
        self.optimizer = torch.optim.AdamW(
            parameters, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )
        self.noise = DDPMScheduler(**NOISE)
        self.forward_model = accelerator.prepare_model(self.model)

    def _loss(self, tiles: torch.Tensor, condition_ids: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the predicted noise; tiles uint8 `(B, 3, S, S)`."""
        device = self.accelerator.device
        tiles = tiles.to(device).float() / 127.5 - 1
        generator = self.step_generator()
        eps = torch.randn(tiles.shape, generator=generator, device=device)
        steps = self.noise.config.num_train_timesteps
        timesteps = torch.randint(steps, (len(tiles),), generator=generator, device=device)
        x_t = self.noise.add_noise(tiles, eps, timesteps).to(memory_format=torch.channels_last)
        with self.accelerator.autocast():
            predicted = self.forward_model(x_t, timesteps, condition_ids.to(device))
        return nn.functional.mse_loss(predicted.float(), eps)


def save_paper_model(training: PaperTraining, folder: Path, record: dict[str, Any]) -> None:
    """Write the model's present weights, as bfloat16 like ours, with vocabulary and record; whole or not at all."""
    tensors = {name: t.detach().to(torch.bfloat16).contiguous() for name, t in training.model.state_dict().items()}
    with replaced_folder(folder) as new:
        save_file(tensors, new / WEIGHTS)
        (new / VOCABULARY).write_text(json.dumps(training.dataset.vocabulary.to_dict()), encoding="utf-8")
        (new / TRAINING_CONFIG).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def load_paper_model(folder: Path, device: torch.device, dtype: torch.dtype) -> TrainingModel:
    """What `save_paper_model` wrote, ready to sample."""
    record = json.loads((folder / TRAINING_CONFIG).read_text(encoding="utf-8"))
    vocabulary = Vocabulary.from_dict(json.loads((folder / VOCABULARY).read_text(encoding="utf-8")))
    model = build_paper_model(tuple(record["block_out_channels"]), vocabulary)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.to(device, dtype, memory_format=torch.channels_last).eval()
