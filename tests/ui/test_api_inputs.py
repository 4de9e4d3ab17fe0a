"""What programs send as a file, before an endpoint sees it. Run: pytest tests/ui/test_api_inputs.py"""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from medi_core.ui.api_inputs import uploaded_file
from tests.toys import synthetic_tissue


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_an_image_as_a_data_uri_loses_its_metadata_as_an_upload_does(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x013B] = "Jane Roe"  # artist
    Image.fromarray(synthetic_tissue(96, 1)).save(buffer, kind, exif=exif)
    assert b"Jane Roe" in buffer.getvalue(), "the test is worth nothing"
    path = uploaded_file(f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}", "image")
    assert path.is_relative_to(tmp_path)
    for kept in filter(Path.is_file, tmp_path.rglob("*")):
        assert b"Jane Roe" not in kept.read_bytes()
    with Image.open(path) as image:
        assert (image.format, image.size) == (kind, (96, 96))
