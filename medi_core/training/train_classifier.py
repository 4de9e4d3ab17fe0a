"""Fine-tune a tile classifier. The loop yields a `TrainStep`; the caller owns data, files and output.

Every random draw is a function of (seed, draw number), so the result does not depend on the number of processes.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch.nn import functional as F

from medi_core.data.balanced_tiles import AugmentationConfig, BalancedTileDataset
from medi_core.errors import InvalidRequestError
from medi_core.models.tile_classifier import DEFAULT_BACKBONE, TileClassifier
from medi_core.training.train_diffusion import TrainStep


@dataclass(frozen=True)
class ClassifierTrainingConfig:
    """Everything that decides the result of a training, besides the manifest; saved in the checkpoint."""

    backbone: str = DEFAULT_BACKBONE
    frozen_stages: int = 3
    """Of the backbone, from the first on: they keep their ImageNet weights."""
    global_batch: int = 32
    """Tiles a step, over all processes."""
    num_steps: int = 1000
    """0 = the linear start alone."""
    warmup_steps: int = 50
    learning_rate: float = 3e-4
    """After the warm-up; from there it falls to 0 as a half cosine."""
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    validate_every: int = 100
    """Steps between two looks at the validation patients; the best weights are kept."""
    inverse_penalty: float = 0.01
    """C of the logistic regression that the fine-tuning starts from."""
    seed: int = 0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        for name in ("global_batch", "learning_rate", "validate_every", "inverse_penalty"):
            if getattr(self, name) <= 0:
                raise InvalidRequestError(f"{name} must be above 0, given {getattr(self, name)}")
        for name in ("num_steps", "warmup_steps", "weight_decay", "frozen_stages"):
            if getattr(self, name) < 0:
                raise InvalidRequestError(f"{name} must be 0 or more, given {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, half a cosine down to 0."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.learning_rate * warmup * (1 + math.cos(math.pi * step / self.num_steps)) / 2


class ClassifierTraining:
    """A training under way: classifier, optimiser, step. `steps()` advances it."""

    def __init__(
        self,
        config: ClassifierTrainingConfig,
        classifier: TileClassifier,
        dataset: BalancedTileDataset,
        accelerator: Accelerator,
    ) -> None:
        if config.global_batch % accelerator.num_processes:
            raise InvalidRequestError(
                f"global_batch {config.global_batch} does not divide among {accelerator.num_processes} processes"
            )
        self.config, self.dataset, self.accelerator, self.step = config, dataset, accelerator, 0
        # evaluation mode throughout: the statistics of the norms stay those of the pretrained backbone
        self.classifier = classifier.eval().to(accelerator.device, memory_format=torch.channels_last)
        freeze_stages(classifier, config.frozen_stages)
        self.parameters = [p for p in classifier.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._forward = accelerator.prepare_model(self.classifier)

    def steps(self) -> Iterator[TrainStep]:
        """Train to `config.num_steps`, one `TrainStep` a step. Stop iterating at any time."""
        started = time.perf_counter()
        for tiles, labels in self._batches():
            learning_rate = self.config.learning_rate_at(self.step)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            logits = self._forward(self.classifier.preprocess(tiles))
            loss = F.cross_entropy(logits, labels.to(logits.device))
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.step += 1
            mean_loss = self.accelerator.reduce(loss.detach(), reduction="mean").item()
            rate = self.config.global_batch / (time.perf_counter() - started)
            yield TrainStep(self.step, mean_loss, learning_rate, rate)
            started = time.perf_counter()

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """This process's share of each global batch, from the current step on."""
        batch = self.config.global_batch
        share = batch // self.accelerator.num_processes
        first = self.accelerator.process_index * share
        indices = (
            range(step * batch + first, step * batch + first + share)
            for step in range(self.step, self.config.num_steps)
        )
        return iter(torch.utils.data.DataLoader(self.dataset, batch_sampler=indices))


def freeze_stages(classifier: TileClassifier, num_stages: int) -> None:
    """No gradient for what comes before the end of stage number `num_stages` of the backbone.

    Raises:
        InvalidRequestError: the backbone has fewer stages.
    """
    stages = [name.replace("_", ".") for name in classifier.backbone.feature_info.module_name()]
    if num_stages > len(stages):
        raise InvalidRequestError(f"frozen_stages = {num_stages}, but the backbone has {len(stages)} stages")
    parameters = list(classifier.backbone.named_parameters())  # in the order of the forward pass
    own = [
        place
        for place, (name, _) in enumerate(parameters)
        if num_stages and f"{name.replace('_', '.')}.".startswith(f"{stages[num_stages - 1]}.")
    ]
    for _, parameter in parameters[: max(own, default=-1) + 1]:
        parameter.requires_grad_(False)
