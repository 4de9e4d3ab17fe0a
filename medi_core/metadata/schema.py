"""The attributes that describe a tile. Knows nothing of images, models or files.

Every attribute is a small set of values. Continuous quantities (age, stain strength) become
quantile bins "1" … "n" whose edges the vocabulary keeps, so that there is one condition tensor
and one code path.
"""

from dataclasses import dataclass, fields
from typing import Literal


@dataclass(frozen=True)
class Attribute:
    """One way to describe a tile."""

    name: str
    """Column name in manifests and key in the vocabulary."""
    label: str
    """What a person reads."""
    kind: Literal["categorical", "binned"]
    """`binned` attributes hold numbers in a manifest and bins "1" … "n" in a record."""
    description: str
    num_bins: int = 0
    """Quantile bins of a binned attribute; 0 for a categorical one."""
    allowed: tuple[str, ...] = ()
    """The only values a manifest may hold; empty = any string."""
    bounds: tuple[float, float] | None = None
    """Range of the numbers of a binned attribute, both ends allowed."""
    unit: str = ""


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("cancer_type", "Cancer type", "categorical", "Diagnosis of the slide, or <Organ>_benign."),
    Attribute("center", "Center", "categorical", "Hospital that supplied the tissue, shared by cancer types."),
    Attribute(
        "preparation",
        "Preparation",
        "categorical",
        "FFPE: formalin-fixed, paraffin-embedded. Frozen: cryosection.",
        allowed=("FFPE", "frozen"),
    ),
    Attribute(
        "hematoxylin",
        "Hematoxylin",
        "binned",
        "Strength of the nuclear stain, measured on the tile.",
        num_bins=5,
        bounds=(0.0, 20.0),
        unit="optical density",
    ),
    Attribute(
        "eosin",
        "Eosin",
        "binned",
        "Strength of the cytoplasm and stroma stain, measured on the tile.",
        num_bins=5,
        bounds=(0.0, 20.0),
        unit="optical density",
    ),
    Attribute("scanner", "Scanner", "categorical", "Slide scanner or camera."),
    Attribute("gender", "Gender", "categorical", "As recorded for the patient."),
    Attribute("race", "Race", "categorical", "As recorded for the patient (TCGA wording)."),
    Attribute(
        "age",
        "Age",
        "binned",
        "Age of the patient at diagnosis.",
        num_bins=4,
        bounds=(0.0, 120.0),
        unit="years",
    ),
)

ATTRIBUTE: dict[str, Attribute] = {attribute.name: attribute for attribute in ATTRIBUTES}


@dataclass(frozen=True)
class MetadataRecord:
    """Attribute → value; `None` leaves the attribute unconditioned."""

    cancer_type: str | None = None
    center: str | None = None
    preparation: str | None = None
    hematoxylin: str | None = None
    eosin: str | None = None
    scanner: str | None = None
    gender: str | None = None
    race: str | None = None
    age: str | None = None

    def to_dict(self) -> dict[str, str]:
        """The attributes that are set."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}


def display_name(value: str) -> str:
    """`Breast_invasive_carcinoma` → `Breast invasive carcinoma`, for labels only."""
    return value.replace("_", " ")
