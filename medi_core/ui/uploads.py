"""Which file of this server a visitor may name: one that was uploaded, or that the app itself wrote for visitors."""

from pathlib import Path

from gradio.utils import get_upload_folder


def uploaded_path(given: object) -> Path | None:
    """The file, or `None` for whatever else is named: a path elsewhere, through links or `..`, a folder, an address."""
    try:
        path = Path(given).resolve() if isinstance(given, str) else None
        is_ours = path is not None and path.is_relative_to(Path(get_upload_folder()).resolve()) and path.is_file()
    except (OSError, ValueError):  # longer than a path may be, or with a null byte in it
        return None
    return path if is_ours else None
