"""Which column of somebody's table is which of ours, guessed by its name. Looks at no cell: a person confirms."""

import re
from collections.abc import Sequence

SYNONYMS: dict[str, tuple[str, ...]] = {
    "path": ("file", "filename", "filepath", "image", "imagepath", "imagefile", "imagename", "img", "tile", "tilepath"),
    "x": ("xcoord", "coordx", "left", "xpx"),
    "y": ("ycoord", "coordy", "top", "ypx"),
    "cancer_type": ("cancer", "diagnosis", "label", "class", "tumortype", "tumourtype", "histology", "disease"),
    "center": ("centre", "hospital", "site", "institution", "institute", "clinic", "laboratory", "lab", "source site"),
    "preparation": ("fixation", "prep", "embedding", "sampletype"),
    "hematoxylin": ("haematoxylin",),
    "scanner": ("scannermodel", "camera", "device"),
    "gender": ("sex",),
    "race": ("ethnicity",),
    "age": ("ageatdiagnosis", "patientage", "ageyears"),
    "patient_id": ("patient", "case", "caseid", "subject", "subjectid", "donor", "pid"),
    "slide": ("slideid", "slidename", "wsi", "wsiid"),
    "mpp": ("micronsperpixel", "umperpx", "resolution", "pixelsize"),
    "split": ("fold", "partition", "subset"),
    "tissue": ("tissuetype",),
    "dataset": ("cohort", "collection"),
    "licence": ("license",),
}
"""Our column → other names for it, without case, spaces and signs; the likelier first."""


def guess_columns(columns: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Ours → theirs; each of either is used once, and what nothing points to is left out.

    Args:
        columns: of a table, in its order. A column that has our name is always taken for it.
        known: our columns, the one to be found first before the others.
    """
    theirs = {}
    for column in columns:
        theirs.setdefault(_plain(column), column)
    guessed: dict[str, str] = {ours: ours for ours in known if ours in columns}
    for ours in known:
        for name in (ours, *SYNONYMS.get(ours, ())):
            column = theirs.get(_plain(name))
            if ours not in guessed and column is not None and column not in guessed.values():
                guessed[ours] = column
    return guessed


def _plain(name: str) -> str:
    """`Patient ID` → `patientid`."""
    return re.sub(r"[^0-9a-z]", "", name.casefold())
