"""What a TCGA barcode says: project, tissue source site, institution, patient, slide, preparation.

Code tables are read from `assets/tcga/`. In `tissue_source_sites.csv` a code is one hospital *and* one
cancer type; `institution` merges the codes and spellings of a hospital. Merged are only spellings that
are certainly one place: a site that supplied through another one (`Washington University - Emory`,
`ABS - Lahey Clinic`) stays its own institution, as do the campuses of a chain (`Mayo Clinic Arizona`).
Knows nothing of images, manifests or models.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from medi_core.errors import UnknownValueError

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "tcga"
PREPARATION_OF: dict[str, Literal["FFPE", "frozen"]] = {
    "DX": "FFPE",  # diagnostic; TCGA records 24 of 8,726 of them as not formalin-fixed, unseen in the barcode
    "TS": "frozen",  # top slide of a frozen portion
    "MS": "frozen",  # middle slide
    "BS": "frozen",  # bottom slide
}
# TCGA-18-5592 [ -01Z [ -00 [ -DX1 ]]] [ .uuid.svs ]
_BARCODE = re.compile(
    r"(?P<patient>TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})"
    r"(?:-[0-9]{2}[A-Z]?(?:-[0-9]{2}[A-Z]?(?:-(?P<section>DX|TS|MS|BS)[A-Z0-9]{1,2})?)?)?",
    re.ASCII,
)


@dataclass(frozen=True)
class TcgaBarcode:
    """A barcode, resolved by the code tables."""

    patient_id: str
    """The first three fields: `TCGA-18-5592`."""
    slide: str | None
    """`TCGA-18-5592-01Z-00-DX1`; `None` if the barcode names no slide."""
    tissue_source_site: str
    """The two-character code: `18`."""
    site_name: str
    """As TCGA spells the site of this code."""
    institution: str
    """The hospital, one spelling for all of its codes: what a manifest calls `center`."""
    project: str | None
    """`LUSC`; `None` for codes of which TCGA has no diagnostic slide."""
    cancer_type: str | None
    """`Lung_squamous_cell_carcinoma`: what every slide of the project is called."""
    preparation: Literal["FFPE", "frozen"] | None
    """By the kind of section; `None` if the barcode names no slide."""


def parse_barcode(text: str) -> TcgaBarcode:
    """Resolve a full or partial TCGA barcode.

    Args:
        text: `TCGA-18-5592`, `TCGA-18-5592-01Z-00-DX1` or a file name that starts with one, then a dot.

    Raises:
        UnknownValueError: no TCGA barcode, or a tissue source site that the code table does not hold.
    """
    barcode = text.strip().split(".")[0].upper()
    match = _BARCODE.fullmatch(barcode)
    if match is None:
        raise UnknownValueError(
            f"{text!r} is not a TCGA barcode; expected TCGA-<site>-<patient>, e.g. TCGA-18-5592, "
            "or a slide of it, e.g. TCGA-18-5592-01Z-00-DX1; a file name may go on after a dot"
        )
    code, section = match["site"], match["section"]
    if code not in tissue_source_sites():
        raise UnknownValueError(
            f"tissue source site {code!r} of {text!r} is not among the {len(tissue_source_sites())} TCGA codes "
            f"of {ASSETS.name}/tissue_source_sites.csv; check the barcode, or add the code there"
        )
    site = tissue_source_sites()[code]
    project = site["tcga_project"] or None
    return TcgaBarcode(
        patient_id=match["patient"],
        slide=barcode if section else None,
        tissue_source_site=code,
        site_name=site["site_name"],
        institution=site["institution"],
        project=project,
        cancer_type=cancer_types()[project] if project else None,
        preparation=PREPARATION_OF[section] if section else None,
    )


def cancer_type_of(name: str) -> str:
    """Our name of a TCGA project (`LUSC`, `TCGA-LUSC`) or of a TCGA-UT class (`Colon_adenocarcinoma`).

    Colon and rectum are one class here, `Colorectal_adenocarcinoma`.

    Raises:
        UnknownValueError: neither a TCGA project nor a TCGA-UT class.
    """
    by_name = cancer_types()
    for known in (name, name.removeprefix("TCGA-")):
        if known in by_name:
            return by_name[known]
    raise UnknownValueError(
        f"{name!r} is neither a TCGA project nor a TCGA-UT class; known: {', '.join(sorted(set(by_name)))}"
    )


@cache
def tissue_source_sites() -> Mapping[str, Mapping[str, str]]:
    """Code → its row: `site_name`, `institution`, `tcga_project` (may be empty)."""
    return {row["tss_code"]: row for row in _read_asset("tissue_source_sites.csv")}


@cache
def cancer_types() -> Mapping[str, str]:
    """Project code, TCGA-UT class or our own name → our name of the cancer type."""
    rows = _read_asset("cancer_types.csv")
    return {row[key]: row["cancer_type"] for key in ("tcga_project", "tcga_ut_name", "cancer_type") for row in rows}


def _read_asset(name: str) -> list[dict[str, str]]:
    # the csv module keeps the site code "NA" (Duke University) a code; pandas would read it as missing
    with open(ASSETS / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
