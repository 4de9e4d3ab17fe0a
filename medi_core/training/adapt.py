"""New centers for a trained checkpoint: rows of its embedding tables are added and learned, every other weight stays.

What the network knows of tissue is kept; a row of E numbers learns how the tiles of a new hospital look. (Textual
inversion, Gal et al. 2023, §4, for metadata.)
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from medi_core.checkpoints import Checkpoint
from medi_core.data.patients import patients_of
from medi_core.data.tile_dataset import RandomTileDataset, SamplingConfig, attribute_rows, read_image
from medi_core.errors import InvalidRequestError, ManifestError
from medi_core.metadata.growth import grow, new_values, require_growable
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.training.flow_matching import ObjectiveConfig
from medi_core.training.run import ema_weights
from medi_core.training.train_diffusion import DiffusionTraining, DiffusionTrainingConfig, TrainingModel
from medi_core.training.training_state import structure_of
from medi_core.training.validation import ValidationSet

VALIDATION_SHARE = 0.2
"""Of the patients, where the manifest names no validation rows."""

MIN_GAIN = 1e-4
"""A validation loss counts as lower if it is so by this share: a center's looks are a small part of the loss, but
two evaluations on the same tiles and noise tell it apart."""


@dataclass(frozen=True)
class AdaptationConfig:
    """What decides the result of an adaptation; saved in the checkpoint."""

    attributes: tuple[str, ...] = ("center",)
    """Those that get new values."""
    num_steps: int = 400
    """At most; the validation loss may end it before."""
    global_batch: int = 16
    learning_rate: float = 1e-2
    """Of the new rows, the only weights that move; 25 times that of a whole training, which moves rows all the time."""
    evaluate_every: int = 20
    """Steps between two validation losses."""
    patience: int = 5
    """Evaluations without a lower loss after which it ends."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_steps", "global_batch", "learning_rate", "evaluate_every", "patience"):
            if getattr(self, name) <= 0:
                raise InvalidRequestError(f"{name} must be above 0, given {getattr(self, name)}")


@dataclass(frozen=True)
class AdaptationTiles:
    """The rows of a manifest that have a value which the checkpoint does not know, and how they are divided."""

    train: pd.DataFrame
    validation: pd.DataFrame
    divided_by: str
    """`split` of the manifest; `patient`; or `image`, where all are of one patient: the validation loss then is of a
    patient who was learned from, and says nothing about others."""


@dataclass(frozen=True)
class AdaptationStep:
    """What one evaluation reports."""

    step: int
    training_loss: float
    """Mean since the last report; NaN before the first step."""
    validation_loss: float
    is_best: bool


class Adaptation:
    """An adaptation under way: `steps()` advances it, `training` holds the model.

    Args:
        manifest: rows as `read_manifest` gives them; test rows, and rows without a new value, are left out.
        mixed_precision: "no" or "bf16", of the forward passes; weights are float32.

    Raises:
        UnknownValueError: nothing is new, or there are new values of an attribute that is not to grow.
        ManifestError: too few images, or some that cannot be used.
    """

    def __init__(
        self, checkpoint: Checkpoint, manifest: pd.DataFrame, config: AdaptationConfig, mixed_precision: str = "bf16"
    ) -> None:
        self.config, self.checkpoint = config, checkpoint
        self.tiles = choose_tiles(manifest, checkpoint.vocabulary, config)
        train = self.tiles.train
        vocabulary = grow(
            checkpoint.vocabulary,
            attribute_rows(train, checkpoint.vocabulary.attributes),
            list(train["patient_id"]),
            config.attributes,
        )
        settings = _training_config(checkpoint, config)
        data, validation = (
            RandomTileDataset(
                rows, {path: read_image(path) for path in rows["path"].unique()}, vocabulary, settings.sampling
            )
            for rows in (train, self.tiles.validation)
        )
        self._validation = ValidationSet.build(validation, settings)
        self.training = DiffusionTraining(settings, data, Accelerator(mixed_precision=mixed_precision))
        take_over(self.training, checkpoint)

    @property
    def vocabulary(self) -> Vocabulary:
        """The grown one."""
        return self.training.dataset.vocabulary

    def steps(self) -> Iterator[AdaptationStep]:
        """Train while the validation loss falls. What to keep are the EMA weights at the last report that is best.

        The first report is of the new rows as they begin: what the checkpoint makes of a value it does not know.
        """
        advance, lowest, stale = self.training.steps(), math.inf, 0
        losses: list[float] = []
        while stale < self.config.patience:
            with ema_weights(self.training):
                loss = self._validation.loss(self.training)
            is_best = loss < lowest * (1 - MIN_GAIN)
            lowest, stale = (loss, 0) if is_best else (lowest, stale + 1)
            yield AdaptationStep(self.training.step, float(np.mean(losses)) if losses else math.nan, loss, is_best)
            losses = [step.loss for step in islice(advance, self.config.evaluate_every)]
            if not losses:
                return


