"""Errors a user can mend. Each message says what was given, what is allowed and what to do.

Raised where the fact is known; translated only at the edge (UI: a message, CLI: exit code 2).
"""


class MediError(Exception):
    """Base of every error whose message is written for the user."""


class UnknownValueError(MediError):
    """A metadata attribute or value that the vocabulary does not hold."""


class ManifestError(MediError):
    """A manifest that cannot be used; the message lists the rows."""


class CheckpointError(MediError):
    """A checkpoint that is missing, damaged or inconsistent."""


class TooLittleTissueError(MediError):
    """An image without enough tissue to measure a stain."""


class TooFewTilesError(MediError):
    """Fewer tiles than a measurement needs."""


class InvalidRequestError(MediError):
    """A number, size or option outside what is allowed."""


class InvalidImageError(MediError):
    """An uploaded file that is not a usable image."""


class StorageError(MediError):
    """A result that could not be written, e.g. because the disk is full."""


class ReferenceSetError(MediError):
    """A reference set that is missing, damaged or of another checkpoint or encoder."""


class PredictionsError(MediError):
    """A table of predictions that cannot be used; the message lists the rows."""


class PlanError(MediError):
    """An augmentation plan that cannot be read, or does not fit the checkpoint or the folder it is to be run with."""


class PublishError(MediError):
    """Something that must not be published, or that the hub does not take."""


class StoppingError(MediError):
    """Work that was not finished because the app is being stopped."""

    def __init__(self, message: str = "the app is being restarted: try again in a minute") -> None:
        super().__init__(message)
