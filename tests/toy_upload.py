"""A made-up cohort as a zip: columns under other names, and rows that cannot be used."""

import io
import zipfile
from pathlib import Path

import pandas as pd
from PIL import Image

from tests.toys import synthetic_tissue

NUM_GOOD = 12


def png_of(side_px: int, seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(synthetic_tissue(side_px, seed)).save(buffer, "PNG")
    return buffer.getvalue()


def toy_rows() -> list[dict]:
    """12 rows of 6 patients; one center is misspelled, one is new, one preparation is missing."""
    return [
        {
            "File Name": f"images/{i:02d}.png",
            "diagnosis": ("Breast_invasive_carcinoma", "Lung_adenocarcinoma")[i % 2],
            "Hospital": ("Lyon", "Pariss", "Xanadu")[i // 2 % 3],
            "preparation": "FFPE" if i else "",
            "Patient ID": f"P{i // 2}",
            "remarks": "=cmd|' /C calc'!A0",
        }
        for i in range(NUM_GOOD)
    ]


BAD_ROWS = (
    {"File Name": "images/gone.png", "diagnosis": "Lung_adenocarcinoma"},
    {"File Name": "images/00.png", "preparation": "FFPE"},
    {"File Name": "images/small.png"},
    {"File Name": "images/twin.png"},
    {"File Name": "images/bad.png", "preparation": "boiled"},
)


def write_cohort(path: Path, rows: list[dict] | None = None, extra: dict[str, bytes] | None = None) -> Path:
    """The zip: by default the good rows and then the bad ones."""
    rows = [*toy_rows(), *BAD_ROWS] if rows is None else rows
    members = {f"images/{i:02d}.png": png_of(140, i) for i in range(NUM_GOOD)}
    members |= {
        "images/small.png": png_of(64, 40),
        "images/twin.png": png_of(140, 3),
        "images/bad.png": png_of(140, 41),
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("table.csv", pd.DataFrame(rows).to_csv(index=False))
        for name, content in (members | (extra or {})).items():
            archive.writestr(name, content)
    return path
