"""Commands that train."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medi_core.commands.parsing import add_command, names, widths
from medi_core.errors import InvalidRequestError

# Heavy imports stand inside the commands that need them: `--help` answers at once.


def add_training_commands(commands) -> None:
    """train-diffusion, adapt, distill."""
    command = add_command(commands, "train-diffusion", train_diffusion, "train a checkpoint, or resume a training")
    command.add_argument("--manifest", type=Path, required=True, help="table, or folder of WebDataset tars")
    command.add_argument("--out", type=Path, required=True, help="run folder: state, checkpoint, samples, log.csv")
    command.add_argument("--init", type=Path, metavar="CHECKPOINT", help="folder whose weights to start from")
    command.add_argument("--minutes", type=float, help="stop after so much wall-clock time")
    command.add_argument("--num-steps", type=int)
    command.add_argument("--warmup-steps", type=int)
    command.add_argument("--decay-steps", type=int, help="learning rate falls to 0 over the last so many steps")
    command.add_argument("--global-batch", type=int, help="tiles a step over all processes")
    command.add_argument("--learning-rate", type=float)
    command.add_argument("--ema-decay", type=float, help="of the averaged weights, in [0, 1)")
    command.add_argument("--seed", type=int)
    command.add_argument(
        "--attributes",
        type=names,
        help="comma-separated; default: those of the shipped checkpoint",
    )
    command.add_argument("--widths", type=widths, dest="block_out_channels", help="U-Net widths, e.g. 96,192,288")
    command.add_argument("--patch-px", type=int, help="side of the blocks that the U-Net works on (default: 4)")
    command.add_argument("--head-channels", type=int, help="channels a pixel between U-Net and head (default: 16)")
    command.add_argument("--precision", choices=("no", "bf16"), default="bf16")
    command.add_argument("--compile", action="store_true", help="torch.compile: slow start, faster steps")
    command.add_argument("--workers", type=int, default=1, help="loader processes")
    command.add_argument("--save-every", type=float, default=5.0, help="minutes between saves")

    command = add_command(
        commands, "adapt", adapt, "teach a checkpoint new centers: new embedding rows only, in minutes"
    )
    command.add_argument("--manifest", type=Path, required=True, help="tiles of the new centers, some hundred of each")
    command.add_argument("--checkpoint", help="name, folder or hub id (default: medi-128)")
    command.add_argument("--out", type=Path, required=True, help="folder of the new checkpoint")
    command.add_argument("--attributes", type=names, help="that get new values, comma-separated (default: center)")
    command.add_argument("--minutes", type=float, help="stop after so much wall-clock time")
    command.add_argument("--num-steps", type=int, help="at most (default: 400)")
    command.add_argument("--global-batch", type=int, help="tiles a step (default: 16)")
    command.add_argument("--learning-rate", type=float)
    command.add_argument("--seed", type=int)
    command.add_argument("--precision", choices=("no", "bf16"), default="bf16")

    command = add_command(commands, "distill", distill, "make a few-step checkpoint of another, or resume that")
    command.add_argument("--manifest", type=Path, required=True, help="the one that the checkpoint was trained with")
    command.add_argument("--checkpoint", help="the teacher, or a student to train on (default: medi-128)")
    command.add_argument("--out", type=Path, required=True, help="run folder: state, checkpoint, samples, log.csv")
    command.add_argument(
        "--num-inference-steps", type=int, help="network evaluations a tile, 1 to 4 (2, or the student's)"
    )
    command.add_argument("--guidance-scale", type=float, help="recorded: what the student is to be used with")
    command.add_argument("--minutes", type=float, help="stop after so much wall-clock time")
    command.add_argument("--num-steps", type=int)
    command.add_argument("--global-batch", type=int, help="tiles a step (default: 16)")
    command.add_argument("--learning-rate", type=float)
    command.add_argument("--discriminator-learning-rate", type=float)
    command.add_argument("--adversarial-weight", type=float)
    command.add_argument(
        "--mismatch-weight", type=float, help="of telling real tiles under other metadata (default: 1)"
    )
    command.add_argument(
        "--variety-weight", type=float, help="of varying as real tiles of the same metadata do (default: 0.1)"
    )
    command.add_argument("--drop-tail", type=float, help="chance that the last attributes are left open (default: 0.5)")
    command.add_argument(
        "--recombine",
        action=argparse.BooleanOptionalAction,
        help="ask for the cancer type of one tile with the rest of another in a quarter of a batch (default: on)",
    )
    command.add_argument("--penalty-weight", type=float)
    command.add_argument("--discriminator-network", help="efficientnet-lite2 (default) or efficientnet-lite0")
    command.add_argument("--ema-decay", type=float, help="of the averaged weights, in [0, 1)")
    command.add_argument("--seed", type=int)
    command.add_argument("--precision", choices=("no", "bf16"), default="bf16")
    command.add_argument("--compile", action="store_true", help="torch.compile: slow start, faster steps")
    command.add_argument("--workers", type=int, default=1, help="loader processes")
    command.add_argument("--save-every", type=float, default=5.0, help="minutes between saves")


def train_diffusion(flags: argparse.Namespace) -> dict[str, Any]:
    """Train, or resume, a checkpoint."""
    from medi_core.data.tile_dataset import SamplingConfig
    from medi_core.training.run import run_training
    from medi_core.training.train_diffusion import DiffusionTrainingConfig

    _check_workers(flags)
    overrides = _overrides(flags, DiffusionTrainingConfig)
    seed = flags.seed or 0  # one seed for all draws of a run
    # of a folder of tars each tile is seen once an epoch
    overrides["sampling"] = (
        SamplingConfig(temperature=1.0, seed=seed) if flags.manifest.is_dir() else SamplingConfig(seed=seed)
    )

    def on_step(step) -> None:
        if step.step % 20 == 0 and not flags.json:
            rate = f"{step.tiles_per_second:.1f} tiles/s"
            print(f"step {step.step}  loss {step.loss:.4f}  lr {step.learning_rate:.2e}  {rate}", flush=True)

    step = run_training(
        flags.manifest,
        flags.out,
        DiffusionTrainingConfig(**overrides),
        minutes=flags.minutes,
        save_every_minutes=flags.save_every,
        compile_model=flags.compile,
        num_workers=flags.workers,
        mixed_precision=flags.precision,
        initial_checkpoint=flags.init,
        on_step=on_step,
    )
    return {"step": step, "checkpoint": str(flags.out / "checkpoint")}


def adapt(flags: argparse.Namespace) -> dict[str, Any]:
    """Adapt a checkpoint to new centers."""
    from medi_core.settings import TEACHER, Settings
    from medi_core.training.adapt import AdaptationConfig
    from medi_core.training.adaptation_run import run_adaptation

    def on_report(report) -> None:
        if not flags.json:
            kept = "  kept" if report.is_best and report.step else ""
            print(f"step {report.step}  validation loss {report.validation_loss:.4f}{kept}", flush=True)

    overrides = _overrides(flags, AdaptationConfig)
    settings = Settings.from_environment(checkpoint=flags.checkpoint or TEACHER)
    record = run_adaptation(
        flags.manifest,
        settings.checkpoint,
        settings.checkpoints_dir,
        flags.out,
        AdaptationConfig(**overrides),
        minutes=flags.minutes,
        mixed_precision=flags.precision,
        on_report=on_report,
    )
    return {"checkpoint": str(flags.out)} | record


def distill(flags: argparse.Namespace) -> dict[str, Any]:
    """Distil a checkpoint, or go on with it."""
    from medi_core.checkpoints import find_checkpoint, read_distillation
    from medi_core.settings import TEACHER, Settings
    from medi_core.training.distill import DistillationConfig
    from medi_core.training.distillation_run import run_distillation

    def on_step(step) -> None:
        if step.step % 20 == 0 and not flags.json:
            losses = {name.removesuffix("_loss"): loss for name, loss in asdict(step).items() if name != "step"}
            shown = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
            print(f"step {step.step}  loss: {shown}", flush=True)

    _check_workers(flags)
    overrides = _overrides(flags, DistillationConfig)
    settings = Settings.from_environment(checkpoint=flags.checkpoint or TEACHER)
    if student := read_distillation(find_checkpoint(settings.checkpoint, settings.checkpoints_dir)):
        kept = {"num_inference_steps": student.num_inference_steps, "guidance_scale": student.guidance_scale}
        overrides = kept | overrides
    step = run_distillation(
        flags.manifest,
        settings.checkpoint,
        settings.checkpoints_dir,
        flags.out,
        DistillationConfig(**overrides),
        minutes=flags.minutes,
        save_every_minutes=flags.save_every,
        compile_model=flags.compile,
        num_workers=flags.workers,
        mixed_precision=flags.precision,
        on_step=on_step,
    )
    return {"step": step, "checkpoint": str(flags.out / "checkpoint")}


def _overrides(flags: argparse.Namespace, config: type) -> dict[str, Any]:
    """What was given of the fields of a configuration; the others keep their defaults."""
    fields = config.__dataclass_fields__
    return {name: value for name, value in vars(flags).items() if name in fields and value is not None}


def _check_workers(flags: argparse.Namespace) -> None:
    if flags.workers < 0:
        raise InvalidRequestError(f"--workers {flags.workers}: it must be 0 or more")
