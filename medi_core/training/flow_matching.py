"""The flow-matching objective: functions of tensors. Knows no data, metadata names or optimiser.

Conventions of diffusers' flow-matching schedulers: σ = 1 is noise, σ = 0 the tile,
x_σ = (1 − σ) · x + σ · ε, timesteps = σ · 1000. (With t = 1 − σ this is x_t = t · x + (1 − t) · ε.)
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class NoiseDraw:
    """What a training step draws at random for its tiles."""

    sigmas: torch.Tensor
    """float32 `(B,)` in (0, 1)."""
    eps: torch.Tensor
    """float32 `(B, 3, H, W)`, standard normal."""
    is_dropped: torch.Tensor
    """bool `(B, A)`: attributes to replace by the null id."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """Noise levels, loss weight and attribute dropout."""

    sigma_logit_mean: float = 0.4
    """σ = sigmoid(N(mean, std)); Esser et al. 2024, §3.1 (there t = σ)."""
    sigma_logit_std: float = 1.0
    sigma_floor: float = 0.05
    """The velocity error (x̂ − x) / σ is weighted as if σ were never below this."""
    drop_each: float = 0.07
    """Chance of dropping an attribute on its own: what guidance by attribute needs."""
    drop_all: float = 0.1
    """Chance of dropping all attributes: what unconditional guidance needs."""
    drop_tail: float = 0.0
    """Chance of keeping only the first k of A attributes, k drawn evenly from 1 to A − 1 (nested dropout, Rippel et al.
    2014, §2): who asks for a cancer type and a center leaves the rest open; dropping one by one nearly never does."""


def draw_noise(
    config: ObjectiveConfig, shape: tuple[int, int, int, int], num_attributes: int, generator: torch.Generator
) -> NoiseDraw:
    """Draw for a *global* batch: every process draws the same and takes its slice.

    Args:
        shape: (B, 3, H, W) of the global batch.
        generator: on the device wanted, seeded by (seed, step).
    """
    batch, device = shape[0], generator.device
    logits = torch.randn(batch, generator=generator, device=device)
    each = torch.rand(batch, num_attributes, generator=generator, device=device) < config.drop_each
    everything = torch.rand(batch, 1, generator=generator, device=device) < config.drop_all
    eps = torch.randn(shape, generator=generator, device=device)
    is_dropped = each | everything
    if config.drop_tail and num_attributes > 1:
        is_cut = torch.rand(batch, generator=generator, device=device) < config.drop_tail
        num_kept = torch.randint(1, num_attributes, (batch,), generator=generator, device=device)
        position = torch.arange(num_attributes, device=device)
        is_dropped = is_dropped | (is_cut[:, None] & (position >= num_kept[:, None]))
    return NoiseDraw(
        sigmas=torch.sigmoid(config.sigma_logit_mean + config.sigma_logit_std * logits), eps=eps, is_dropped=is_dropped
    )


def add_noise(tiles: torch.Tensor, draw: NoiseDraw) -> torch.Tensor:
    """x_σ `(B, 3, H, W)` of tiles in [−1, 1]."""
    sigmas = draw.sigmas[:, None, None, None]
    return (1 - sigmas) * tiles + sigmas * draw.eps


def velocity_loss(
    predicted: torch.Tensor, tiles: torch.Tensor, sigmas: torch.Tensor, sigma_floor: float
) -> torch.Tensor:
    """Mean squared velocity error of predicted clean tiles, one a tile `(B,)`.

    v = ε − x = (x_σ − x) / σ, so the error of v is the error of x over σ.
    """
    error = (predicted.float() - tiles).square().mean(dim=(1, 2, 3))
    return error / sigmas.clamp(min=sigma_floor).square()
