"""Where things are and what they run on. From flags and environment, nothing else."""

import os
from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """Start-up settings, the same for the app and the CLI."""

    checkpoint: str = "medi-128"
    """A name below `checkpoints_dir`, a folder or a hub id. Environment: MEDI_CHECKPOINT."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps. Environment: MEDI_DEVICE."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16; auto takes what is fast and exact enough on the device."""
    checkpoints_dir: Path = PROJECT_ROOT / "checkpoints"
    assets_dir: Path = PROJECT_ROOT / "assets"

    @classmethod
    def from_environment(cls, **flags: str | None) -> "Settings":
        """Flags win over the environment, the environment over the defaults; `None` = not given."""
        environment = {name: os.environ.get(f"MEDI_{name.upper()}") for name in ("checkpoint", "device", "dtype")}
        chosen = {name: flags.get(name) or value for name, value in environment.items()}
        return cls(**{name: value for name, value in chosen.items() if value})
