"""Parameters and FLOPs: ours against the paper's network, exact, from shapes alone.

    python -m benchmarks.model_cost [--checkpoint medi-128] [--steps 20] [--side 128]

    --checkpoint       name in --checkpoints-dir or path; without it, the default training configuration
    --checkpoints-dir  default: checkpoints
    --steps            denoising steps a tile; default: that of the pipeline
    --side             tile side in px; default: 128

A multiply-add counts as 2 FLOPs (torch.utils.flop_counter: matrix products and convolutions; norms and
activations count 0). A guided step has one forward more for each guidance term: ordinary guidance, two in
all. The metadata embedder runs once a tile, and is left out of the FLOPs (below 0.01 %). Rows "published"
quote the paper; all others are counted here.
"""

import argparse
from pathlib import Path

import torch

from benchmarks import networks
from benchmarks.tables import print_table
from medi_core.checkpoints import load_checkpoint
from medi_core.training.run import build_pipeline
from medi_core.training.train_diffusion import DiffusionTrainingConfig

HEADER = (
    "network",
    "parameters (M)",
    "GFLOP a forward (multiply-add = 2)",
    "forwards a tile",
    "TFLOP a tile",
    "paper, rebuilt ÷ this, a tile",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint")
    parser.add_argument("--checkpoints-dir", type=Path, default=Path("checkpoints"))
    parser.add_argument("--steps", type=int, default=networks.DEFAULT_STEPS)
    parser.add_argument("--side", type=int, default=networks.SIDE_PX)
    args = parser.parse_args()

    if args.checkpoint:
        checkpoint = load_checkpoint(args.checkpoint, args.checkpoints_dir, torch.device("cpu"), torch.float32)
        name, pipeline = checkpoint.id, checkpoint.pipeline
    else:
        name, pipeline = "default configuration", build_pipeline(networks.build_training(DiffusionTrainingConfig()))
    ours = networks.num_parameters(pipeline.denoiser, pipeline.metadata_embedder)
    our_flops = networks.forward_flops_of_ours(pipeline.denoiser, args.side)
    with torch.device("meta"):
        paper = networks.num_parameters(networks.build_paper_network())
    paper_flops = networks.forward_flops_of_paper(args.side)

    whole = paper_flops * networks.PAPER_STEPS
    rows = [
        ("paper, published (128 px)", networks.PAPER_PARAMETERS, networks.PAPER_FLOPS, networks.PAPER_STEPS),
        ("paper, rebuilt", paper, paper_flops, networks.PAPER_STEPS),
        (f"ours, {name}", ours, our_flops, args.steps),
        (f"ours, {name}, guided", ours, our_flops, 2 * args.steps),
    ]
    print_table(HEADER, [_cells(*row, whole) for row in rows])


def _cells(name: str, parameters: float, flops: float, forwards: int, whole: float) -> tuple[object, ...]:
    return (
        name,
        f"{parameters / 1e6:.1f}",
        f"{flops / 1e9:.2f}",
        forwards,
        f"{flops * forwards / 1e12:.3f}",
        f"{whole / (flops * forwards):.3g}",
    )


if __name__ == "__main__":
    main()
