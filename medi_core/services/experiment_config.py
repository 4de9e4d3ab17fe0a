"""What an experiment asks: which cancer types, which shift between training and test, which arms. Holds no tiles."""

from dataclasses import dataclass

from medi_core.errors import InvalidRequestError

CHOSEN_CENTERS = "training centers"
LEAVE_ONE_OUT = "leave one center out"
SHORTCUT = "one center a class"
RARE_CENTER = "rare center"
LOW_DATA = "low data"
RANDOM_CENTERS = "random training centers"
CORRELATION = "class-center correlation"
PRESETS = {
    CHOSEN_CENTERS: "train on the centers given, test on the others",
    LEAVE_ONE_OUT: "train on all centers but one, test on that one; each in turn, or the one given",
    SHORTCUT: "each class from another center, so that the center tells the class; test on the crossed cells, and on "
    "other patients of the own ones",
    RARE_CENTER: "one center cut to `size` training patients; test on other patients of all centers",
    LOW_DATA: "`size` real training tiles a class; test on other patients of all centers",
    RANDOM_CENTERS: "the paper's protocol: `size` training centers drawn by seed, test on the others",
    CORRELATION: "as PathoROB: equal numbers of tiles, each class mostly from one center as `correlation` rises; "
    "test on other patients of these centers and on other centers",
}
"""Name → what is trained on and tested on."""

REAL = "real only"
DUPLICATED = "real duplicated"
JITTERED = "real + stain jitter"
CLASS_ONLY = "real + class-only synthetic"
MEDI = "real + MeDi synthetic"
SYNTHETIC = "synthetic only"
ARMS = {
    REAL: "the real training tiles",
    DUPLICATED: "and copies of some of them",
    JITTERED: "and re-stained copies of some of them",
    CLASS_ONLY: "and synthetic tiles asked for by cancer type alone",
    MEDI: "and synthetic tiles asked for by cancer type and center, for the missing or rare cells",
    SYNTHETIC: "synthetic tiles of the training cells and of those to fill, no real one",
}
"""Name → what it is trained on, in the order of display."""
ADDING = (DUPLICATED, JITTERED, CLASS_ONLY, MEDI)
"""Arms that add tiles to the real ones: the same number of each class."""

LOGISTIC, NEIGHBOURS, FINE_TUNED = "logistic regression", "nearest neighbours", "fine-tuning"
PROBES = (LOGISTIC, NEIGHBOURS, FINE_TUNED)
"""The first two on frozen features; the last one needs pixels (services/fine_tuned_arms.py)."""
MAX_RATIO, MAX_SEEDS, MIN_PATIENTS = 4.0, 50, 2
DEFAULT_SIZE = {RARE_CENTER: 1, LOW_DATA: 20, RANDOM_CENTERS: 2}
"""Of a preset that has a size."""


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment; everything that is drawn is a function of it."""

    cancer_types: tuple[str, ...]
    """The classes, at least 2."""
    preset: str = LEAVE_ONE_OUT
    """A key of `PRESETS`."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Keys of `ARMS`; `real only` is always among them, for all others are compared with it."""
    training_centers: tuple[str, ...] = ()
    """Of `training centers`; of `one center a class` and `class-center correlation`: one a class, in their order, or
    empty for the best supported ones."""
    center: str | None = None
    """Left out, or made rare; `None`: each in turn, or the one with most patients."""
    size: int | None = None
    """Training patients of the rare center, tiles a class of `low data`, or random centers; `None`: `DEFAULT_SIZE`."""
    correlation: float = 1.0
    """Cramér's V of class and center in the training tiles of `class-center correlation`, 0 to 1."""
    ratio: float = 1.0
    """Tiles to add for each real one, 0 to 4."""
    num_seeds: int = 5
    """Seeds 0 to `num_seeds` − 1: patients and tiles are drawn anew with each."""
    probe: str = LOGISTIC
    """One of `PROBES`."""
    held_out_only: bool = False
    """Test only patients that the generator never saw."""
    min_patients: int = MIN_PATIENTS
    """A (cancer type, center) with fewer test patients is not tested."""

    def __post_init__(self) -> None:
        if len(set(self.cancer_types)) < 2:
            given = ", ".join(self.cancer_types) or "none"
            raise InvalidRequestError(f"an experiment needs at least 2 different cancer types, given: {given}")
        _require_known("preset", [self.preset], PRESETS)
        _require_known("arm", self.arms, ARMS)
        _require_known("probe", [self.probe], PROBES)
        _require_within("ratio", self.ratio, 0, MAX_RATIO)
        _require_within("num_seeds", self.num_seeds, 1, MAX_SEEDS)
        _require_within("correlation", self.correlation, 0, 1)
        _require_within("min_patients", self.min_patients, MIN_PATIENTS, 1000)
        if self.size is not None:
            _require_within("size", self.size, 1, 1_000_000)
        if self.preset == CHOSEN_CENTERS and not self.training_centers:
            raise InvalidRequestError(f"the preset {CHOSEN_CENTERS!r} needs training centers: name at least one")
        if self.preset == RANDOM_CENTERS and self.training_centers:
            raise InvalidRequestError(
                f"the preset {RANDOM_CENTERS!r} draws its training centers by seed, given: "
                f"{', '.join(self.training_centers)}; leave them out, or take the preset {CHOSEN_CENTERS!r}"
            )
        types = tuple(dict.fromkeys(self.cancer_types))
        object.__setattr__(self, "cancer_types", types)
        object.__setattr__(self, "arms", tuple(name for name in ARMS if name in (REAL, *self.arms)))

    @property
    def preset_size(self) -> int:
        """`size`, or the preset's own; 0 where it has none."""
        return DEFAULT_SIZE.get(self.preset, 0) if self.size is None else self.size


def _require_known(what: str, given, known) -> None:
    for name in given:
        if name not in known:
            raise InvalidRequestError(f"{what} {name!r} is unknown; known: {', '.join(known)}")


def _require_within(what: str, given: float, low: float, high: float) -> None:
    if not low <= given <= high:
        raise InvalidRequestError(f"{what} = {given:g}: it must be from {low:g} to {high:g}")
