"""Denoise a large image in overlapping windows of the side the denoiser was trained on.

After MultiDiffusion (Bar-Tal et al. 2023, eq. 5): at each noise level the windows' predictions are
averaged where they overlap, here with weights that fall off towards a window's rim.
"""

from collections.abc import Callable

import torch


def predict_by_windows(
    predict: Callable[[torch.Tensor], torch.Tensor], x_t: torch.Tensor, num_predictions: int, window_px: int | None
) -> torch.Tensor:
    """Predict the clean image in one pass (`window_px=None`) or in windows.

    Args:
        predict: `(B, 3, h, w)` → `(num_predictions · B, 3, h, w)`, for any h and w.
        x_t: `(B, 3, H, W)`.

    Returns:
        `(num_predictions, B, 3, H, W)`.
    """
    batch, _, height, width = x_t.shape
    if window_px is None or max(height, width) <= window_px:
        return predict(x_t).unflatten(0, (num_predictions, batch))
    total = x_t.new_zeros(num_predictions, *x_t.shape)
    weight = x_t.new_zeros(height, width)
    for top in window_starts(height, window_px):
        for left in window_starts(width, window_px):
            rows, columns = slice(top, top + window_px), slice(left, left + window_px)
            predicted = predict(x_t[..., rows, columns]).unflatten(0, (num_predictions, batch))
            rim = _rim_weights(predicted.shape[-2], x_t)[:, None] * _rim_weights(predicted.shape[-1], x_t)
            total[..., rows, columns] += rim * predicted
            weight[rows, columns] += rim
    return total / weight


def window_starts(length: int, window_px: int) -> list[int]:
    """Starts of windows that overlap by at least half and cover 0 … length."""
    if length <= window_px:
        return [0]
    count = -(-(length - window_px) // (window_px // 2)) + 1
    return [round(i * (length - window_px) / (count - 1)) for i in range(count)]


def _rim_weights(length: int, like: torch.Tensor) -> torch.Tensor:
    """Triangle, never 0: `(length,)`."""
    position = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    return torch.minimum(position, length - position) / (length / 2)
