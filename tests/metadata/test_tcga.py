"""TCGA barcodes and code tables. Run: pytest tests/metadata"""

import pytest

from medi_core.errors import UnknownValueError
from medi_core.metadata.tcga import cancer_type_of, cancer_types, parse_barcode, tissue_source_sites

SLIDE = "TCGA-18-5592-01Z-00-DX1"


def test_a_full_barcode_gives_everything():
    parsed = parse_barcode(SLIDE)
    assert parsed.patient_id == "TCGA-18-5592"
    assert parsed.slide == SLIDE
    assert parsed.tissue_source_site == "18"
    assert parsed.institution == "Princess Margaret Hospital (Canada)"
    assert parsed.project == "LUSC"
    assert parsed.cancer_type == "Lung_squamous_cell_carcinoma"
    assert parsed.preparation == "FFPE"


@pytest.mark.parametrize(
    "text",
    [
        f"{SLIDE}.svs",
        f"{SLIDE}.600C7D8C-F04C-4125-AF14-B1E76DC01A1E",
        f"{SLIDE}.600C7D8C-F04C-4125-AF14-B1E76DC01A1E.svs",
        f"  {SLIDE.lower()}\n",
    ],
)
def test_a_file_name_says_the_same_as_the_barcode_it_starts_with(text):
    assert parse_barcode(text) == parse_barcode(SLIDE)


@pytest.mark.parametrize("text", ["TCGA-18-5592", "TCGA-18-5592-01Z", "TCGA-18-5592-01Z-00"])
def test_a_partial_barcode_gives_patient_and_center_but_neither_slide_nor_preparation(text):
    parsed = parse_barcode(text)
    assert (parsed.patient_id, parsed.institution) == ("TCGA-18-5592", "Princess Margaret Hospital (Canada)")
    assert parsed.slide is None
    assert parsed.preparation is None


@pytest.mark.parametrize(
    ("section", "preparation"),
    [("DX1", "FFPE"), ("DX10", "FFPE"), ("DXB", "FFPE"), ("TS1", "frozen"), ("BSB", "frozen"), ("MS1", "frozen")],
)
def test_diagnostic_sections_are_ffpe_and_top_middle_bottom_sections_are_frozen(section, preparation):
    assert parse_barcode(f"TCGA-A8-A06N-01A-01-{section}").preparation == preparation


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TCGA",
        "TCGA-18",
        "TCGA-18-559",
        "TCGA-180-5592",
        "TCGA-18-5592-DX1",
        f"{SLIDE}-extra",
        "XTCGA-18-5592",
        "TCGA-18-5592-01Z-00-XX1",
        "TCGA_18_5592",
        "TCGA-١٨-5592",
    ],
)
def test_malformed_text_is_quoted_in_the_error_with_an_example(text):
    with pytest.raises(UnknownValueError, match="is not a TCGA barcode; expected TCGA-<site>-<patient>") as caught:
        parse_barcode(text)
    assert repr(text) in str(caught.value)


def test_an_unknown_tissue_source_site_is_named_in_the_error():
    with pytest.raises(UnknownValueError, match="tissue source site 'ZZ' of 'TCGA-ZZ-0001' is not among the 830"):
        parse_barcode("TCGA-ZZ-0001")


def test_the_site_code_na_is_a_code_and_not_a_missing_value():
    parsed = parse_barcode("TCGA-NA-A4QX-01Z-00-DX1")
    assert (parsed.institution, parsed.project) == ("Duke University", "UCS")


def test_a_site_without_diagnostic_slides_has_no_project():
    parsed = parse_barcode("TCGA-01-0001")
    assert parsed.institution == "International Genomics Consortium"
    assert parsed.project is None
    assert parsed.cancer_type is None


@pytest.mark.parametrize(
    ("code", "institution"),
    [
        ("21", "Fox Chase"),  # Fox Chase Cancer Center
        ("A8", "Indivumed"),
        ("A7", "Christiana Healthcare"),
        ("AC", "International Genomics Consortium"),
        ("AO", "Memorial Sloan Kettering Cancer Center"),  # MSKCC
        ("AR", "Mayo Clinic"),  # Mayo
        ("CU", "University of North Carolina"),  # UNC
        ("G2", "MD Anderson Cancer Center"),  # MD Anderson
        ("HT", "Case Western"),
        ("KB", "University Health Network, Toronto"),
        ("HE", "Ontario Institute for Cancer Research (OICR)"),
    ],
)
def test_institutions_are_called_as_in_the_vocabulary_of_the_shipped_checkpoint(code, institution):
    assert tissue_source_sites()[code]["institution"] == institution


