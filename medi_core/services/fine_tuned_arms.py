"""The experiment's arms as fine-tuned classifiers instead of probes on features: needs pixels, takes hours. No widgets.

Real tiles come from the user's own manifest; synthetic ones are made again from their seeds, once, and kept.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from medi_core.data.balanced_tiles import AugmentationConfig
from medi_core.data.reference_set import ReferenceSet
from medi_core.data.tile_files import decode_png, encode_png
from medi_core.errors import InvalidRequestError, ManifestError
from medi_core.metrics.regression_batch import balanced_weights
from medi_core.services.arm_predictions import FoldTask, tested_places, training_counts
from medi_core.services.attached_tiles import AttachedTiles
from medi_core.services.controls import JITTER
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import request_from
from medi_core.services.training_arms import JITTER_GROUP
from medi_core.stain.jitter import jitter_stains
from medi_core.storage import translate_write_errors, whole_file
from medi_core.training.fine_tune import fine_tuned_logits
from medi_core.training.train_classifier import ClassifierTrainingConfig

DEFAULT_NUM_STEPS = 200


@dataclass(frozen=True)
class TilePixels:
    """The pixels behind the rows of a reference set."""

    reference: ReferenceSet
    attached: AttachedTiles
    generation: GenerationService
    folder: Path
    """Keeps synthetic tiles that were made again: half a core-minute each is worth a file."""
    _kept: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def of(self, places: Iterable[int]) -> np.ndarray:
        """uint8 `(n, 128, 128, 3)`.

        Args:
            places: in the reference set.

        Raises:
            ManifestError: real tiles that are not attached.
            StorageError: no room for the synthetic ones.
        """
        places = list(places)
        self._require_attached(places)
        for place in places:
            if place not in self._kept:
                self._kept[place] = self._read(self.reference.tiles.iloc[place])
        return np.stack([self._kept[place] for place in places])

    def _require_attached(self, places: list[int]) -> None:
        tiles = self.reference.tiles.iloc[places]
        real = tiles[tiles["origin"] == "real"].drop_duplicates("id")
        if (missing := len(real) - self.attached.num_known(real)) > 0:
            raise ManifestError(
                f"fine-tuning needs pixels, and {missing:,} of the {len(real):,} real tiles of this experiment are not "
                "in the manifest of --tiles; give the manifest that the reference set was built from"
            )

    def _read(self, row: pd.Series) -> np.ndarray:
        if row["origin"] == "synthetic":
            return self._made_again(row["requested"])
        if row["group"] != JITTER_GROUP:
            return self._real(row)
        (original,) = np.flatnonzero((self.reference.tiles["id"] == row["of"]).to_numpy())[:1]
        seed = int(row["of"][:12], 16)  # another draw than that of the set's own copy, whose place in it is not kept
        return jitter_stains(self._real(self.reference.tiles.iloc[original]), JITTER, np.random.default_rng(seed))

    def _real(self, row: pd.Series) -> np.ndarray:
        image = self.attached.image(row)
        if image is None:
            raise ManifestError(f"the tile at {row['x']}, {row['y']} of {row['image']} is not the one that was encoded")
        return image

    def _made_again(self, requested: str) -> np.ndarray:
        path = self.folder / f"{sha256(requested.encode()).hexdigest()[:24]}.png"
        if path.exists():
            return decode_png(path.read_bytes())
        (tile,) = self.generation.generate(request_from(json.loads(requested)))
        with translate_write_errors(str(path)):
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as unfinished:
                unfinished.write_bytes(encode_png(tile.image, tile.provenance()))
        return tile.image


@dataclass(frozen=True)
class FineTuning:
    """Judges folds as `hits_of_folds` does, by fine-tuned classifiers."""

    pixels: TilePixels
    classes: tuple[str, ...]
    num_steps: int = DEFAULT_NUM_STEPS
    cache_dir: Path | None = None
    """Of features, for the linear start."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_steps <= 100_000:
            raise InvalidRequestError(f"num_steps = {self.num_steps}: it must be from 1 to 100,000")

    def hits(
        self, tasks: Sequence[FoldTask], on_progress: Callable[[int, int], None] = lambda *_: None
    ) -> list[np.ndarray]:
        """Whether each arm names each tested tile rightly, a bool `(m, A)` a fold.

        Every arm starts from the same ImageNet weights, sees its tiles in the same draws of classes and takes the same
        number of steps; stains are left as they are, for that is an arm of its own. No tile decides when to stop.

        Args:
            on_progress: called with (classifiers trained, classifiers in all).
        """
        self._read_all(tasks)
        trainings = [(task, arm) for task in tasks for arm in task.arms]
        found: list[np.ndarray] = []
        for done, (task, arm) in enumerate(trainings):
            on_progress(done, len(trainings))
            found.append(self._hits_of(task, arm))
        on_progress(len(trainings), len(trainings))
        of_arm = iter(found)
        return [np.stack([next(of_arm) for _ in task.arms], axis=1) for task in tasks]

    def _read_all(self, tasks: Sequence[FoldTask]) -> None:
        """A tile that cannot be had ends the work before the first training, not hours later."""
        trained = {int(place) for task in tasks for of_arm in task.of_fold.sets.values() for place in of_arm.tiles}
        tested = {int(place) for task in tasks for place in task.rows["tile"].to_numpy()[task.fold.test]}
        self.pixels.of(sorted(trained | tested))

    def _hits_of(self, task: FoldTask, arm: str) -> np.ndarray:
        pool = task.pool
        counts = training_counts(pool, task.of_fold, (arm,))
        weights = balanced_weights(pool.labels, counts, pool.num_labels)[0].astype(np.float64)
        (used,) = np.nonzero(weights)
        test, labels = tested_places(pool, task.rows, task.fold), pool.labels
        assert not counts[:, test].any(), "a test tile is trained on"
        place_of = np.flatnonzero(pool.position >= 0)  # place in the pool → place in the reference set
        tiles, tested = self.pixels.of(place_of[used]), self.pixels.of(place_of[test])
        config = ClassifierTrainingConfig(
            num_steps=self.num_steps, seed=task.fold.seed, augmentation=AugmentationConfig(stain_jitter=0)
        )
        shares = weights[used] / weights[used].sum()
        logits = fine_tuned_logits(tiles, labels[used], shares, tested, self.classes, config, self.cache_dir)
        return logits.argmax(axis=1) == labels[test]
