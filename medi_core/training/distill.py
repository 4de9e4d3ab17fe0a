"""Distil a checkpoint into a few-step student: after training, against a discriminator.

The student starts as the teacher, or as an earlier student of it, and keeps its form: noisy tile in, clean tile out.
The teacher's clean tile is the mean of all that could have been, so it is soft until the last of many steps; the
student's is pushed to look real.
(Adversarial diffusion distillation, Sauer et al. 2023, §3; trained on real tiles alone, as adversarial post-training,
Lin et al. 2025, §3, whose teacher only gives the first weights.)

A batch has four quarters. Three are made as the student will be used: from noise, in `num_inference_steps` of Euler's.
The first two are pairs of attempts, each pair at the same metadata, so that they can be asked to differ as real tiles
do; the third is asked for recombined metadata. The last quarter (without `recombine` the third, too) is noisy real
tiles, which keep the student close to what it was: what is left of a tile after pooling has to come out again.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch.nn import functional as F

from medi_core.checkpoints import MAX_DISTILLED_STEPS, Checkpoint
from medi_core.data.tile_dataset import TILE_PX, RandomTileDataset, SamplingConfig
from medi_core.errors import InvalidRequestError
from medi_core.models.denoiser import NUM_TRAIN_TIMESTEPS
from medi_core.models.encoder_catalogue import STAGE_NETWORKS
from medi_core.models.tile_discriminator import TileDiscriminator
from medi_core.models.tile_encoder import StageFeatures
from medi_core.training.distillation_batch import plain_comparisons, recombined, recombined_comparisons, twice
from medi_core.training.flow_matching import ObjectiveConfig, draw_noise
from medi_core.training.train_diffusion import DiffusionTraining, DiffusionTrainingConfig, TrainingModel
from medi_core.training.training_state import structure_of
from medi_core.training.warm_start import go_on_from

CALIBRATION_TILES = 64


@dataclass(frozen=True)
class DistillationConfig:
    """What decides the result of a distillation; saved in the checkpoint."""

    num_inference_steps: int = 2
    """Network evaluations a tile of the student, 1 to 4."""
    guidance_scale: float = 1.0
    """To be used with the student; training knows none. Measure which is best (`benchmarks.kid`), then record it."""
    num_steps: int = 10_000
    global_batch: int = 16
    learning_rate: float = 1e-4
    """Of the student."""
    discriminator_learning_rate: float = 3e-4
    adversarial_weight: float = 0.1
    """Of the discriminator's opinion, beside the anchor."""
    anchor_px: int = 4
    """Noisy real tiles must come out right after pooling by this: finer detail is the discriminator's business."""
    discriminator_network: str = "efficientnet-lite2"
    """What the discriminator sees with, of `STAGE_NETWORKS`: not the network that distances are measured with."""
    mismatch_weight: float = 1.0
    """Of the discriminator's telling a real tile with its metadata from the same tile with one attribute of another
    tile (Reed et al. 2016, §4.2): it has to look at each attribute, not at the center alone."""
    variety_weight: float = 0.1
    """Of the energy score of two of the student's own tiles and a real one of the same metadata (`energy_score`), in
    what the discriminator's frozen network sees, averaged over each tile."""
    drop_tail: float = 0.5
    """As `ObjectiveConfig.drop_tail`, in the vocabulary's order. A student is mostly asked for a cancer type and a
    center. It learns to vary in what is left open only if training leaves it open."""
    recombine: bool = True
    """Whether a quarter of a batch is asked for the first attribute (in ours the cancer type) of one tile with the
    other metadata of another (`recombined`), so that never-seen pairs are asked for too."""
    penalty_weight: float = 0.5
    """Of the discriminator's change under `penalty_noise` (approximate R1, Lin et al. 2025, §3.3)."""
    penalty_noise: float = 0.05
    penalty_every: int = 4
    """Steps between two of them, each with so many times its weight (Karras et al. 2020, §3.1)."""
    ema_decay: float = 0.995
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.num_inference_steps <= MAX_DISTILLED_STEPS:
            raise InvalidRequestError(
                f"num_inference_steps must be from 1 to {MAX_DISTILLED_STEPS}, given {self.num_inference_steps}"
            )
        for name in ("num_steps", "learning_rate", "discriminator_learning_rate", "anchor_px", "penalty_every"):
            if getattr(self, name) <= 0:
                raise InvalidRequestError(f"{name} must be above 0, given {getattr(self, name)}")
        for name in ("mismatch_weight", "variety_weight", "penalty_weight"):
            if getattr(self, name) < 0:
                raise InvalidRequestError(f"{name} must not be negative, given {getattr(self, name)}")
        if not 0 <= self.drop_tail <= 1:
            raise InvalidRequestError(f"drop_tail must be from 0 to 1, given {self.drop_tail}")
        if self.discriminator_network not in STAGE_NETWORKS:
            raise InvalidRequestError(
                f"discriminator_network {self.discriminator_network!r} is unknown; known: {', '.join(STAGE_NETWORKS)}"
            )
        least = 8 if self.recombine else 4  # one tile a quarter has no other to be recombined with
        if self.global_batch < least or self.global_batch % 4:
            raise InvalidRequestError(
                f"global_batch must be a multiple of 4 and at least {least}, given {self.global_batch}"
            )


