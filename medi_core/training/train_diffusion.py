"""Train the metadata-conditioned denoiser. The loop yields a `TrainStep`; the caller owns logs and output.

Every random draw is a function of (seed, step), so the state to resume from is weights, EMA weights,
optimiser moments and the step.
"""

import math
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import nn

from medi_core.data.shards import ShardTileDataset
from medi_core.data.tile_dataset import TILE_PX, RandomTileDataset, SamplingConfig
from medi_core.errors import InvalidRequestError, ManifestError
from medi_core.metadata.schema import ATTRIBUTE
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.models.denoiser import NUM_TRAIN_TIMESTEPS, Denoiser
from medi_core.models.metadata_embedder import MetadataEmbedder
from medi_core.pipelines.medi_pipeline import SIDE_MULTIPLE_PX
from medi_core.training.flow_matching import NoiseDraw, ObjectiveConfig, add_noise, draw_noise, velocity_loss

ATTRIBUTES = ("cancer_type", "center", "preparation", "hematoxylin", "eosin")
PRECISIONS = ("no", "bf16")
"""Of accelerate's mixed precisions; fp16 would need its gradient scaler around our optimiser."""


@dataclass(frozen=True)
class DiffusionTrainingConfig:
    """Everything that decides the result of a training; saved in the checkpoint."""

    attributes: tuple[str, ...] = ATTRIBUTES
    """Attributes to condition on, in the order of the condition ids."""
    block_out_channels: tuple[int, ...] = (96, 192, 288)
    layers_per_block: int = 2
    patch_px: int = 4
    head_channels: int = 16
    norm_num_groups: int = 32
    attention_head_dim: int = 48
    side_px: int = TILE_PX
    global_batch: int = 32
    """Tiles a step, over all processes."""
    num_steps: int = 100_000
    """Where the training ends; it can be raised on resuming."""
    warmup_steps: int = 200
    decay_steps: int = 0
    """The learning rate falls linearly to 0 over the last so many steps."""
    learning_rate: float = 4e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        for name in ("global_batch", "num_steps", "side_px", "learning_rate"):
            if getattr(self, name) <= 0:
                raise InvalidRequestError(f"{name} must be above 0, given {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise InvalidRequestError(f"ema_decay must be in [0, 1), given {self.ema_decay}")
        unknown = [name for name in self.attributes if name not in ATTRIBUTE]
        if unknown or not self.attributes or len(set(self.attributes)) < len(self.attributes):
            raise InvalidRequestError(
                f"attributes must be some of {', '.join(ATTRIBUTE)}, each once; given {', '.join(self.attributes)}"
            )
        multiple = math.lcm(SIDE_MULTIPLE_PX, self.patch_px * 2 ** (len(self.block_out_channels) - 1))
        if self.side_px % multiple:
            raise InvalidRequestError(f"side_px must be a multiple of {multiple}, given {self.side_px}")
        for name, widths in (
            ("norm_num_groups", self.block_out_channels),
            ("attention_head_dim", self.block_out_channels[-1:]),
        ):
            if any(width % getattr(self, name) for width in widths):
                raise InvalidRequestError(
                    f"{name} = {getattr(self, name)} must divide block_out_channels, given {list(widths)}"
                )

    def to_dict(self) -> dict:
        return asdict(self)

    def learning_rate_at(self, step: int, first_step: int = 0) -> float:
        """Linear warm-up, constant, linear decay (so that a training can go on from its plateau).

        Args:
            first_step: where the optimiser's moments began: 0, or the step of the checkpoint started from.
        """
        warmup = min(1.0, (step - first_step + 1) / max(1, self.warmup_steps))
        decay = min(1.0, (self.num_steps - step) / self.decay_steps) if self.decay_steps else 1.0
        return self.learning_rate * warmup * decay


@dataclass(frozen=True)
class TrainStep:
    """What one step reports."""

    step: int
    """Steps done, this one included."""
    loss: float
    learning_rate: float
    tiles_per_second: float


class TrainingModel(nn.Module):
    """Embedder and denoiser as one module: one thing to prepare, clip, average and compile."""

    def __init__(self, embedder: MetadataEmbedder, denoiser: Denoiser) -> None:
        super().__init__()
        self.embedder, self.denoiser = embedder, denoiser

    def forward(self, x_t: torch.Tensor, timesteps: torch.Tensor, condition_ids: torch.Tensor) -> torch.Tensor:
        return self.denoiser(x_t, timesteps, self.embedder(condition_ids))


def build_training_model(config: DiffusionTrainingConfig, vocabulary: Vocabulary) -> TrainingModel:
    """The untrained model; its weights are a function of the configuration's seed."""
    torch.manual_seed(config.seed)
    denoiser = Denoiser(
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        patch_px=config.patch_px,
        head_channels=config.head_channels,
        norm_num_groups=config.norm_num_groups,
        attention_head_dim=config.attention_head_dim,
    )
    return TrainingModel(MetadataEmbedder(vocabulary.to_dict(), denoiser.embedding_dim), denoiser)


class DiffusionTraining:
    """A training under way: model, EMA, optimiser, step. `steps()` advances it."""

    def __init__(
        self,
        config: DiffusionTrainingConfig,
        dataset: RandomTileDataset | ShardTileDataset,
        accelerator: Accelerator,
        compile_model: bool = False,
        num_workers: int = 0,
    ) -> None:
        if config.global_batch % accelerator.num_processes:
            raise InvalidRequestError(
                f"global_batch {config.global_batch} does not divide among {accelerator.num_processes} processes"
            )
        if accelerator.mixed_precision not in PRECISIONS:
            raise InvalidRequestError(
                f"mixed_precision {accelerator.mixed_precision!r} is not supported; use one of: {', '.join(PRECISIONS)}"
            )
        model = build_training_model(config, dataset.vocabulary)
        self.config, self.dataset, self.accelerator = config, dataset, accelerator
        self.num_workers, self.step, self.tiles_seen = num_workers, 0, 0
        self.first_step, self.initial_checkpoint = 0, None  # a warm start changes both
        self.model = model.to(accelerator.device, memory_format=torch.channels_last)
        self.ema = EMAModel(self.model.parameters(), decay=config.ema_decay, foreach=True)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.null_ids = torch.tensor(
            [dataset.vocabulary.null_id(name) for name in dataset.vocabulary.attributes], device=accelerator.device
        )
        # prepared for several processes only: the optimiser stays ours so that its moments save as plain tensors
        self.forward_model = accelerator.prepare_model(self.model)
        if compile_model:
            self.forward_model = torch.compile(self.forward_model)
        """The model as prepared and, if asked for, compiled."""

    def load_weights(self, state: dict[str, torch.Tensor]) -> None:
        """Begin with these weights, the averaged ones too.

        Args:
            state: of a `TrainingModel` of the same structure.

        Raises:
            RuntimeError: another structure.
        """
        self.model.load_state_dict(state)
        with torch.no_grad():
            for parameter, shadow in zip(self.model.parameters(), self.ema.shadow_params, strict=True):
                shadow.copy_(parameter)

    def steps(self) -> Iterator[TrainStep]:
        """Train to `config.num_steps`, one `TrainStep` a step. Stop iterating at any time."""
        self.model.train()
        started = time.perf_counter()
        for tiles, condition_ids in self.batches():
            loss = self._loss(tiles, condition_ids)
            learning_rate = self.advance(loss)
            mean_loss = self.accelerator.reduce(loss.detach(), reduction="mean").item()
            now = time.perf_counter()
            yield TrainStep(self.step, mean_loss, learning_rate, self.config.global_batch / (now - started))
            started = time.perf_counter()

    def advance(self, loss: torch.Tensor) -> float:
        """One step of optimiser and EMA down this loss; returns the learning rate it was made with."""
        learning_rate = self.config.learning_rate_at(self.step, self.first_step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.model.parameters())
        self.step += 1
        self.tiles_seen += self.config.global_batch
        return learning_rate

    def _loss(self, tiles: torch.Tensor, condition_ids: torch.Tensor) -> torch.Tensor:
        """Mean velocity loss of this process's tiles, uint8 `(B, 3, S, S)`."""
        tiles = tiles.to(self.accelerator.device).float() / 127.5 - 1
        draw = self._local_draw(tiles.shape)
        ids = torch.where(draw.is_dropped, self.null_ids, condition_ids.to(self.accelerator.device))
        x_t = add_noise(tiles, draw).to(memory_format=torch.channels_last)
        with self.accelerator.autocast():
            predicted = self.forward_model(x_t, draw.sigmas * NUM_TRAIN_TIMESTEPS, ids)
        return velocity_loss(predicted, tiles, draw.sigmas, self.config.objective.sigma_floor).mean()

    def _local_draw(self, shape: torch.Size) -> NoiseDraw:
        """This process's slice of the global batch's draw."""
        whole = (self.config.global_batch, *shape[1:])
        draw = draw_noise(self.config.objective, whole, len(self.null_ids), self.step_generator())
        first = self.accelerator.process_index * shape[0]
        mine = slice(first, first + shape[0])
        return NoiseDraw(draw.sigmas[mine], draw.eps[mine], draw.is_dropped[mine])

    def step_generator(self) -> torch.Generator:
        """Of the present step's random draws, on the device: a function of (seed, step)."""
        return torch.Generator(self.accelerator.device).manual_seed(self.config.seed * 1_000_003 + self.step)

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """This process's share of each global batch, from the current step on."""
        local_batch = self.config.global_batch // self.accelerator.num_processes
        first = self.accelerator.process_index * local_batch
        index_batches = (
            range(step * self.config.global_batch + first, step * self.config.global_batch + first + local_batch)
            for step in range(self.step, self.config.num_steps)
        )
        try:
            yield from torch.utils.data.DataLoader(
                self.dataset,
                batch_sampler=index_batches,
                num_workers=self.num_workers,
                worker_init_fn=_leave_signals_to_parent,
            )
        except ManifestError as error:  # a loader process sends its whole traceback, whose end is the message
            raise ManifestError(str(error).strip().rpartition("ManifestError: ")[2]) from error


def _leave_signals_to_parent(_worker: int) -> None:
    """SIGTERM may reach the whole process group: a loader that died of it would keep the parent from saving."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
