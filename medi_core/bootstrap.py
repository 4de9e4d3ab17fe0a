"""`build_services(settings)`: the one place that wires objects together."""

from dataclasses import dataclass

from medi_core.checkpoints import Checkpoint, load_checkpoint
from medi_core.device import choose_device, choose_dtype
from medi_core.services.generation import GenerationService
from medi_core.services.welcome import WelcomeService
from medi_core.settings import Settings

CPU_BATCH = 8
"""Small, so that the first preview of a request on two cores comes within a second."""
ACCELERATOR_BATCH = 64


@dataclass(frozen=True)
class Services:
    """Everything a tab or a command may use; loaded once, shared by all."""

    settings: Settings
    checkpoint: Checkpoint
    generation: GenerationService
    welcome: WelcomeService


def build_services(settings: Settings) -> Services:
    """Load the checkpoint and build the services around it.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        InvalidRequestError: the device or dtype is not to be had.
    """
    device = choose_device(settings.device)
    checkpoint = load_checkpoint(
        settings.checkpoint, settings.checkpoints_dir, device, choose_dtype(settings.dtype, device)
    )
    generation = GenerationService(checkpoint, CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH)
    welcome = WelcomeService(generation, settings.assets_dir / "welcome")
    return Services(settings, checkpoint, generation, welcome)