@dataclass(frozen=True)
class DistillationStep:
    """What one step reports."""

    step: int
    discriminator_loss: float
    """ln 2 = 0.69 where it cannot tell real from synthetic; less where it can."""
    mismatch_loss: float
    """Of the discriminator: ln 2 where it does not see whose metadata a tile has; less where it does."""
    adversarial_loss: float
    """Of the student: ln 2 where the discriminator cannot tell; more where it can."""
    variety_loss: float
    """Energy score of the pairs; least, in the mean, where they lie and vary as real tiles do."""
    anchor_loss: float


class Distillation:
    """A distillation under way: `steps()` advances it, `training` holds the student and its average."""

    def __init__(
        self,
        initial: Checkpoint,
        dataset: RandomTileDataset,
        config: DistillationConfig,
        mixed_precision: str = "bf16",
        num_workers: int = 0,
        compile_model: bool = False,
    ) -> None:
        self.config, self.initial = config, initial
        self.training = DiffusionTraining(
            student_config(initial, config),
            dataset,
            Accelerator(mixed_precision=mixed_precision),
            compile_model,
            num_workers,
        )
        pipeline = initial.pipeline
        self.training.load_weights(TrainingModel(pipeline.metadata_embedder, pipeline.denoiser).state_dict())
        self.previous = initial.training_config.get("distillation") or {}
        """Record of the distillation that the checkpoint comes from, if it is a student."""
        go_on_from(self.training, initial.id, self.previous)
        torch.manual_seed(config.seed)
        features = StageFeatures(config.discriminator_network).to(self.device, memory_format=torch.channels_last)
        self.discriminator = TileDiscriminator(dataset.vocabulary.to_dict(), features)
        self.discriminator.to(self.device, memory_format=torch.channels_last)
        real = torch.stack([dataset[i][0] for i in range(CALIBRATION_TILES)])
        self.discriminator.calibrate(real.to(self.device).float() / 127.5 - 1)
        self.optimizer = torch.optim.AdamW(
            self.discriminator.parameters(), lr=config.discriminator_learning_rate, betas=(0.0, 0.99), weight_decay=0.0
        )

    def adversary(self) -> dict[str, torch.Tensor]:
        """Weights and moments of the discriminator, to resume from."""
        named = dict(self.discriminator.named_parameters())
        tensors = {f"weight.{name}": parameter.detach() for name, parameter in named.items()}
        for name, parameter in named.items():
            state = self.optimizer.state.get(parameter, {})
            tensors |= {f"moment.{key}.{name}": value for key, value in state.items()}
        return tensors

    def load_adversary(self, tensors: dict[str, torch.Tensor]) -> None:
        """The inverse of `adversary`."""
        with torch.no_grad():
            for name, parameter in self.discriminator.named_parameters():
                parameter.copy_(tensors[f"weight.{name}"])
                self.optimizer.state[parameter] = {
                    # laid out and placed as the parameter is, but for the number of steps, which stays on the CPU
                    key: saved if key == "step" else torch.empty_like(parameter).copy_(saved)
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if (saved := tensors.get(f"moment.{key}.{name}")) is not None
                }

    @property
    def device(self) -> torch.device:
        return self.training.accelerator.device

    def steps(self) -> Iterator[DistillationStep]:
        """Train to `config.num_steps`, one `DistillationStep` a step. Stop iterating at any time."""
        training = self.training
        training.model.train()
        for tiles_uint8, known_ids in training.batches():
            generator = training.step_generator()
            tiles = tiles_uint8.to(self.device).float() / 127.5 - 1
            draw = draw_noise(training.config.objective, tuple(tiles.shape), known_ids.shape[1], generator)
            ids = torch.where(draw.is_dropped, training.null_ids, known_ids.to(self.device))
            tiles, ids = twice(tiles), twice(ids)
            requested = recombined(ids) if self.config.recombine else ids
            x_t, sigmas = self._noisy(tiles, requested, draw.eps, generator)
            synthetic = self._clean(x_t, sigmas, requested)
            stages, real_stages = self._see(synthetic), self._see(tiles)
            variety = self._variety(stages, real_stages)
            compared = (
                recombined_comparisons(ids, training.null_ids) if self.config.recombine else plain_comparisons(ids)
            )
            compared_stages = [stage[compared.own_rows] for stage in stages]
            losses, real_logits = self._teach_discriminator(
                tiles[compared.real_rows],
                [stage[compared.real_rows] for stage in real_stages],
                [stage.detach() for stage in compared_stages],
                compared.ids,
                generator,
            )
            adversarial = told_apart(self._judge(compared_stages, compared.ids[:, None]), real_logits)
            anchor = self._anchor(synthetic, tiles, sigmas)
            training.advance(
                self.config.adversarial_weight * adversarial + self.config.variety_weight * variety + anchor
            )
            yield DistillationStep(training.step, *losses, adversarial.item(), variety.item(), anchor.item())

    def _noisy(
        self, tiles: torch.Tensor, ids: torch.Tensor, eps: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs of the student `(B, 3, H, W)` and their noise levels `(B,)`: its own, then noisy real tiles."""
        num_own, num = self._num_own(tiles), self.config.num_inference_steps
        done = int(torch.randint(num, (), generator=generator, device=self.device))  # steps behind the student's own
        x_t = eps[:num_own]
        with torch.no_grad():
            for i in range(done):
                sigma, after = (torch.full((num_own,), 1 - j / num, device=self.device) for j in (i, i + 1))
                clean = self._clean(x_t, sigma, ids[:num_own])
                x_t = clean + (after / sigma)[:, None, None, None] * (x_t - clean)  # Euler's step
        own = torch.full((num_own,), 1 - done / num, device=self.device)
        # from a bit below the last level to almost noise
        drawn = 0.1 + 0.88 * torch.rand(len(tiles) - num_own, generator=generator, device=self.device)
        level = drawn[:, None, None, None]
        return torch.cat([x_t, (1 - level) * tiles[num_own:] + level * eps[num_own:]]), torch.cat([own, drawn])

    def _num_own(self, batch: torch.Tensor) -> int:
        """Tiles of a batch that the student makes from noise; they come first."""
        return len(batch) // 4 * (3 if self.config.recombine else 2)

    def _clean(self, x_t: torch.Tensor, sigmas: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        with self.training.accelerator.autocast():
            x_t = x_t.contiguous(memory_format=torch.channels_last)
            return self.training.forward_model(x_t, sigmas * NUM_TRAIN_TIMESTEPS, ids).float()

    def _see(self, tiles: torch.Tensor) -> list[torch.Tensor]:
        with self.training.accelerator.autocast():
            return self.discriminator.see(tiles.contiguous(memory_format=torch.channels_last))

    def _judge(self, stages: list[torch.Tensor], ids: torch.Tensor) -> list[torch.Tensor]:
        with self.training.accelerator.autocast():
            return self.discriminator.judge(stages, ids)

    @staticmethod
    def _with_others(ids: torch.Tensor) -> torch.Tensor:
        """Metadata `(B, A)` → `(B, A, A)`: each attribute in turn as the tile beside it has it, the others kept."""
        one_by_one = torch.eye(ids.shape[1], dtype=torch.bool, device=ids.device)
        return torch.where(one_by_one, ids.roll(1, dims=0)[:, None], ids[:, None])

    def _teach_discriminator(
        self,
        real: torch.Tensor,
        real_stages: list[torch.Tensor],
        synthetic_stages: list[torch.Tensor],
        ids: torch.Tensor,
        generator: torch.Generator,
    ) -> tuple[tuple[float, float], list[torch.Tensor]]:
        """One step of it; returns its losses and what it thought of the real tiles, `(B, 1, places)` a scale.

        Real and synthetic tiles of the same metadata are compared, each place with the same one (relativistic pairing,
        Huang et al. 2024, §2); so is each real tile with itself under other metadata.
        """
        config = self.config
        self.discriminator.requires_grad_(True)
        is_penalised = self.training.step % config.penalty_every == 0
        seen = [real_stages, synthetic_stages]
        if is_penalised:
            noise = torch.randn(real.shape, generator=generator, device=self.device)
            seen.append(self._see(real + config.penalty_noise * noise))
        own, null = ids[:, None], self.training.null_ids
        # asked of all that is seen, for that costs nothing; what is said of synthetic tiles under others is not used
        asked = torch.cat([own, self._with_others(ids)], dim=1)
        together = [torch.cat(stages) for stages in zip(*seen, strict=True)]
        scales = [scale.chunk(len(seen)) for scale in self._judge(together, torch.cat([asked] * len(seen)))]
        real_logits, synthetic_logits = ([scale[i][:, :1] for scale in scales] for i in (0, 1))
        own_loss = told_apart(real_logits, synthetic_logits)
        is_other = ((asked != own) & (asked != null) & (own != null)).any(dim=2)  # "unknown" is true of every tile
        right = [scale[0][:, :1].expand_as(scale[0])[is_other] for scale in scales]
        wrong = [scale[0][is_other] for scale in scales]
        mismatch_loss = told_apart(right, wrong) if is_other.any() else torch.zeros_like(own_loss)
        loss = own_loss + config.mismatch_weight * mismatch_loss
        if is_penalised:
            change = sum((scale[0] - scale[2])[:, 0].square().mean() for scale in scales) / len(scales)
            loss = loss + config.penalty_every * config.penalty_weight * change
        self.optimizer.zero_grad()
        self.training.accelerator.backward(loss)
        self.optimizer.step()
        self.discriminator.requires_grad_(False)  # the student's loss goes through it, not into it
        return (own_loss.item(), mismatch_loss.item()), [scale.detach() for scale in real_logits]

    def _variety(self, stages: list[torch.Tensor], real_stages: list[torch.Tensor]) -> torch.Tensor:
        """Energy score of the pairs, each scale with the same weight; what is compared is the mean over places."""
        scores = []
        for stage, real_stage in zip(stages, real_stages, strict=True):
            one, other, *_ = stage.float().mean(dim=(2, 3)).chunk(4)
            real, *_ = real_stage.float().mean(dim=(2, 3)).chunk(4)
            scores.append(energy_score(one, other, real))
        return sum(scores) / len(scores)

    def _anchor(self, synthetic: torch.Tensor, real: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
        """Velocity loss of the noisy real tiles after pooling."""
        noisy, floor = slice(self._num_own(real), None), self.training.config.objective.sigma_floor
        error = F.avg_pool2d(synthetic[noisy] - real[noisy], self.config.anchor_px).square().mean(dim=(1, 2, 3))
        return (error / sigmas[noisy].clamp(min=floor).square()).mean()


def told_apart(more_real: list[torch.Tensor], less_real: list[torch.Tensor]) -> torch.Tensor:
    """Loss of logits that are to be higher in the first list than in the second, place by place.

    Each scale counts alike: the finest has nearly all places, and is deceived first.
    """
    losses = [F.softplus(less - more).mean() for more, less in zip(more_real, less_real, strict=True)]
    return sum(losses) / len(losses)


def energy_score(one: torch.Tensor, other: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Mean energy score of pairs of draws `(N, D)` and what was observed `(N, D)`, distances divided by √D.

    Least, in the mean, where the draws are distributed as the observed: their distances to it want them close, their
    distance to one another wants them apart (Gneiting and Raftery 2007, §4.3; for sampling in few steps, De Bortoli et
    al. 2025, §3).
    """

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return ((a - b).square().mean(dim=1) + 1e-8).sqrt()  # a root's slope at 0 is infinite

    return ((distance(one, real) + distance(other, real) - distance(one, other)) / 2).mean()


def student_config(initial: Checkpoint, config: DistillationConfig) -> DiffusionTrainingConfig:
    """The training that the weights of a checkpoint fit into."""
    return DiffusionTrainingConfig(
        **structure_of(initial),
        side_px=initial.training_config.get("side_px", TILE_PX),
        global_batch=config.global_batch,
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
        weight_decay=0.0,
        betas=(0.0, 0.99),
        ema_decay=config.ema_decay,
        seed=config.seed,
        objective=ObjectiveConfig(drop_tail=config.drop_tail),
        sampling=SamplingConfig(seed=config.seed),
    )
