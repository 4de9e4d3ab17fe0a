"""The networks that benchmarks compare: ours, and the paper's rebuilt from its published widths."""

import copy
import inspect
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import UNet2DModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from medi_core.metadata.schema import ATTRIBUTE
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.pipelines.medi_pipeline import MediPipeline
from medi_core.training.train_diffusion import DiffusionTraining, DiffusionTrainingConfig

PAPER_WIDTHS = (128, 256, 512, 512, 1024, 1024)
PAPER_STEPS = 100
PAPER_PARAMETERS = 415.2e6
"""As published, like `PAPER_FLOPS`: a reference for the rebuild, not a measurement."""
PAPER_FLOPS = 291.8e9
SIDE_PX = 128
CPU = torch.device("cpu")
DEFAULT_STEPS: int = inspect.signature(MediPipeline.__call__).parameters["num_inference_steps"].default
VALUES_A_CATEGORY = 30


class SyntheticTiles(torch.utils.data.Dataset):
    """Random pixels and condition ids: what a training step costs does not depend on what is on a tile."""

    def __init__(self, attributes: tuple[str, ...], side_px: int = SIDE_PX) -> None:
        sizes = {name: ATTRIBUTE[name].num_bins or VALUES_A_CATEGORY for name in attributes}
        self.vocabulary = Vocabulary({name: tuple(map(str, range(1, n + 1))) for name, n in sizes.items()})
        self._tiles = torch.randint(0, 256, (64, 3, side_px, side_px), dtype=torch.uint8)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._tiles[index % len(self._tiles)], torch.zeros(len(self.vocabulary.attributes), dtype=torch.int64)


def build_training(
    config: DiffusionTrainingConfig,
    compile_model: bool = False,
    mixed_precision: str = "bf16",
    device: torch.device = CPU,
) -> DiffusionTraining:
    """Our training of random weights on random tiles."""
    AcceleratorState._reset_state(reset_partial_state=True)  # else a process keeps the precision of its first training
    accelerator = Accelerator(mixed_precision=mixed_precision, cpu=device.type == "cpu")
    return DiffusionTraining(config, SyntheticTiles(config.attributes, config.side_px), accelerator, compile_model)


def build_paper_network(widths: Sequence[int] = PAPER_WIDTHS) -> UNet2DModel:
    """MeDi's U-Net (Drexlin et al. 2025) from stock blocks: six levels, attention in the middle only.

    Args:
        widths: the published ones, or those times a factor; multiples of 32.
    """
    levels = len(widths)
    return UNet2DModel(
        sample_size=SIDE_PX,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=tuple(widths),
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        class_embed_type="identity",
    )


def num_parameters(*networks: nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())


def forward_flops_of_ours(denoiser: nn.Module, side_px: int = SIDE_PX) -> int:
    """FLOPs of one forward of one tile; a multiply-add counts as 2."""
    denoiser = copy.deepcopy(denoiser).to("meta")
    inputs = (torch.zeros(1, 3, side_px, side_px), torch.zeros(1), torch.zeros(1, denoiser.embedding_dim))
    return count_flops(denoiser, *(x.to("meta", next(denoiser.parameters()).dtype) for x in inputs))


def forward_flops_of_paper(side_px: int = SIDE_PX) -> int:
    """The same for the paper's network."""
    with torch.device("meta"):
        network = build_paper_network()
        inputs = torch.zeros(1, 3, side_px, side_px), torch.zeros(1)
        return count_flops(network, *inputs, class_labels=torch.zeros(1, 4 * PAPER_WIDTHS[0]))


def count_flops(network: nn.Module, *args, **kwargs) -> int:
    """Shapes alone decide: on the meta device nothing is computed and no memory is taken."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*args, **kwargs)
    return counter.get_total_flops()
