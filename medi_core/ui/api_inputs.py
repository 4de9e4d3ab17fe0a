"""What programs send to the named endpoints, checked: metadata, lists of text, whole numbers, files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import unquote

from gradio import FileData
from gradio.processing_utils import save_base64_to_cache
from gradio.utils import get_upload_folder

from medi_core.data.strip_metadata import strip_metadata
from medi_core.errors import InvalidRequestError, UnknownValueError
from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.services.request_checks import check_text
from medi_core.ui.uploads import uploaded_path

File = FileData | str
"""As gradio_client sends it, or text, as MCP clients do: for `FileData` alone Gradio would fetch any address named."""
FILE_ROUTE = "/gradio_api/file="
"""In a link to a file that this app has made or was sent."""
HOW_TO_SEND = "send it with handle_file(...) of gradio_client, or as a data: URI, or as a link that this app has given"


def metadata_type(vocabulary: Vocabulary) -> type:
    """The attributes of a checkpoint as a type, so that schemas name them."""
    return TypedDict("Metadata", dict.fromkeys(vocabulary.attributes, str), total=False)


def record_of(metadata: Any) -> MetadataRecord:
    """Attribute → value as a record; whether the checkpoint knows the values is found out later."""
    if not isinstance(metadata, dict):
        raise InvalidRequestError(f"metadata = {metadata!r}: it must be a mapping of attribute to value")
    unknown = set(metadata) - set(ATTRIBUTE)
    if unknown:
        raise UnknownValueError(f"metadata names {', '.join(sorted(unknown))}; known: {', '.join(ATTRIBUTE)}")
    check_text(metadata)
    return MetadataRecord(**metadata)


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """A whole number within bounds: not a text, not a fraction."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidRequestError(f"{name} = {value!r}: it must be a whole number from {low:,} to {high:,}")
    return value


def yes_or_no(name: str, value: Any) -> bool:
    """True or false: not a text, of which any but the empty one would be true."""
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{name} = {value!r}: it must be true or false")
    return value


def texts(name: str, value: Any, most: int, allowed: Sequence[str] = ()) -> tuple[str, ...]:
    """A list of at most so many texts, of those that are allowed if any are named."""
    is_list = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
    if not is_list or len(value) > most:
        raise InvalidRequestError(f"{name} = {value!r}: it must be a list of at most {most} texts")
    if allowed and (odd := [text for text in value if text not in allowed]):
        raise InvalidRequestError(f"{name} = {odd[0]!r}: it must be one of {', '.join(allowed)}")
    return tuple(value)


def uploaded_file(given: Any, name: str, suffix: str = "") -> Path:
    """The file behind what was sent: an upload, a data: URI, or a link to a file of this app.

    Gradio does not check what `gr.api` hands on, so any file of the server could be named. No address is asked.

    Args:
        given: a dictionary with a `path`, as gradio_client sends files, or text, as MCP clients send them.
        name: of the parameter.
        suffix: that the file's name must end in.

    Raises:
        InvalidRequestError: no such file was sent.
    """
    text = given.get("path") if isinstance(given, dict) else given
    try:
        path = _local_path(text if isinstance(text, str) else "")
    except (ValueError, OSError) as error:  # no base64, or no name that a file could have
        raise InvalidRequestError(f"{name} is no file: {HOW_TO_SEND}") from error
    if path is None:
        raise InvalidRequestError(f"{name} is no uploaded file: {HOW_TO_SEND}")
    if suffix and path.suffix.lower() != suffix:
        raise InvalidRequestError(f"{name} is {path.name}: it must be a {suffix} file")
    return path


def _local_path(text: str) -> Path | None:
    """Of a file in the folder of uploads, which also holds what this app has answered with; `None` of any other."""
    if text.startswith("data:"):
        text = save_base64_to_cache(text, get_upload_folder())
        strip_metadata(Path(text))  # as of every upload; this one did not come through the upload route
    elif FILE_ROUTE in text:
        text = unquote(text.split(FILE_ROUTE, 1)[1])
    return uploaded_path(text)
