"""Visitors who ask for one tile each at the same moment: one at a time, against forwards that they share.

    python -m benchmarks.batching [--visitors 1 2 4 8]

    --checkpoint       name in --checkpoints-dir or path; default: medi-128
    --checkpoints-dir  default: checkpoints
    --visitors         how many ask at once, one setting a number; default: 1 2 4 8
    --steps            denoising steps of a tile; default: 12
    --guidance         1 = none: one row a tile and step instead of two; default: 2
    --repeats          of each setting, both ways in turn; default: 3
    --device, --dtype  default: auto, auto

Waiting is from the question to the tile. Medians over the repeats, ratios of medians of the same run.
"""

import argparse
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from benchmarks.tables import log, print_table
from medi_core.checkpoints import load_checkpoint
from medi_core.device import choose_device, choose_dtype
from medi_core.metadata.schema import MetadataRecord
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import GenerationRequest

HEADER = ("visitors", "forwards", "tiles/s", "wait p50 (s)", "wait p95 (s)", "tiles/s ÷ one at a time")
ONE, SHARED = "one at a time", "shared"


def main() -> None:
    args = _parse()
    device = choose_device(args.device)
    checkpoint = load_checkpoint(args.checkpoint, args.checkpoints_dir, device, choose_dtype(args.dtype, device))
    service = GenerationService(checkpoint, batch_size=1)
    log(f"{checkpoint.id}, {device}, {checkpoint.pipeline.denoiser.dtype}")
    attribute = service.vocabulary.attributes[0]
    record = MetadataRecord(**{attribute: service.vocabulary.values[attribute][0]})

    def make(seed: int) -> None:
        service.generate(GenerationRequest(record, (seed,), args.steps, args.guidance))

    make(0)  # chooses kernels
    print_table(HEADER, rows(make, args.visitors, args.repeats))


def rows(make: Callable[[int], None], visitors: list[int], repeats: int) -> list[tuple[object, ...]]:
    """The table: `make` is called with a seed, by each visitor once a repeat."""
    made = []
    for num in visitors:
        waits: dict[str, list[list[float]]] = {ONE: [], SHARED: []}
        for _ in range(repeats):
            for how, in_turn in ((ONE, threading.Lock()), (SHARED, nullcontext())):
                waits[how].append(_waits(make, num, in_turn))
        # the last one served ends the repeat
        rates = {how: num / float(np.median([max(times) for times in many])) for how, many in waits.items()}
        for how, many in waits.items():
            p50, p95 = np.percentile(many, (50, 95))
            ratio = f"{rates[how] / rates[ONE]:.2f}"
            log(f"{num} visitors, {how}: {p50:.2f} s")
            made.append((num, how, f"{rates[how]:.2f}", f"{p50:.2f}", f"{p95:.2f}", ratio))
    return made


def _waits(make: Callable[[int], None], num: int, in_turn: AbstractContextManager) -> list[float]:
    """Seconds that each of the visitors waited, who come together."""
    together = threading.Barrier(num)

    def visit(seed: int) -> float:
        together.wait()
        start = time.perf_counter()
        with in_turn:
            make(seed)
        return time.perf_counter() - start

    with ThreadPoolExecutor(num) as pool:
        return list(pool.map(visit, range(num)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="medi-128")
    parser.add_argument("--checkpoints-dir", type=Path, default=Path("checkpoints"))
    parser.add_argument("--visitors", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
