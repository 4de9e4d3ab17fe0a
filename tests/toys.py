"""Images, a vocabulary and a network that the tests make: nothing real."""

import numpy as np
import torch

from medi_core.metadata.vocabulary import Support, Vocabulary
from medi_core.models.denoiser import Denoiser
from medi_core.models.metadata_embedder import MetadataEmbedder
from medi_core.pipelines.medi_pipeline import MediPipeline
from medi_core.pipelines.schedulers import build_scheduler

HEMATOXYLIN_RGB, EOSIN_RGB = np.array([80, 60, 140]), np.array([225, 130, 180])


def synthetic_tissue(side_px: int, seed: int) -> np.ndarray:
    """Purple discs on pink: enough like H&E for stain measures; uint8 `(side, side, 3)`."""
    rng = np.random.default_rng(seed)
    image = np.broadcast_to(EOSIN_RGB, (side_px, side_px, 3)).astype(float).copy()
    grid_y, grid_x = np.mgrid[:side_px, :side_px]
    for x, y, radius in rng.uniform((0, 0, 4), (side_px, side_px, 9), (side_px // 6, 3)):
        image[(grid_x - x) ** 2 + (grid_y - y) ** 2 < radius**2] = HEMATOXYLIN_RGB
    return np.clip(image * rng.uniform(0.8, 1.1) + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def build_toy_vocabulary() -> Vocabulary:
    """Two cancer types, three centers; Lung at Paris was never seen, Lung at Lyon is rare."""
    return Vocabulary(
        values={
            "cancer_type": ("Breast_invasive_carcinoma", "Lung_adenocarcinoma"),
            "center": ("Lyon", "Paris", "Rome"),
            "preparation": ("FFPE", "frozen"),
            "hematoxylin": ("1", "2", "3", "4", "5"),
            "eosin": ("1", "2", "3", "4", "5"),
        },
        bin_edges={"hematoxylin": (0.5, 1.0, 1.5, 2.0), "eosin": (0.4, 0.8, 1.0, 1.2)},
        support={
            "cancer_type": {"Breast_invasive_carcinoma": Support(60, 9), "Lung_adenocarcinoma": Support(14, 5)},
            "center": {"Lyon": Support(42, 7), "Paris": Support(20, 3), "Rome": Support(12, 4)},
            "preparation": {"FFPE": Support(70, 13), "frozen": Support(4, 1)},
        },
        pair_support={
            "Breast_invasive_carcinoma @ Lyon": Support(40, 6),
            "Breast_invasive_carcinoma @ Paris": Support(20, 3),
            "Lung_adenocarcinoma @ Lyon": Support(2, 1),
            "Lung_adenocarcinoma @ Rome": Support(12, 4),
        },
        total=Support(74, 13),
    )


TEACHER, FEW_STEPS = "tiny@0123456789ab", 2
"""Of the toy few-step checkpoint."""
DISTILLED = {"distillation": {"teacher": TEACHER, "num_inference_steps": FEW_STEPS}}
"""Its training configuration."""


def build_tiny_pipeline(vocabulary: Vocabulary, block_out_channels: tuple[int, ...] = (16, 24)) -> MediPipeline:
    """Random weights, 1/100 of the shipped size; samples a tile in well under a second."""
    torch.manual_seed(0)
    denoiser = Denoiser(
        block_out_channels=block_out_channels,
        layers_per_block=1,
        head_channels=4,
        norm_num_groups=8,
        attention_head_dim=8,
    )
    embedder = MetadataEmbedder(vocabulary.to_dict(), denoiser.embedding_dim)
    for table in embedder.tables:
        torch.nn.init.normal_(table.weight, std=1.0)  # so that values differ visibly without training
    pipeline = MediPipeline(denoiser, embedder, build_scheduler("euler"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
