"""TCGA-UT as folders. Run: pytest tests/data"""

from pathlib import Path

import pandas as pd
import pytest

from medi_core.data.import_tcga_ut import import_tcga_ut
from medi_core.data.manifest import COLUMNS, read_manifest, write_manifest
from medi_core.errors import ManifestError

LUNG = "TCGA-18-5592-01Z-00-DX1"
BREAST = "TCGA-A8-A06N-01A-01-TS1"
COLON = "TCGA-CM-4743-01Z-00-DX1"


def survives_writing(frame: pd.DataFrame, path: Path) -> bool:
    """Written and read again, the rows are the same."""
    write_manifest(frame, path)
    pd.testing.assert_frame_equal(read_manifest(path), frame)
    return list(frame.columns) == list(COLUMNS)


@pytest.fixture
def tcga_ut(tmp_path) -> Path:
    """Two levels, three slides, five tiles."""
    root = tmp_path / "tcga_ut"
    for name in (
        f"Lung_squamous_cell_carcinoma/0/{LUNG}/0_0.jpg",
        f"Lung_squamous_cell_carcinoma/0/{LUNG}/0_1.JPG",
        f"Lung_squamous_cell_carcinoma/5/{LUNG}/0_0.jpg",
        f"Breast_invasive_carcinoma/0/{BREAST}.600C7D8C-F04C/0_0.png",
        f"Rectum_adenocarcinoma/0/{COLON}/0_0.jpg",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()  # an importer opens no image
    (root / f"Rectum_adenocarcinoma/0/{COLON}/Thumbs.db").write_text("no tile")
    (root / "README.txt").write_text("no tile")
    return root


def test_folders_become_a_manifest_with_what_the_barcodes_say(tcga_ut, tmp_path):
    frame = import_tcga_ut(tcga_ut)
    assert survives_writing(frame, tmp_path / "manifest.csv")
    assert len(frame) == 5
    row = frame.set_index("path").loc[str(tcga_ut / f"Lung_squamous_cell_carcinoma/5/{LUNG}/0_0.jpg")]
    assert row["cancer_type"] == "Lung_squamous_cell_carcinoma"
    assert row["center"] == "Princess Margaret Hospital (Canada)"
    assert (row["patient_id"], row["slide"], row["preparation"]) == ("TCGA-18-5592", LUNG, "FFPE")
    assert (row["tissue"], row["dataset"]) == ("tumor", "TCGA-UT")


def test_a_slide_folder_may_carry_a_uuid_and_a_frozen_section_is_told(tcga_ut):
    row = import_tcga_ut(tcga_ut).query("cancer_type == 'Breast_invasive_carcinoma'").iloc[0]
    assert (row["slide"], row["preparation"], row["center"]) == (BREAST, "frozen", "Indivumed")


def test_colon_and_rectum_become_one_cancer_type(tcga_ut):
    assert "Colorectal_adenocarcinoma" in set(import_tcga_ut(tcga_ut)["cancer_type"])


def test_the_magnification_folder_gives_the_microns_per_pixel(tcga_ut):
    frame = import_tcga_ut(tcga_ut)
    level = frame["path"].map(lambda p: Path(p).parts[-3])
    assert frame.loc[level == "0", "mpp"].eq(0.5).all()
    assert frame.loc[level == "5", "mpp"].eq(1.0).all()


def test_only_the_levels_asked_for_are_read(tcga_ut):
    assert import_tcga_ut(tcga_ut, levels=("0",))["mpp"].tolist() == [0.5] * 4
    with pytest.raises(ManifestError, match=r"no tiles under .*expected Cancer_type/<3>/TCGA-"):
        import_tcga_ut(tcga_ut, levels=("3",))


def test_folders_are_split_by_patient_and_the_same_each_time(tcga_ut):
    frame = import_tcga_ut(tcga_ut, seed=3)
    assert frame.groupby("patient_id")["split"].nunique().eq(1).all()
    pd.testing.assert_frame_equal(import_tcga_ut(tcga_ut, seed=3), frame)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        (f"Thymoma/7/{LUNG}", "level '7' of "),
        ("Thymoma/0/slide-1", "'slide-1' is not a TCGA barcode"),
        ("Thymoma/0/TCGA-ZZ-0001", "tissue source site 'ZZ'"),
        (f"Thymomma/0/{LUNG}", "'Thymomma' is neither a TCGA project nor a TCGA-UT class"),
    ],
)
def test_a_folder_with_a_wrong_name_is_quoted_in_the_error(tcga_ut, folder, expected):
    (tcga_ut / folder).mkdir(parents=True)
    with pytest.raises(ManifestError, match="cannot be imported") as caught:
        import_tcga_ut(tcga_ut)
    assert expected in str(caught.value)


def test_an_empty_or_missing_folder_is_an_error_with_the_expected_layout(tmp_path):
    with pytest.raises(ManifestError, match="no tiles under"):
        import_tcga_ut(tmp_path)
    with pytest.raises(ManifestError, match="is not a folder"):
        import_tcga_ut(tmp_path / "nowhere")
