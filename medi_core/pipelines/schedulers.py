"""The samplers on offer: diffusers' flow-matching schedulers under short names."""

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import SchedulerMixin

from medi_core.errors import InvalidRequestError
from medi_core.models.denoiser import NUM_TRAIN_TIMESTEPS

SCHEDULERS = {
    "euler": lambda: FlowMatchEulerDiscreteScheduler(num_train_timesteps=NUM_TRAIN_TIMESTEPS),
    "heun": lambda: FlowMatchHeunDiscreteScheduler(num_train_timesteps=NUM_TRAIN_TIMESTEPS),
    "dpmsolver": lambda: DPMSolverMultistepScheduler(
        num_train_timesteps=NUM_TRAIN_TIMESTEPS, prediction_type="flow_prediction", use_flow_sigmas=True
    ),
    "unipc": lambda: UniPCMultistepScheduler(
        num_train_timesteps=NUM_TRAIN_TIMESTEPS, prediction_type="flow_prediction", use_flow_sigmas=True
    ),
}
NEARLY_ONE = 1 - 1e-6
"""The multistep solvers take log(1 − σ)."""


def build_scheduler(name: str) -> SchedulerMixin:
    """A fresh scheduler by name, see `SCHEDULERS`."""
    if name not in SCHEDULERS:
        raise InvalidRequestError(f"scheduler {name!r} is unknown; known: {', '.join(SCHEDULERS)}")
    return SCHEDULERS[name]()


def set_noise_levels(
    scheduler: SchedulerMixin, strength: float, num_inference_steps: int, device: torch.device
) -> None:
    """Prepare a scheduler to go from σ = `strength` to 0 in equal steps.

    Each of diffusers' classes has its own way of doing this (some take no σ at all, some round the
    timesteps to whole numbers, which then no longer are σ · 1000): set here, it is the same for all.
    One network evaluation a step, but for Heun: two, and one in the last (2 · steps − 1).
    """
    scheduler.set_timesteps(num_inference_steps, device=device)  # forgets the previous run
    sigmas = torch.linspace(strength, strength / num_inference_steps, num_inference_steps).clamp(max=NEARLY_ONE)
    if isinstance(scheduler, FlowMatchHeunDiscreteScheduler):
        # the second evaluation of a step is at the σ it leads to, where the next step begins
        sigmas = torch.cat([sigmas[:1], sigmas[1:].repeat_interleave(2)])
    scheduler.timesteps = (sigmas * NUM_TRAIN_TIMESTEPS).to(device)
    scheduler.sigmas = torch.cat([sigmas, torch.zeros(1)])  # stays on the CPU: no wait for the device at each step
    scheduler.set_begin_index(0)