def test_spellings_of_one_hospital_are_merged():
    institutions_of: dict[str, set[str]] = {}
    for row in tissue_source_sites().values():
        institutions_of.setdefault(row["site_name"], set()).add(row["institution"])
    assert all(len(institutions) == 1 for institutions in institutions_of.values())
    for spellings in (
        ("MSKCC", "Memorial Sloan Kettering", "Memorial Sloan Kettering Cancer Center"),
        ("UNC", "University of North Carolina"),
        ("MD Anderson", "MD Anderson Cancer Center", "University of Texas MD Anderson Cancer Center"),
        ("Mayo", "Mayo Clinic", "Mayo Clinic - Rochester", "Mayo Clinic Rochester"),
        ("UCSF", "University of California San Francisco"),
        ("Duke", "Duke University"),
        ("Roswell", "Roswell Park"),
        ("Hartford", "Hartford Hospital"),
        ("St. Joseph's Hospital (AZ)", "St. Joseph's Hospital AZ", "St. Joseph's Hospital Arizona"),
        ("University Of Michigan", "University of Michigan"),
    ):
        assert len({next(iter(institutions_of[spelling])) for spelling in spellings}) == 1, spellings


def test_different_hospitals_are_not_merged():
    institution_of = {row["site_name"]: row["institution"] for row in tissue_source_sites().values()}
    for one, other in (
        ("Mayo Clinic", "Mayo Clinic Arizona"),
        ("Mayo Clinic", "Washington University - Mayo Clinic"),
        ("St. Joseph's Hospital AZ", "St. Joseph's Medical Center (MD)"),
        ("University of Washington", "Washington University"),
        ("University of Miami", "University of Michigan"),
        ("Harvard", "Harvard Beth Israel"),
    ):
        assert institution_of[one] != institution_of[other]


def test_a_hospital_is_shared_by_cancer_types():
    projects = {row["tcga_project"] for row in tissue_source_sites().values() if row["institution"] == "Roswell Park"}
    assert {"BRCA", "LUAD", "SKCM"} <= projects


def test_institutions_differ_in_more_than_case_and_punctuation():
    names = {row["institution"] for row in tissue_source_sites().values()}
    plain = {"".join(c for c in name.lower() if c.isalnum()) for name in names}
    assert len(plain) == len(names)


def test_every_project_of_the_site_table_has_a_cancer_type():
    for code in tissue_source_sites():
        parsed = parse_barcode(f"TCGA-{code}-0001")
        assert (parsed.project is None) == (parsed.cancer_type is None)


@pytest.mark.parametrize(
    ("name", "cancer_type"),
    [
        ("BRCA", "Breast_invasive_carcinoma"),
        ("TCGA-BRCA", "Breast_invasive_carcinoma"),
        ("Breast_invasive_carcinoma", "Breast_invasive_carcinoma"),
        ("COAD", "Colorectal_adenocarcinoma"),
        ("READ", "Colorectal_adenocarcinoma"),
        ("Colon_adenocarcinoma", "Colorectal_adenocarcinoma"),
        ("Rectum_adenocarcinoma", "Colorectal_adenocarcinoma"),
        ("Colon_Rectum_adenocarcinoma", "Colorectal_adenocarcinoma"),
        ("Colorectal_adenocarcinoma", "Colorectal_adenocarcinoma"),
    ],
)
def test_projects_and_tcga_ut_classes_give_our_cancer_type_with_colon_and_rectum_merged(name, cancer_type):
    assert cancer_type_of(name) == cancer_type


def test_an_unknown_class_is_quoted_in_the_error():
    with pytest.raises(UnknownValueError, match="'Breast' is neither a TCGA project nor a TCGA-UT class; known: ACC"):
        cancer_type_of("Breast")


def test_the_table_of_cancer_types_is_consistent():
    assert all(cancer_types()[ours] == ours for ours in cancer_types().values())
    assert len(set(cancer_types().values())) == 31
