"""Where things are and what they run on. From flags and environment, nothing else."""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path

from medi_core.errors import InvalidRequestError

PROJECT_ROOT = Path(__file__).resolve().parent.parent
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""What libraries read from the environment, before they are imported, so that nothing is sent anywhere."""


TEACHER = "medi-128"
"""The shipped checkpoint that takes many steps: what others are adapted or distilled from."""


@dataclass(frozen=True)
class Settings:
    """Start-up settings, the same for the app and the CLI. In the environment: MEDI_CHECKPOINT, MEDI_DEVICE, …"""

    checkpoint: str = "medi-128-fast"
    """A name below `checkpoints_dir`, a folder or a hub id."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16; auto takes what is measured to be fastest on the device, and exact enough."""
    checkpoints_dir: Path = PROJECT_ROOT / "checkpoints"
    """Where checkpoints are looked up by name."""
    assets_dir: Path = PROJECT_ROOT / "assets"
    """Holds the welcome tiles, in `welcome/`, and the reference set, in `reference/`."""
    encoder: str = "efficientnet-lite0"
    """Of the features that maps and distances are made of: a key of `ENCODERS`."""
    tiles: str = ""
    """Manifest of real tiles on this machine, shown where the reference set knows them."""
    cache_dir: Path = Path.home() / ".cache" / "medi-explorer"
    """Features of tiles that were encoded before."""
    classifier: str = "tile-classifier"
    """A name below `checkpoints_dir`, or a folder."""
    data_dir: Path = Path.home() / ".local" / "share" / "medi-explorer"
    """What must not be lost: the answers of reviews. On a Space, a mounted volume."""
    admin_passphrase: str = field(default="", repr=False)
    """Opens the administration of reviews in the app; without one it is off."""
    auth: str = field(default="", repr=False)
    """Who may enter the app: `user:password` pairs with commas between them; none = everybody."""
    rate_limit: int = 600
    """Calls of one session in a minute; 0 = no limit. A click is a handful of calls."""
    log_level: str = "warning"
    """debug, info, warning or error: what the app writes to stderr, one JSON object a line."""
    compile: str = "off"
    """auto, on or off: the denoiser through `torch.compile`; auto is on for CUDA alone. Off, but for the app, which
    runs for long enough that the minute of compilation pays."""
    fast_checkpoint: str = "medi-128-fast"
    """Of instant tiles, where the main checkpoint takes many steps: a few-step one of its vocabulary, if there is."""

    def __post_init__(self) -> None:
        if self.rate_limit < 0:
            raise InvalidRequestError(
                f"MEDI_RATE_LIMIT = {self.rate_limit}: calls in a minute, 0 = no limit; none below"
            )

    @property
    def classifier_dir(self) -> Path:
        """Folder of the tile classifier; it may be missing."""
        return self.checkpoints_dir / self.classifier

    @classmethod
    def from_environment(cls, **flags: str | Path | None) -> "Settings":
        """Flags win over the environment, the environment over the defaults; `None` and "" = not given.

        Raises:
            InvalidRequestError: a number that is none, or out of range.
        """
        environment = {field.name: os.environ.get(f"MEDI_{field.name.upper()}") for field in fields(cls)}
        given = environment | {name: value for name, value in flags.items() if value}
        default = {field.name: field.default for field in fields(cls)}
        return cls(**{name: _as(type(default[name]), name, value) for name, value in given.items() if value})


def _as(kind: type, name: str, value: str | Path) -> str | Path | int:
    try:
        return kind(value)
    except ValueError as error:
        raise InvalidRequestError(f"MEDI_{name.upper()} = {value}: it must be a whole number") from error
