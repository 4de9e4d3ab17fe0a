"""A picture of what a training can do so far: a grid of tiles, drawn anew at each save."""

from pathlib import Path

import torch
from PIL import Image

from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.pipelines.medi_pipeline import MediPipeline
from medi_core.storage import translate_write_errors


def write_sample_grid(
    pipeline: MediPipeline, path: Path, side_px: int, columns: int = 8, rows: int = 4, num_inference_steps: int = 20
) -> None:
    """Rows: the conditions of `grid_records`; columns: seeds 0, 1, 2 …

    Raises:
        StorageError: the picture could not be written.
    """
    vocabulary = pipeline.metadata_embedder.vocabulary
    records = grid_records(vocabulary, rows)
    ids = [vocabulary.encode(record) for record in records for _ in range(columns)]
    seeds = list(range(columns)) * len(records)
    # weights in training are float32; mixed precision gives the grid the speed of the shipped bfloat16
    with torch.autocast(pipeline.device.type, torch.bfloat16):
        tiles = pipeline(torch.tensor(ids), seeds, num_inference_steps, height_px=side_px, width_px=side_px)
    grid = tiles.reshape(len(records), columns, side_px, side_px, 3).swapaxes(1, 2).reshape(-1, columns * side_px, 3)
    with translate_write_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grid).save(path)


def grid_records(vocabulary: Vocabulary, num: int) -> list[MetadataRecord]:
    """The (cancer type, center) pairs with most patients; where there are none, values of the first attribute."""
    if {"cancer_type", "center"} <= set(vocabulary.attributes) and vocabulary.pair_support:
        return [MetadataRecord(*pair) for pair in vocabulary.pairs_by_support()[:num]]
    first = vocabulary.attributes[0]
    return [MetadataRecord(**{first: value}) for value in vocabulary.values[first][:num]]
