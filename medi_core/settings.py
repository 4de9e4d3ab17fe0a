"""Where things are and what they run on. From flags and environment, nothing else."""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """Start-up settings, the same for the app and the CLI. In the environment: MEDI_CHECKPOINT, MEDI_DEVICE, …"""

    checkpoint: str = "medi-128"
    """A name below `checkpoints_dir`, a folder or a hub id."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16; auto takes what is fast and exact enough on the device."""
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

    @property
    def classifier_dir(self) -> Path:
        """Folder of the tile classifier; it may be missing."""
        return self.checkpoints_dir / self.classifier

    @classmethod
    def from_environment(cls, **flags: str | Path | None) -> "Settings":
        """Flags win over the environment, the environment over the defaults; `None` and "" = not given."""
        environment = {field.name: os.environ.get(f"MEDI_{field.name.upper()}") for field in fields(cls)}
        given = environment | {name: value for name, value in flags.items() if value}
        kind = {field.name: type(field.default) for field in fields(cls)}
        return cls(**{name: kind[name](value) for name, value in given.items() if value})
