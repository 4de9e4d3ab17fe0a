"""What the browser tests do with a page, over and over."""

import base64
import io

import numpy as np
from PIL import Image

RUN_MS = 180_000
"""Longest wait for what the model makes."""


def open_page(context, url: str):
    page = context.new_page()
    page.goto(url)
    page.locator("#generate-button").wait_for(timeout=60_000)
    return page


def click_download(page, name: str) -> None:
    page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).first.click()


def wait_for_text(page, selector: str, text: str) -> None:
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.innerText.includes(text)",
        arg=[selector, text],
        timeout=RUN_MS,
    )


def pixels(page, image) -> np.ndarray:
    """The image as the browser got it, uint8 `(H, W, 3)`."""
    body = page.request.get(source).body() if (source := image.get_attribute("src")).startswith("http") else None
    if body is None:
        body = base64.b64decode(source.split(",", 1)[1])
    with Image.open(io.BytesIO(body)) as opened:
        assert opened.format == "PNG", "tiles must reach a person lossless"
        return np.asarray(opened.convert("RGB"))
