"""What looking at tiles costs: encoding, comparing, placing and drawing them. Made-up tiles and features, no data.

    python -m benchmarks.features [--encoder efficientnet-lite0] [--device cpu] [--tiles 512] [--url http://…]

    --encoder  of the catalogue; default: efficientnet-lite0
    --device   default: cpu
    --tiles    encoded, 128 × 128 px each; default: 512
    --url      of a running app: also the time from a click on the tab Map to the drawn map, in headless
               Chromium (on the path, or CHROMIUM=/path/to/it)

Goals on two cores: encode at least 200 tiles/s; fidelity of 2,000 against 2,000 tiles within 10 s; 8 new tiles
placed within 0.3 s; the map of 10,000 points drawn within 2 s.
"""

import argparse
import os
import shutil
import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import pandas as pd
import torch

from benchmarks.tables import log, print_table
from benchmarks.timing import describe_device
from medi_core.data.reference_set import COLUMNS, ReferenceSet
from medi_core.figures.embedding_map import embedding_map_figure
from medi_core.models.tile_encoder import TileEncoder
from medi_core.projection import place_by_neighbours
from medi_core.services.fidelity import FidelityConfig, fidelity_table

DIM, NUM_POINTS, NUM_COMPARED, NUM_CENTERS = 512, 10_000, 2_000, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiles", type=int, default=512)
    parser.add_argument("--url")
    args = parser.parse_args()

    rows = []
    for row in measurements(args):
        log(", ".join(map(str, row)))
        rows.append(row)
    print(f"{describe_device(torch.device(args.device))}\n")
    print_table(("what", "s", "s of processor", "goal"), rows)


def measurements(args: argparse.Namespace) -> Iterator[tuple[str, str, str, str]]:
    """One row after the other, each made when it is asked for."""
    rng = np.random.default_rng(0)
    encoder = TileEncoder(args.encoder, args.device)
    tiles = rng.integers(0, 256, (args.tiles, 128, 128, 3), dtype=np.uint8)
    goal = f"{args.tiles / 200:.1f} (200 tiles/s)"
    yield f"encode {args.tiles} tiles, {args.encoder}", *cost(lambda: encoder.encode(tiles)), goal

    reference, config = made_up_reference(rng), FidelityConfig(max_tiles=NUM_COMPARED)
    n = fidelity_table(reference, "overall", config)["n"].iloc[0]
    what = f"fidelity of {n:,} against {n:,} tiles, all measures, {NUM_SIDES} sides"
    yield what, *cost(lambda: fidelity_table(reference, "overall", config)), "10"

    features, places = rng.normal(size=(NUM_POINTS, DIM)).astype(np.float32), rng.normal(size=(NUM_POINTS, 2))
    new = features[:8] + 0.01
    what = f"place 8 tiles among {NUM_POINTS:,}, features given"
    yield what, *cost(lambda: place_by_neighbours(new, features, places, 5)), "0.3"

    points = made_up_points(rng, places)
    what = f"figure of {NUM_POINTS:,} points as JSON"
    yield what, *cost(lambda: embedding_map_figure(points, "center", False).to_json()), "–"
    if args.url:
        yield "from the click on Map to the drawn map", f"{seconds_to_paint(args.url):.2f}", "–", "2"


def cost(run: Callable[[], object]) -> tuple[str, str]:
    """Median seconds of three calls after one to warm up: of the clock, and of the processor, all threads together."""
    run()
    walls, processors = [], []
    for _ in range(3):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return f"{median(walls):.2f}", f"{median(processors):.2f}"


NUM_SIDES = 2
"""Synthetic tiles and other patients' real ones, each against the held-out tiles."""


def made_up_reference(rng: np.random.Generator) -> ReferenceSet:
    """Held-out, training and synthetic tiles of one cell each."""
    sides = {
        "test": {"origin": "real", "group": "real", "split": "test"},
        "train": {"origin": "real", "group": "real", "split": "train"},
        "made": {"origin": "synthetic", "group": "seen"},
    }
    parts = [
        pd.DataFrame(facts, index=range(NUM_COMPARED)).assign(
            patient_id=[f"{name}-{i % 100}" for i in range(NUM_COMPARED)]
        )
        for name, facts in sides.items()
    ]
    tiles = pd.concat(parts, ignore_index=True).assign(cancer_type="a", center="b").reindex(columns=COLUMNS)
    return ReferenceSet(tiles, rng.normal(size=(len(tiles), DIM)).astype(np.float32), {})


def made_up_points(rng: np.random.Generator, places: np.ndarray) -> pd.DataFrame:
    """As many as a map holds, of 40 centers."""
    origin = np.where(rng.random(NUM_POINTS) < 0.1, "synthetic", "real")
    center = [f"Center {i}" for i in rng.integers(0, NUM_CENTERS, NUM_POINTS)]
    ids = [str(i) for i in range(NUM_POINTS)]
    return pd.DataFrame({"id": ids, "x": places[:, 0], "y": places[:, 1], "origin": origin, "center": center})


def seconds_to_paint(url: str) -> float:
    """Median of 3 fresh visits: the first also reads the reference set."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(3):
            page = browser.new_page()
            page.goto(url)
            tab = page.get_by_role("tab", name="Map")
            tab.wait_for()
            start = time.perf_counter()
            tab.click()
            page.wait_for_selector("#map-plot [data-drawn]", timeout=60_000)
            seconds.append(time.perf_counter() - start)
            page.close()
        browser.close()
    return median(seconds)


if __name__ == "__main__":
    main()
