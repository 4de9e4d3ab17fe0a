"""Training tiles a second of one process and of several, at the same global batch, in one run.

    python -m benchmarks.scaling [--processes 1 2] [--global-batch 8] [--steps 6] [--widths 96,192,288]

CPU processes with one thread each, float32, joined by gloo. A row is the median step after two that are not counted.
Efficiency: tiles a second over n times those of one process. Tiles are random pixels: speed does not depend on them.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
from dataclasses import replace

from benchmarks.tables import log, print_table
from medi_core.commands.parsing import widths

WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--global-batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--widths", type=widths, default=(96, 192, 288))
    args = parser.parse_args()
    if "RANK" in os.environ:
        measure(args)
        return
    rates = {n: _launch(n) for n in args.processes}
    base = rates[args.processes[0]] / args.processes[0]
    rows = [(n, args.global_batch, f"{rate:.2f}", f"{rate / (n * base):.0%}") for n, rate in rates.items()]
    print_table(("processes", "global batch", "tiles/s", "efficiency"), rows)


def measure(args: argparse.Namespace) -> None:
    """One process of a training; the first prints its tiles a second."""
    from benchmarks import networks
    from medi_core.training.train_diffusion import DiffusionTrainingConfig

    config = replace(
        DiffusionTrainingConfig(), global_batch=args.global_batch, num_steps=args.steps, block_out_channels=args.widths
    )
    training = networks.build_training(config, mixed_precision="no")
    rates = [step.tiles_per_second for step in training.steps()]
    if training.accelerator.is_main_process:
        print(statistics.median(rates[WARM_UP:]))
    training.accelerator.end_training()


def _launch(num_processes: int) -> float:
    """Start all processes of a training with this command line; the tiles a second that the first one prints."""
    log(f"{num_processes} processes …")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {
        "WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "1",
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scaling", *sys.argv[1:]],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_processes)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"a process failed: {[process.returncode for process in processes]}")
    return float(outputs[0].split()[-1])


if __name__ == "__main__":
    main()
