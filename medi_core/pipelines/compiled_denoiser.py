"""The denoiser through `torch.compile`, for the one shape that most forwards have: on CUDA as a CUDA graph.

The weights stay in the denoiser, which knows nothing of this: checkpoints are saved as ever.
"""

import logging
import threading
from contextlib import suppress

import torch

from medi_core.models.denoiser import Denoiser
from medi_core.pipelines.row_batcher import TRAINED_SIDE_PX, RowBatcher

WARM_UP_FORWARDS = 3
"""A CUDA graph is made in the first two and used from the third on."""


class CompiledDenoiser:
    """Called as the denoiser is; to be called from one thread alone, for a CUDA graph belongs to a thread.

    The shape decides whether a forward is compiled, so that a tile is still the same in any company: every other shape
    than that of the training would be compiled anew, for a minute, and visitors choose shapes. Where compilation fails,
    all forwards are as without it, and the log says so once.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self._eager = denoiser
        mode = "reduce-overhead" if denoiser.device.type == "cuda" else "default"
        self._compiled = torch.compile(denoiser, mode=mode, dynamic=False)

    @property
    def dtype(self) -> torch.dtype:
        return self._eager.dtype

    def __call__(self, x_t: torch.Tensor, timesteps: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        """As `Denoiser.forward`. On CUDA the result is valid until the next call."""
        if self._compiled is None or x_t.shape[-2:] != (TRAINED_SIDE_PX, TRAINED_SIDE_PX):
            return self._eager(x_t, timesteps, conditioning)
        try:
            torch.compiler.cudagraph_mark_step_begin()
            return self._compiled(x_t, timesteps, conditioning)
        except Exception as error:
            predicted = self._eager(x_t, timesteps, conditioning)  # if this fails, too, it is not the compiler
            self._compiled = None
            reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
            logging.getLogger("medi").warning("denoiser not compiled, and slower: %s", reason)
            return predicted


def build_batcher(denoiser: Denoiser, is_compiled: bool) -> RowBatcher:
    """Around the denoiser, compiled or not. Compilation begins at once: pages need not wait for it, tiles do."""
    if not is_compiled:
        return RowBatcher(denoiser)
    batcher = RowBatcher(CompiledDenoiser(denoiser))

    def warm_up() -> None:
        with suppress(Exception), batcher.caller() as predict_rows:  # what is wrong, the first request will say
            for _ in range(WARM_UP_FORWARDS):
                predict_rows(*warm_up_rows(denoiser, 1))

    threading.Thread(target=warm_up, daemon=True).start()
    return batcher


def warm_up_rows(denoiser: Denoiser, num: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x_t, timesteps and conditioning of the shape that is compiled: `num` rows."""
    side, device = TRAINED_SIDE_PX, denoiser.device
    conditioning = torch.zeros(num, denoiser.embedding_dim, dtype=denoiser.dtype, device=device)
    return torch.zeros(num, 3, side, side, device=device), torch.full((num,), 500.0, device=device), conditioning
