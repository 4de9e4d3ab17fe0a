"""Regions of 512 px made in overlapping windows: have they seams, do they repeat themselves, is the stain the same?

    python -m benchmarks.regions --manifest tiles.csv [--checkpoint NAME] [--regions 4] [--into docs/fidelity.md]

    --manifest      real tiles: regions of their files that are large enough are what to compare with (required)
    --regions       synthetic ones, of the best supported cancer types and centers in turn; default: 4
    --real-regions  at most so many real ones, spread over their patients; default: 60
    --crop-px       side of what is compared of both, cut from the corner: few real files are larger; default: 448
    --steps         denoising steps; default: those of the checkpoint
    --into          a page: its block 'regions' is written anew

Seam: energy of the gradient across window borders over that elsewhere, at the same places of real regions.
Repetition: highest correlation of a region with itself, shifted by 24 px or more. Stain: spread of a stain's strength
over the four quarters, their highest less their lowest over their mean. 95 % intervals: real regions of a patient (or,
without one, of a data set) are one case, each synthetic one is one.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.tables import log
from medi_core.bootstrap import build_services
from medi_core.commands.parsing import markdown_table
from medi_core.data.manifest import read_manifest
from medi_core.data.patients import in_turns, patients_of
from medi_core.data.tile_dataset import read_image
from medi_core.metadata.schema import MetadataRecord
from medi_core.metrics.intervals import cluster_bootstrap
from medi_core.metrics.regions import repetition_peak, seam_ratio
from medi_core.pipelines.windows import window_starts
from medi_core.services.generation import GenerationService
from medi_core.services.generation_request import WINDOW_PX, GenerationRequest
from medi_core.services.release import REGIONS, write_block
from medi_core.settings import Settings
from medi_core.stain.separation import stain_strengths

SIDE_PX = 512
FIRST_SEED = 30_000
MEASURES = ("seam", "repetition", "hematoxylin spread", "eosin spread")
STARTS = window_starts(SIDE_PX, WINDOW_PX)
BORDERS = sorted({*STARTS, *(start + WINDOW_PX for start in STARTS)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--checkpoint")
    parser.add_argument("--regions", type=int, default=4)
    parser.add_argument("--real-regions", type=int, default=60)
    parser.add_argument("--crop-px", type=int, default=448)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--into", type=Path)
    args = parser.parse_args()
    generation = build_services(Settings.from_environment(checkpoint=args.checkpoint)).generation
    rows = [*_real(args), *_synthetic(generation, args)]
    steps = "" if args.steps is None else f" --steps {args.steps}"
    command = f"python -m benchmarks.regions --manifest tiles.csv --regions {args.regions}{steps}"
    shown = markdown_table(table(pd.DataFrame(rows)))
    text = "\n\n".join([f"```\n{command}\n```", _made_from(generation, args), shown])
    if args.into is None:
        print(text)
    else:
        write_block(args.into, REGIONS, text)


def measures_of(region: np.ndarray) -> dict[str, float]:
    """`MEASURES` of a region, uint8 `(S, S, 3)`; a spread is NaN where a quarter has too little tissue."""
    gray, half = region.mean(axis=-1), len(region) // 2
    quarters = [region[top : top + half, left : left + half] for top in (0, half) for left in (0, half)]
    strengths = np.array([stain_strengths(quarter) for quarter in quarters])
    spreads = np.ptp(strengths, axis=0) / strengths.mean(axis=0)
    values = (seam_ratio(gray, BORDERS), repetition_peak(gray), *map(float, spreads))
    return dict(zip(MEASURES, values, strict=True))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a kind of region: regions, patients, and the mean of each measure with its interval."""
    lines = []
    for kind, part in rows.groupby("kind", sort=False):
        line = {"regions": kind, "n": len(part), "patients": part["like"].nunique() if kind == "real" else "–"}
        for name in MEASURES:
            known = part.dropna(subset=name)
            low, high = cluster_bootstrap(known[name].to_numpy(), known["like"])
            line[name] = f"{known[name].mean():.3f} [{low:.3f}, {high:.3f}]" if len(known) else None
        lines.append(line)
    return pd.DataFrame(lines)


def _real(args: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Files of the manifest that hold a crop, no second one of a patient before a first of all."""
    manifest = read_manifest(args.manifest)
    manifest = manifest[manifest["origin"] != "synthetic"]
    # grid tiles tell how large a file is at least, without opening it
    reach = manifest.groupby("path")[["x", "y"]].max().min(axis=1) + 128
    large = manifest[manifest["path"].isin(reach[reach >= args.crop_px - 128].index)].drop_duplicates("path")
    taken = 0
    for _, row in in_turns(large.assign(like=patients_of(large)), ["like"], 0).iterrows():
        if taken == args.real_regions:
            return
        image = read_image(row["path"])
        if min(image.shape[:2]) < args.crop_px:
            continue
        taken += 1
        log(f"real region {taken}")
        yield {"kind": "real", "like": row["like"], **measures_of(image[: args.crop_px, : args.crop_px])}


def _synthetic(generation: GenerationService, args: argparse.Namespace) -> Iterator[dict[str, object]]:
    pairs = generation.vocabulary.pairs_by_support()
    for i in range(args.regions):
        cancer_type, center = pairs[i % len(pairs)]
        log(f"synthetic region {i + 1} of {args.regions}: {cancer_type} at {center}")
        request = GenerationRequest(
            MetadataRecord(cancer_type=cancer_type, center=center),
            (FIRST_SEED + i,),
            num_inference_steps=args.steps,
            side_px=(SIDE_PX, SIDE_PX),
            window_px=WINDOW_PX,
        )
        image = generation.generate(request)[0].image
        yield {"kind": "synthetic", "like": str(i), **measures_of(image[: args.crop_px, : args.crop_px])}


def _made_from(generation: GenerationService, args: argparse.Namespace) -> str:
    return (
        f"{args.regions} regions of {SIDE_PX} px of {generation.checkpoint.id} in windows of {WINDOW_PX} px, seeds "
        f"{FIRST_SEED} to {FIRST_SEED + args.regions - 1}; {args.crop_px} px\nof each, and as much of real regions. "
        "Mean [95 %]."
    )


if __name__ == "__main__":
    main()
