"""What probes see in the tiles of one or more checkpoints, and how much tiles of a cell vary: to choose between them.

    python -m benchmarks.agreement --checkpoints medi-128-fast [other …] [--tiles-a-pair 12]

    --checkpoints      names in --checkpoints-dir or paths. Copy the checkpoint of a running training first
    --checkpoints-dir  default: checkpoints
    --reference        reference set with the real tiles and the pairs; default: assets/reference
    --tiles-a-pair     generated tiles of each (cancer type, center) pair of the set; default: 12
    --steps            network evaluations a tile; default: 2
    --batch            tiles in one call; default: 16
    --device, --dtype  default: auto, bfloat16

The probes are those of the tab Fidelity. Choose by the agreement on never-seen pairs: its probes learn from training
tiles alone; the ratios read test patients, the variance all. "Variance within cells": of features, as a share of that
of the real tiles, in the mean over the pairs with at least 24 of them. A pair's metadata are its cancer type and
center, all else is left open.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.fidelity import Sampling, generate
from benchmarks.tables import log, print_table
from medi_core.checkpoints import load_checkpoint
from medi_core.data.reference_set import ReferenceSet, read_reference
from medi_core.device import choose_device, choose_dtype
from medi_core.metadata.schema import MetadataRecord
from medi_core.models.tile_encoder import TileEncoder
from medi_core.services.probe_targets import probe_targets
from medi_core.services.synthetic_bank import TRAINED, UNSEEN

MIN_REAL = 24
"""Tiles of a pair, for its variance to be compared."""
FIRST_SEED = 5000
"""Tiles of the shipped bank have others."""
PAIR = ["cancer_type", "center"]


def main() -> None:
    args = _parse()
    device = choose_device(args.device)
    encoder, reference = TileEncoder(device=device), read_reference(args.reference)
    tiles = reference.synthetic.tiles
    asked = tiles[tiles["group"].isin([*TRAINED, UNSEEN])].groupby(["group", *PAIR]).head(args.tiles_a_pair)
    records = [MetadataRecord(cancer_type=one.cancer_type, center=one.center) for one in asked.itertuples()]
    rows = []
    for name in args.checkpoints:
        checkpoint = load_checkpoint(name, args.checkpoints_dir, device, choose_dtype(args.dtype, device))
        ids = torch.tensor([checkpoint.vocabulary.encode(record) for record in records])
        sampling = Sampling(args.steps, 1.0, len(ids), args.batch, first_seed=FIRST_SEED)
        made = [encoder.encode(batch) for batch in generate(checkpoint.pipeline, ids, sampling)]
        compared = beside_real(reference, asked, np.concatenate(made))
        rows += [(checkpoint.id, *row) for row in _rows(compared)]
        log(f"{checkpoint.id}: {len(ids)} tiles")
    print_table(("checkpoint", "what", "measured", "95 %", "n"), rows)


def beside_real(reference: ReferenceSet, asked: pd.DataFrame, features: np.ndarray) -> ReferenceSet:
    """The real tiles of a reference set, and generated ones in the place of its own.

    Args:
        asked: rows of the set, one a generated tile.
        features: float32 `(N, D)` of these.
    """
    real = reference.real
    tiles = pd.concat([real.tiles, asked], ignore_index=True)
    return ReferenceSet(tiles, np.concatenate([real.features, features]), reference.facts)


def variance_within_cells(compared: ReferenceSet) -> tuple[float, int]:
    """Of the features of generated tiles as a share of that of real ones, in the mean over pairs; and their number."""
    tiles, shares = compared.tiles, []
    for _, cell in tiles[tiles["group"].isin(["real", *TRAINED])].groupby(PAIR):
        is_real = cell["origin"] == "real"
        real, made = (compared.features[cell.index[part]] for part in (is_real, ~is_real))
        if len(real) >= MIN_REAL and len(made) >= 2:
            shares.append(made.var(axis=0, ddof=1).sum() / real.var(axis=0, ddof=1).sum())
    return (float(np.mean(shares)) if shares else float("nan")), len(shares)


def _rows(compared: ReferenceSet) -> list[tuple[str, ...]]:
    rows = [
        (target.what, f"{target.value:.2f}", "[{:.2f}, {:.2f}]".format(*target.interval), str(target.n))
        for target in probe_targets(compared)
        if not np.isnan(target.value)
    ]
    share, num_cells = variance_within_cells(compared)
    return [*rows, ("variance within cells ÷ that of real tiles", f"{share:.2f}", "–", f"{num_cells} pairs")]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", nargs="+", required=True)
    parser.add_argument("--checkpoints-dir", type=Path, default=Path("checkpoints"))
    parser.add_argument("--reference", type=Path, default=Path("assets/reference"))
    parser.add_argument("--tiles-a-pair", type=int, default=12)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bfloat16")
    return parser.parse_args()


if __name__ == "__main__":
    main()
