"""What a pathologist looks for, by cancer type: short lists of standard features. Knows no study.

The words are those that the diagnostic criteria of the WHO Classification of Tumours (5th edition: Digestive System
2019; Breast 2019; Thoracic 2021; Central Nervous System 2021; Urinary and Male Genital 2022; Female Genital 2020) and
the grading schemes it uses (Nottingham, Gleason, WHO/ISUP) are written in. A tile of 64 µm shows few of them at once,
so the lists are kept to what can be seen at that size.
"""

GENERAL = (
    "atypical nuclei",
    "prominent nucleoli",
    "mitotic figures",
    "necrosis",
    "stroma",
    "lymphocytes",
    "red blood cells",
    "no tumour cells",
)
"""For every cancer type."""

SPECIFIC: dict[str, tuple[str, ...]] = {
    "Adrenocortical_carcinoma": ("diffuse growth", "eosinophilic cytoplasm", "clear, lipid-rich cells"),
    "Bladder_Urothelial_Carcinoma": ("papillary growth", "invasive nests", "squamous differentiation"),
    "Brain_Lower_Grade_Glioma": ("perinuclear halos", "fibrillary background", "microcysts"),
    "Breast_invasive_carcinoma": ("tubule formation", "single-file pattern", "in situ component", "adipose tissue"),
    "Colon_adenocarcinoma": ("gland formation", "cribriform glands", "dirty necrosis", "extracellular mucin"),
    "Glioblastoma_multiforme": ("microvascular proliferation", "palisading necrosis", "fibrillary background"),
    "Head_and_Neck_squamous_cell_carcinoma": ("keratinization", "intercellular bridges", "solid nests"),
    "Kidney_renal_clear_cell_carcinoma": ("clear cytoplasm", "delicate vascular network", "hyaline globules"),
    "Kidney_renal_papillary_cell_carcinoma": ("papillae with fibrovascular cores", "foamy macrophages"),
    "Liver_hepatocellular_carcinoma": ("thick trabeculae", "pseudoglands", "steatosis", "bile"),
    "Lung_adenocarcinoma": ("lepidic growth", "acinar growth", "papillary growth", "solid growth", "mucin"),
    "Lung_squamous_cell_carcinoma": ("keratinization", "intercellular bridges", "solid nests"),
    "Ovarian_serous_cystadenocarcinoma": ("papillary growth", "slit-like spaces", "psammoma bodies"),
    "Pancreatic_adenocarcinoma": ("irregular glands", "desmoplastic stroma", "intraluminal mucin"),
    "Prostate_adenocarcinoma": ("well-formed glands", "fused or poorly formed glands", "cribriform glands"),
    "Rectum_adenocarcinoma": ("gland formation", "cribriform glands", "dirty necrosis", "extracellular mucin"),
    "Skin_Cutaneous_Melanoma": ("melanin pigment", "nests", "spindle cells", "nuclear pseudoinclusions"),
    "Stomach_adenocarcinoma": ("gland formation", "signet-ring cells", "poorly cohesive cells", "mucin"),
    "Thyroid_carcinoma": ("papillae", "nuclear grooves", "ground-glass nuclei", "colloid"),
    "Uterine_Corpus_Endometrial_Carcinoma": ("gland formation", "solid growth", "squamous differentiation"),
}


def checklist_of(cancer_type: str | None) -> tuple[str, ...]:
    """The features to tick for a tile of this cancer type: its own first, then those of every type."""
    return (*SPECIFIC.get(cancer_type or "", ()), *GENERAL)
