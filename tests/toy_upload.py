"""A made-up cohort as a zip: columns under other names, and rows that cannot be used."""

from pathlib import Path

import pandas as pd

from tests.toy_cohort import png, write_zip

NUM_GOOD = 12


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
    members = {f"images/{i:02d}.png": png(i, 140) for i in range(NUM_GOOD)}
    members |= {
        "images/small.png": png(40, 64),
        "images/twin.png": png(3, 140),
        "images/bad.png": png(41, 140),
    }
    return write_zip(path, pd.DataFrame(rows), members | (extra or {}))
