"""A cohort of somebody's own as a zip: made-up tiles, a table with column names of its own, and some bad rows."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tests.toys import synthetic_tissue

LUNG, BREAST = "Lung_adenocarcinoma", "Breast_invasive_carcinoma"
NUM = 12


def png(seed: int, side_px: int = 128) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(synthetic_tissue(side_px, seed)).save(buffer, "PNG")
    return buffer.getvalue()


def cohort_table() -> pd.DataFrame:
    """12 good rows of 6 patients at Lyon and Nice, which no checkpoint knows."""
    i = np.arange(NUM)
    return pd.DataFrame(
        {
            "File name": [f"tiles/{n}.png" for n in i],
            "Diagnosis": np.where(i % 2, LUNG, BREAST),
            "Hospital": np.where(i < 8, "Lyon", "Nice"),
            "Patient ID": [f"P{n // 2}" for n in i],
            "Comment": "ours",
        }
    )


def write_cohort(path: Path, table: pd.DataFrame | None = None, images: dict[str, bytes] | None = None) -> Path:
    """The zip; `images` replaces those that are made for the table's rows."""
    table = cohort_table() if table is None else table
    return write_zip(path, table, {f"tiles/{n}.png": png(n) for n in range(NUM)} | (images or {}))


def write_zip(path: Path, table: pd.DataFrame, images: dict[str, bytes]) -> Path:
    """A zip of one table and its images."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cohort.csv", table.to_csv(index=False))
        for name, content in images.items():
            archive.writestr(name, content)
    return path
