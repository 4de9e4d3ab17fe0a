"""The head of the page: what this is, the offer of a tour, and what explains words wherever they stand."""

import dataclasses
import json
from pathlib import Path

import gradio as gr

from medi_core.ui.glossary import definitions_html
from medi_core.ui.tour import STEPS

HERE = Path(__file__).parent
OFFER = "First time here?"
PANEL = """
<div id="tour" role="dialog" aria-labelledby="tour-title" tabindex="-1" hidden>
  <div aria-live="polite"><p id="tour-count"></p><h2 id="tour-title"></h2><p id="tour-text"></p></div>
  <div class="medi-tour-buttons"><button type="button" id="tour-skip">End the tour</button>
    <button type="button" id="tour-back">Back</button><button type="button" id="tour-next">Next</button></div>
</div>
"""


def build_page_head(title: str, notice: str) -> gr.HTML:
    """Title and notice; at their side the tour. Its panel stands in a corner of the window while it runs."""
    return gr.HTML(
        f'<div><h1>{title}</h1><p>{notice}</p></div><div id="tour-corner"><span id="tour-offer" hidden>{OFFER}</span> '
        '<button type="button" id="tour-start">Tour of 3 minutes</button> '
        f'<button type="button" id="tour-dismiss">No, thanks</button></div>{PANEL}{definitions_html()}',
        js_on_load=_script(),
        padding=False,
        elem_id="page-head",
        elem_classes="medi-head",
    )


def _script() -> str:
    """Both scripts, each in a scope of its own."""
    steps = json.dumps([dataclasses.asdict(step) for step in STEPS])
    tour, glossary = ((HERE / name).read_text(encoding="utf-8") for name in ("tour.js", "glossary.js"))
    return f"{{ const steps = {steps};\n{tour} }}\n{{ {glossary} }}"
