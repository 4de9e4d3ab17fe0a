"""What may be wrong with an image made of windows: seams, and the same structure again and again. Knows no model."""

from collections.abc import Sequence

import numpy as np

from medi_core.errors import InvalidRequestError


def seam_ratio(gray: np.ndarray, borders: Sequence[int]) -> float:
    """Energy of the gradient across window borders, over that everywhere else; 1 where borders are like any place.

    Args:
        gray: `(H, W)`, any unit.
        borders: edges of windows in px, the same along both axes; those at the rim or outside are left out.

    Returns:
        NaN for an image without any gradient elsewhere.

    Raises:
        InvalidRequestError: no border lies inside the image.
    """
    at_border, elsewhere = [], []
    for image in (gray.astype(np.float64), gray.astype(np.float64).T):
        energy = np.square(np.diff(image, axis=1)).mean(axis=0)  # (W - 1,): between pixel i and i + 1
        is_border = np.isin(np.arange(1, image.shape[1]), list(borders))
        at_border.append(energy[is_border])
        elsewhere.append(energy[~is_border])
    inside, outside = np.concatenate(at_border), np.concatenate(elsewhere).mean()
    if not len(inside):
        raise InvalidRequestError(f"no window border of {list(borders)} lies inside {gray.shape}: take larger regions")
    return float(inside.mean() / outside) if outside else float("nan")


def repetition_peak(gray: np.ndarray, min_shift_px: int = 24) -> float:
    """The highest correlation of an image with itself, shifted: near 1 where structure repeats.

    It is of the whole overlap: one small patch that comes twice does not show.

    Args:
        gray: `(H, W)`, any unit.
        min_shift_px: shifts below this along both axes are not looked at: every image is like itself nearby. So are
            those above half a side, where little overlaps.

    Returns:
        −1 to 1, correlation over the overlap, as Lewis 1995 ("Fast normalized cross-correlation") computes it with
        means of the whole image; NaN for an image without structure.

    Raises:
        InvalidRequestError: an image too small for such a shift.
    """
    height, width = gray.shape
    if min(height, width) < 2 * min_shift_px + 2:
        raise InvalidRequestError(f"{gray.shape} px: at least {2 * min_shift_px + 2} a side for this shift")
    image = gray.astype(np.float64) - gray.mean()
    if not image.any():
        return float("nan")
    ones = np.ones_like(image)
    product, energy, count = _correlate(image, image), _correlate(image**2, ones), _correlate(ones, ones)
    mirrored = np.roll(energy[::-1, ::-1], 1, axis=(0, 1))  # the energy of the other image over the overlap
    shift_y, shift_x = (_shifts(2 * side) for side in (height, width))
    far = np.maximum(shift_y[:, None], shift_x[None]) >= min_shift_px
    chosen = far & (shift_y[:, None] <= height // 2) & (shift_x[None] <= width // 2)
    floor = 1e-3 * np.square(image).mean() * count[chosen]  # two flat parts are not alike, they are nothing
    correlation = product[chosen] / np.sqrt(np.maximum(energy[chosen], floor) * np.maximum(mirrored[chosen], floor))
    return float(min(correlation.max(), 1.0))


def _correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Sum of products for every shift, `(2H, 2W)`: padded with zeros, so that nothing wraps around."""
    shape = tuple(2 * side for side in first.shape)
    spectrum = np.fft.rfft2(first, shape) * np.conj(np.fft.rfft2(second, shape))
    return np.fft.irfft2(spectrum, shape)


def _shifts(length: int) -> np.ndarray:
    """How far each entry of an FFT is shifted, px, without its sign."""
    return np.abs(np.fft.fftfreq(length, 1 / length))
