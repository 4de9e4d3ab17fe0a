"""TCGA-UT (Komura et al. 2022) as folders, `Cancer_type/<level>/TCGA-…/*.jpg` → the rows of a manifest.

Every tile is tumor; the barcode in the folder's name gives center, patient, slide and preparation.
Opens no image.
"""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from medi_core.data.manifest import ROWS_SHOWN, validate_manifest
from medi_core.data.safe_tar import IMAGE_SUFFIXES
from medi_core.data.splits import split_by_patient
from medi_core.errors import ManifestError, UnknownValueError
from medi_core.metadata.tcga import cancer_type_of, parse_barcode

MPP_OF_LEVEL = {"0": 0.5, "1": 0.6, "2": 0.7, "3": 0.8, "4": 0.9, "5": 1.0}
"""TCGA-UT's magnification folders → µm per pixel."""
DATASET = "TCGA-UT"
LICENCE = "TCGA-UT terms (Zenodo 5889558)"


def import_tcga_ut(root: str | Path, levels: Collection[str] = tuple(MPP_OF_LEVEL), seed: int = 0) -> pd.DataFrame:
    """A manifest of a TCGA-UT folder, split by patient.

    Args:
        root: holds one folder a cancer type.
        levels: magnification folders to read. TCGA-UT shows the same places at all six: choose one,
            e.g. `("0",)` for 0.5 µm/px, unless a mix of scales is wanted.
        seed: of the split.

    Returns:
        As `read_manifest` returns it, ready for `write_manifest`.

    Raises:
        ManifestError: no such layout, or folders whose names are no level, barcode or cancer type.
    """
    root = Path(root).resolve()
    if not root.is_dir():
        raise ManifestError(f"{root} is not a folder")
    rows, faults = [], []
    for slide_folder in sorted(path for path in root.glob("*/*/*") if path.is_dir()):
        cancer_type, level, slide = slide_folder.relative_to(root).parts
        try:
            if level not in MPP_OF_LEVEL:
                raise UnknownValueError(f"level {level!r} of {slide_folder} is none of {', '.join(MPP_OF_LEVEL)}")
            row = columns_of_barcode(slide) | {"cancer_type": cancer_type_of(cancer_type), "mpp": MPP_OF_LEVEL[level]}
        except UnknownValueError as error:
            faults.append(str(error))
            continue
        if level in levels:
            rows += [row | {"path": str(path)} for path in _images(slide_folder)]
    if faults:
        more = f" … ({len(faults)} folders in all)" if len(faults) > ROWS_SHOWN else ""
        raise ManifestError(f"{root} cannot be imported: " + "; ".join(faults[:ROWS_SHOWN]) + more)
    if not rows:
        raise ManifestError(
            f"no tiles under {root}; expected Cancer_type/<{'|'.join(levels)}>/TCGA-…/*.jpg (or .png) in it"
        )
    frame = pd.DataFrame(rows).assign(tissue="tumor", dataset=DATASET, licence=LICENCE)
    return split_by_patient(validate_manifest(frame, root, root.name), seed=seed)


def columns_of_barcode(barcode: str) -> dict[str, str]:
    """The columns of a manifest that a TCGA barcode gives; none for what a partial barcode leaves open.

    Raises:
        UnknownValueError: no TCGA barcode, or an unknown tissue source site.
    """
    parsed = parse_barcode(barcode)
    columns = {
        "center": parsed.institution,
        "preparation": parsed.preparation,
        "patient_id": parsed.patient_id,
        "slide": parsed.slide,
    }
    return {name: value for name, value in columns.items() if value is not None}


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
