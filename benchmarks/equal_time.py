"""The paper's configuration and ours, with all metadata and with the cancer type alone, at equal time: KID.

    python -m benchmarks.equal_time --train paper --manifest tiles.csv --work runs/equal-time [--at 5 10 20 40]
    python -m benchmarks.equal_time --train ours --manifest tiles.csv --work runs/equal-time [--at 5 10 20 40]
    python -m benchmarks.equal_time --train class-only --manifest tiles.csv --work runs/equal-time [--at 5 10 20 40]
    python -m benchmarks.equal_time --report --manifest tiles.csv --work runs/equal-time [--plot docs/equal-time.svg]

    --manifest         grid tiles with split and patient_id (required)
    --work             folder of the trainings (required); a training stopped before its end goes on from there
    --train            paper, ours or class-only (ours, told the cancer type alone): train it, on one thread; or
    --report           compare all snapshots that there are
    --at               minutes of processor time after which a snapshot is made; default: 5 10 20 40
    --minutes          training: stop after so many CPU minutes more. Report: what is not begun by then is "not run"
    --precision        bf16 or no, of all trainings; default: bf16
    --global-batch     tiles a step, of all; default: 16
    --warmup-steps     of the learning rate, of all; default: 20, for a run has only hundreds of steps
    --learning-rate    default: that of the configuration, 1e-4 for the paper's and 4e-4 for ours
    --paper-scale      factor of the paper's widths; default: 1/4
    --widths, --patch-px, --head-channels   ours; default: those of DiffusionTrainingConfig
    --paper-sampler, --paper-steps          default: ddim, 100. The authors' code: dpmsolver, 50
    --steps            of ours; default: that of the pipeline
    --splits, --tiles, --batch, --subset-size, --device, --dtype   of the report, as in benchmarks/kid.py
    --plot             SVG to write; default: equal-time.svg in --work

The clock is the training process's own processor time, so a busy machine slows a training and does not cut it short.
Guidance is 1 for all: the paper uses none. KID as in benchmarks/kid.py: same real tiles, metadata, seeds and encoder.
A distance once measured is kept beside its snapshot and not measured again.
"""

import argparse
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks import fidelity, networks
from benchmarks.cpu_training import train
from benchmarks.equal_time_report import NAMES, report
from benchmarks.paper_training import PaperTraining, paper_config, save_paper_model
from benchmarks.stock_sampling import PAPER_SAMPLERS
from benchmarks.tables import run
from medi_core.checkpoints import save_checkpoint
from medi_core.commands.parsing import widths
from medi_core.data.manifest import read_manifest
from medi_core.training.run import build_pipeline, load_dataset
from medi_core.training.train_diffusion import DiffusionTraining, DiffusionTrainingConfig


def main() -> None:
    args = _parse()
    if args.train:
        _train(args)
    else:
        report(args)


def _train(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    config = training_config(args)
    dataset = load_dataset(read_manifest(args.manifest), "train", config)
    accelerator = Accelerator(mixed_precision=args.precision, cpu=True)
    build = PaperTraining if args.train == "paper" else DiffusionTraining
    training = build(config, dataset, accelerator)

    def write(folder: Path, record: dict[str, Any]) -> None:
        if args.train == "paper":
            save_paper_model(training, folder, record)
        else:
            save_checkpoint(build_pipeline(training), folder, record)

    train(training, args.work / args.train, args.at, args.minutes, write)


def training_config(args: argparse.Namespace) -> DiffusionTrainingConfig:
    """What to train, from the flags; what they share is the same for all."""
    shared = {"global_batch": args.global_batch, "warmup_steps": args.warmup_steps, "seed": args.seed}
    if args.learning_rate:
        shared["learning_rate"] = args.learning_rate
    if args.train == "paper":
        return paper_config(args.paper_scale, **shared)
    if args.train == "class-only":
        shared["attributes"] = ("cancer_type",)
    own = {"block_out_channels": args.widths, "patch_px": args.patch_px, "head_channels": args.head_channels}
    return replace(DiffusionTrainingConfig(), **shared, **{k: v for k, v in own.items() if v is not None})


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    phase = parser.add_mutually_exclusive_group(required=True)
    phase.add_argument("--train", choices=tuple(NAMES))
    phase.add_argument("--report", action="store_true")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--at", nargs="+", type=float, default=[5.0, 10.0, 20.0, 40.0])
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--precision", choices=("bf16", "no"), default="bf16")
    parser.add_argument("--global-batch", type=int, default=16)
    parser.add_argument("--warmup-steps", type=int, default=20)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--paper-scale", type=Fraction, default=Fraction(1, 4))
    parser.add_argument("--widths", type=widths)
    parser.add_argument("--patch-px", type=int)
    parser.add_argument("--head-channels", type=int)
    parser.add_argument("--paper-sampler", choices=tuple(PAPER_SAMPLERS), default="ddim")
    parser.add_argument("--paper-steps", type=int, default=networks.PAPER_STEPS)
    parser.add_argument("--steps", type=int, default=networks.DEFAULT_STEPS)
    parser.add_argument("--plot", type=Path)
    return fidelity.parse(parser)


if __name__ == "__main__":
    run(main)
