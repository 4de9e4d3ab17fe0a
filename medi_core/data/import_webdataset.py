"""WebDataset tars → images in a folder and the rows of a manifest. Trusts nothing in a tar.

A sample is `<key>.jpg` or `.png` with `<key>.json` or `.cls`. TCGA-UT's own tars are of this kind: keys
like `TCGA-FS-A1Z7-06Z-00-DX7/0_8_521`, and `{"label": "Skin_Cutaneous_Melanoma"}`. In general a JSON
may hold any column of a manifest. Members of other suffixes are left alone.
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from medi_core.data.import_tcga_ut import columns_of_barcode
from medi_core.data.manifest import COLUMNS, ROWS_SHOWN, validate_manifest
from medi_core.data.safe_tar import IMAGE_SUFFIXES, LABEL_SUFFIXES, read_members, write_images
from medi_core.data.splits import split_by_patient
from medi_core.errors import ManifestError, StorageError, UnknownValueError
from medi_core.metadata.tcga import cancer_types

NOT_FROM_JSON = ("path", "x", "y")
_BARCODE_IN_KEY = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}[A-Z0-9-]*")


@dataclass
class Sample:
    """The members of one key."""

    image: str | None = None
    """Member name; also the path below the output folder."""
    place: tuple[int, int] = (0, 0)
    """Offset and length of the image in its tar, in bytes."""
    columns: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    """Suffixes of the label members found."""


def import_webdataset(
    tars: Sequence[str | Path],
    out: str | Path,
    class_names: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Unpack the images of tars and describe them; all or nothing.

    Args:
        tars: uncompressed WebDataset tars.
        out: a new or empty folder for the images; the keys become paths in it.
        class_names: cancer types by number, where labels are numbers.
        defaults: columns of a manifest for every sample, e.g. `{"mpp": 0.5, "dataset": "TCGA-UT"}`.
            A TCGA barcode in the key wins over these, and the sample's JSON over both.
        seed: of the split by patient, drawn if no JSON holds `split`.

    Returns:
        As `read_manifest` returns it, ready for `write_manifest`.

    Raises:
        ManifestError: a tar that is damaged, unsafe, incomplete or holds a sample twice.
        StorageError: `out` is not empty, or cannot hold the images.
    """
    out = Path(out).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError(f"{out} must be a new or empty folder; give another, or empty it")
    paths = [Path(tar) for tar in tars]
    samples = read_samples(paths, class_names)
    if not samples:
        raise ManifestError(f"no samples in {', '.join(tar.name for tar in paths) or 'no tars'}")
    rows = describe_samples(samples, dict(defaults or {}))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{out.name}.", dir=out.parent) as temporary:
            images = Path(temporary) / "images"
            write_images(paths, images)
            frame = validate_manifest(pd.DataFrame(rows), images, out.name)
            os.replace(images, out)
    except OSError as error:
        raise StorageError(f"could not unpack to {out}: {error.strerror or error}") from error
    frame["path"] = pd.Series([str(out / row["path"]) for row in rows], dtype=object)
    return split_by_patient(frame, seed=seed) if frame["split"].isna().all() else frame


def read_samples(tars: Sequence[Path], class_names: Sequence[str]) -> dict[str, Sample]:
    """Key → sample, in the order of the tars; nothing is written."""
    samples: dict[str, Sample] = {}
    for member in read_members(tars):
        name = PurePosixPath(member.name)
        sample = samples.setdefault(str(name.with_suffix("")), Sample())
        suffix = name.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            if sample.image is not None:
                raise ManifestError(f"{member.where} is a second image of its sample; each key needs exactly one")
            sample.image, sample.place = member.name, (member.offset, member.num_bytes)
        else:
            if suffix in sample.labels:
                raise ManifestError(f"{member.where} is there twice; each key may have one {suffix}")
            sample.labels.append(suffix)
            columns = _parse_label(suffix, member.read(), member.where, class_names)
            # a JSON says more than a .cls, whichever comes first
            sample.columns = sample.columns | columns if suffix == ".json" else columns | sample.columns
    incomplete = [key for key, sample in samples.items() if sample.image is None or not sample.labels]
    if incomplete:
        more = f" … ({len(incomplete)} in all)" if len(incomplete) > ROWS_SHOWN else ""
        raise ManifestError(
            f"samples without image or label: {', '.join(incomplete[:ROWS_SHOWN])}{more}; "
            f"each needs <key>{'|'.join(IMAGE_SUFFIXES)} and <key>{'|'.join(LABEL_SUFFIXES)}"
        )
    return samples


def describe_samples(samples: Mapping[str, Sample], defaults: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for key, sample in samples.items():
        barcode = _BARCODE_IN_KEY.search(key)
        try:
            from_barcode = columns_of_barcode(barcode.group()) if barcode else {}
        except UnknownValueError as error:
            raise ManifestError(f"sample {key}: {error}") from error
        rows.append(defaults | from_barcode | sample.columns | {"path": sample.image})
    return rows


def _parse_label(suffix: str, content: bytes, where: str, class_names: Sequence[str]) -> dict[str, Any]:
    """Columns of a manifest that a `.json` or `.cls` holds."""
    try:
        plain = json.loads(content) if suffix == ".json" else {"label": content.decode().strip()}
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where} cannot be read: {str(error) or 'nested too deeply'}") from error
    if not isinstance(plain, dict):
        raise ManifestError(f'{where} must hold an object, e.g. {{"label": "Thymoma"}}')
    columns = {name: plain[name] for name in COLUMNS if name not in NOT_FROM_JSON and plain.get(name) is not None}
    if plain.get("label") is not None:
        columns.setdefault("cancer_type", _class_name(plain["label"], where, class_names))
    for name, value in columns.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ManifestError(f"{where}: {name} must be text or a number, given {value!r:.80}")
    if isinstance(columns.get("cancer_type"), str):
        columns["cancer_type"] = cancer_types().get(columns["cancer_type"], columns["cancer_type"])
    return columns


def _class_name(label: Any, where: str, class_names: Sequence[str]) -> Any:
    """A label as text; a number is a place in `class_names`."""
    if isinstance(label, bool) or not str(label).isdecimal():
        return label
    if int(label) >= len(class_names):
        raise ManifestError(
            f"{where}: label {label} is a number without a name; {len(class_names)} class names are given: "
            "give the names of the classes in their order"
        )
    return class_names[int(label)]