def choose_tiles(manifest: pd.DataFrame, vocabulary: Vocabulary, config: AdaptationConfig) -> AdaptationTiles:
    """Rows of new values, divided into those to learn from and those that say when to stop.

    Raises:
        UnknownValueError: attributes that cannot grow, or none of whose values is new.
        ManifestError: there is one image only, or a new value has validation rows and no training row.
    """
    require_growable(vocabulary, config.attributes)
    is_new = pd.Series(False, index=manifest.index)
    for name in config.attributes:
        is_new |= manifest[name].isin(new_values(vocabulary, attribute_rows(manifest, vocabulary.attributes), name))
    split = manifest["split"].fillna("train")
    train, validation = (manifest[is_new & (split == name)] for name in ("train", "val"))
    if train.empty:  # `grow` says what is wrong with that
        return AdaptationTiles(train, validation, "split")
    if len(validation):
        return _require_learned(AdaptationTiles(train, validation, "split"), config.attributes)
    for by, groups in (("patient", patients_of(train)), ("image", train["path"])):
        chosen = _set_aside(train[list(config.attributes)].astype(str).agg(tuple, axis=1), groups, config.seed)
        if chosen.any():
            return _require_learned(AdaptationTiles(train[~chosen], train[chosen], by), config.attributes)
    raise ManifestError(
        f"all new training tiles are of one image, {train['path'].iloc[0]}: give two images or more, so that one "
        "can say when to stop"
    )


def _set_aside(values: pd.Series, groups: pd.Series, seed: int) -> pd.Series:
    """bool `(N,)`: a share of the groups of each new value, never its last one."""
    chosen = pd.Series(False, index=groups.index)
    for _, own in groups.groupby(values):
        names = sorted(own.unique())
        num = max(1, round(VALIDATION_SHARE * len(names))) if len(names) > 1 else 0
        chosen |= groups.isin(np.random.default_rng(seed).permutation(names)[:num])
    return chosen


def _require_learned(tiles: AdaptationTiles, attributes: Sequence[str]) -> AdaptationTiles:
    """The tiles, if every value to validate on is one to learn."""
    for name in attributes:
        if missing := sorted(set(tiles.validation[name].dropna()) - set(tiles.train[name].dropna())):
            raise ManifestError(
                f"{name} {missing[0]} has rows to validate on and none to learn from: give training rows of other "
                "patients, or leave it out"
            )
    return tiles


def take_over(training: DiffusionTraining, checkpoint: Checkpoint) -> None:
    """All weights of the checkpoint, with the new rows begun as the null row; nothing but the new rows can move."""
    source = TrainingModel(checkpoint.pipeline.metadata_embedder, checkpoint.pipeline.denoiser).state_dict()
    training.model.requires_grad_(False)
    before, after = checkpoint.vocabulary.values, training.dataset.vocabulary.values
    for i, (name, table) in enumerate(zip(after, training.model.embedder.tables, strict=True)):
        key = f"embedder.tables.{i}.weight"
        old, num_new = source[key], len(after[name]) - len(before[name])
        source[key] = torch.cat([old[:-1], old[-1:].repeat(num_new, 1), old[-1:]])
        if num_new:
            table.weight.requires_grad_(True)
            table.weight.register_hook(_only_rows(len(before[name]), len(after[name])))
    training.load_weights(source)


def _only_rows(first: int, last: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A gradient hook that leaves rows `first` to `last - 1`, so that the others stay to the bit."""

    def hook(gradient: torch.Tensor) -> torch.Tensor:
        kept = torch.zeros_like(gradient)
        kept[first:last] = gradient[first:last]
        return kept

    return hook


def _training_config(checkpoint: Checkpoint, config: AdaptationConfig) -> DiffusionTrainingConfig:
    """The training that these weights fit into: no decay, and no tile without any attribute."""
    return DiffusionTrainingConfig(
        **structure_of(checkpoint),
        global_batch=config.global_batch,
        num_steps=config.num_steps,
        warmup_steps=1,
        learning_rate=config.learning_rate,
        weight_decay=0.0,
        ema_decay=0.95,
        seed=config.seed,
        objective=ObjectiveConfig(drop_all=0.0),
        sampling=SamplingConfig(seed=config.seed),
    )
