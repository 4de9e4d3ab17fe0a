"""`build_services(settings)`: the one place that wires objects together."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medi_core.checkpoints import Checkpoint, load_checkpoint
from medi_core.device import choose_compile, choose_device, choose_dtype, is_zero_gpu
from medi_core.errors import CheckpointError, InvalidRequestError
from medi_core.review.review_store import ReviewStore
from medi_core.services.attached_tiles import AttachedTiles
from medi_core.services.audit import AuditService
from medi_core.services.augmentation import AugmentationService
from medi_core.services.classification import ClassificationService
from medi_core.services.cohort import CohortService
from medi_core.services.comparison import ComparisonService
from medi_core.services.copy_pairs import CopyAuditService
from medi_core.services.dataset_generation import DatasetService
from medi_core.services.embedding import EmbeddingService
from medi_core.services.encoding import EncodingService
from medi_core.services.experiment import ExperimentService
from medi_core.services.fidelity import FidelityService
from medi_core.services.generation import GenerationService
from medi_core.services.instant import OFF_ON_ZERO_GPU, load_fast_checkpoint
from medi_core.services.reference import ReferenceService
from medi_core.services.review import ReviewService
from medi_core.services.studies import StudyService
from medi_core.services.tile_measures import MeasureService
from medi_core.services.welcome import WelcomeService
from medi_core.settings import Settings

CPU_BATCH = 8
"""Small, so that the first preview of a request on two cores comes within a second."""
ACCELERATOR_BATCH = 64


@dataclass(frozen=True)
class Services:
    """Everything a tab or a command may use; loaded once, shared by all."""

    settings: Settings
    checkpoint: Checkpoint
    generation: GenerationService
    instant: GenerationService | None
    """Tiles in a few steps: `generation`, where its checkpoint is a few-step one, or another; `None`: there is none."""
    instant_off: str
    """Why there is none; "" where there is one."""
    comparison: ComparisonService
    welcome: WelcomeService
    encoding: EncodingService
    reference: ReferenceService
    embedding: EmbeddingService
    fidelity: FidelityService
    copies: CopyAuditService
    classification: ClassificationService
    audit: AuditService
    augmentation: AugmentationService
    datasets: DatasetService
    experiment: ExperimentService
    review: ReviewService
    studies: StudyService
    cohort: CohortService

    def maker_of(self, provenance: Mapping[str, Any]) -> GenerationService:
        """The service that makes a tile again: the one with the checkpoint that its provenance names.

        Raises:
            InvalidRequestError: neither checkpoint that is loaded has made it.
        """
        makers = {service.checkpoint.id: service for service in (self.instant, self.generation) if service}
        if (name := provenance.get("checkpoint")) not in makers:
            raise InvalidRequestError(f"the tile was made with {name}; loaded: {', '.join(makers)}")
        return makers[name]


def build_services(settings: Settings) -> Services:
    """Load the checkpoint and build the services around it.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        InvalidRequestError: the device or dtype is not to be had; compilation neither.
        ManifestError: the real tiles to attach cannot be used.
    """
    device = choose_device(settings.device)
    dtype, is_compiled = choose_dtype(settings.dtype, device), choose_compile(settings.compile, device)
    checkpoint = load_checkpoint(settings.checkpoint, settings.checkpoints_dir, device, dtype)
    batch_size = CPU_BATCH if device.type == "cpu" else ACCELERATOR_BATCH
    generation = GenerationService(checkpoint, batch_size, is_compiled)
    instant, instant_off = _instant(settings, generation, dtype, is_compiled)
    if instant not in (None, generation):
        generation.find_elsewhere = instant.find
    welcome = WelcomeService(generation, settings.assets_dir / "welcome")
    # ZeroGPU lends its card for a call of the generator only
    small_device = "cpu" if is_zero_gpu() else str(device)
    encoding = EncodingService(small_device, settings.cache_dir / "features", settings.encoder)
    classification = ClassificationService(settings.classifier_dir, small_device)
    reference = ReferenceService(generation, encoding, settings.assets_dir / "reference")
    attached = AttachedTiles()
    if settings.tiles:
        attached.attach(Path(settings.tiles))
    embedding = EmbeddingService(generation, encoding, reference, attached)
    fidelity = FidelityService(reference, checkpoint.vocabulary)
    copies = CopyAuditService(generation, reference, attached)
    audit = AuditService(settings.assets_dir / "reference", settings.assets_dir / "predictions.parquet")
    augmentation = AugmentationService(checkpoint, reference, fidelity)
    store = ReviewStore(settings.data_dir)
    return Services(
        settings,
        checkpoint,
        generation,
        instant,
        instant_off,
        ComparisonService(generation),
        welcome,
        encoding,
        reference,
        embedding,
        fidelity,
        copies,
        classification,
        audit,
        augmentation,
        DatasetService(generation, augmentation, MeasureService(reference, encoding, classification)),
        ExperimentService(reference),
        ReviewService(store),
        StudyService(store, generation, attached),
        CohortService(checkpoint.vocabulary, attached),
    )


def _instant(
    settings: Settings, generation: GenerationService, dtype: torch.dtype, is_compiled: bool
) -> tuple[GenerationService | None, str]:
    """The service of instant tiles, or why there is none: the app is of use without it."""
    if is_zero_gpu():
        return None, OFF_ON_ZERO_GPU
    if generation.checkpoint.distillation is not None:
        return generation, ""
    try:
        fast = load_fast_checkpoint(settings.fast_checkpoint, settings.checkpoints_dir, generation.checkpoint, dtype)
    except CheckpointError as error:
        return None, str(error)
    return GenerationService(fast, generation.batch_size, is_compiled), ""
