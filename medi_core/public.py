"""The public surface: what `from medi_core import …` offers (docs/api.md). Names alone; each is documented at home."""

from medi_core.bootstrap import Services, build_services
from medi_core.data.manifest import read_manifest, summarize_manifest
from medi_core.errors import MediError
from medi_core.metadata.schema import MetadataRecord
from medi_core.planning.plan import AugmentationPlan, read_plan, write_plan
from medi_core.planning.targets import Target
from medi_core.services.audit import AuditConfig
from medi_core.services.audit_report import audit_report
from medi_core.services.augmentation import PlanConfig
from medi_core.services.cohort import cohort_report
from medi_core.services.comparison import ComparisonRequest, comparison_of
from medi_core.services.dataset_generation import DatasetOptions
from medi_core.services.export import compare_into, generate_into
from medi_core.services.generation_request import GenerationRequest, request_from
from medi_core.services.manifest_predictions import predict_manifest, write_predictions
from medi_core.services.rerender import read_base_image
from medi_core.settings import Settings

__all__ = [
    "AuditConfig",
    "AugmentationPlan",
    "ComparisonRequest",
    "DatasetOptions",
    "GenerationRequest",
    "MediError",
    "MetadataRecord",
    "PlanConfig",
    "Services",
    "Settings",
    "Target",
    "audit_report",
    "build_services",
    "cohort_report",
    "compare_into",
    "comparison_of",
    "generate_into",
    "predict_manifest",
    "read_base_image",
    "read_manifest",
    "read_plan",
    "request_from",
    "summarize_manifest",
    "write_plan",
    "write_predictions",
]
