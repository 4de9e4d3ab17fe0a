"""The samplers on offer: diffusers' flow-matching schedulers under short names."""

from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from diffusers.schedulers import SchedulerMixin

from medi_core.errors import InvalidRequestError
from medi_core.models.denoiser import NUM_TRAIN_TIMESTEPS

SCHEDULERS = {
    "euler": lambda: FlowMatchEulerDiscreteScheduler(num_train_timesteps=NUM_TRAIN_TIMESTEPS),
    "unipc": lambda: UniPCMultistepScheduler(
        num_train_timesteps=NUM_TRAIN_TIMESTEPS, prediction_type="flow_prediction", use_flow_sigmas=True
    ),
}


def build_scheduler(name: str) -> SchedulerMixin:
    """A fresh scheduler by name, see `SCHEDULERS`."""
    if name not in SCHEDULERS:
        raise InvalidRequestError(f"scheduler {name!r} is unknown; known: {', '.join(SCHEDULERS)}")
    return SCHEDULERS[name]()
