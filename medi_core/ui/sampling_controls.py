"""How tiles are sampled: the controls that several tabs show, with their bounds in one place."""

from dataclasses import dataclass

import gradio as gr

from medi_core.services.generation_request import WINDOW_PX

MIN_STEPS, MAX_STEPS = 4, 50
MIN_GUIDANCE, MAX_GUIDANCE, GUIDANCE_STEP = 1, 4, 0.1
SIDES = (128, 192, 256, 384, 512)
WHOLE = 0
"""The value of "Whole image at once": a link carries numbers."""


def build_sampling_controls(num_steps: int, scale: float) -> tuple[gr.Slider, gr.Slider]:
    """Steps and guidance; they start as the checkpoint is made for, also a few-step one."""
    fewest = min(MIN_STEPS, num_steps)
    steps = gr.Slider(fewest, MAX_STEPS, value=num_steps, step=1, label="Denoising steps", buttons=[])
    guidance = build_guidance_slider(
        "Guidance",
        scale,
        info="1 = as in the training tiles; more pushes harder towards the chosen metadata",
    )
    return steps, guidance


def build_guidance_slider(label: str, value: float, info: str | None = None, visible: bool = True) -> gr.Slider:
    """One guidance scale."""
    return gr.Slider(
        MIN_GUIDANCE,
        MAX_GUIDANCE,
        value=value,
        step=GUIDANCE_STEP,
        label=label,
        info=info,
        buttons=[],
        visible=visible,
    )


def build_interval_controls() -> tuple[gr.Slider, gr.Slider]:
    """Low and high end of the noise levels at which guidance applies."""
    with gr.Group():
        low = gr.Slider(
            0,
            1,
            value=0,
            step=0.05,
            label="Guide only between noise level …",
            info="0 = the finished tile, 1 = pure noise",
            buttons=[],
        )
        high = gr.Slider(
            0,
            1,
            value=1,
            step=0.05,
            label="… and noise level",
            info="to leave out an end can give more varied tiles",
            buttons=[],
        )
    return low, high


@dataclass(frozen=True)
class SizeControls:
    """Side, and how images larger than the network's training tiles are denoised."""

    side: gr.Dropdown
    window: gr.Dropdown


def build_size_controls(side_multiple_px: int) -> SizeControls:
    """Sides the checkpoint takes; the second control is off where there is nothing to choose."""
    sides = [side for side in SIDES if side % side_multiple_px == 0]
    side = gr.Dropdown([(f"{s} × {s} px", s) for s in sides], value=sides[0], label="Size (0.5 µm per px)")
    window = gr.Dropdown(
        [("Whole image at once", WHOLE), (f"Overlapping {WINDOW_PX} px windows", WINDOW_PX)],
        value=WHOLE,
        label="Larger images",
        info=f"Above {WINDOW_PX} px. Windows have the size of the training tiles, and take longer.",
        interactive=_has_windows(sides[0]),
    )
    side.change(
        lambda chosen: gr.update(interactive=_has_windows(chosen)),
        side,
        window,
        show_progress="hidden",
        api_visibility="private",
    )
    return SizeControls(side, window)


def window_of(side_px: int, window_px: int) -> int | None:
    """What the two size controls mean for a request."""
    return window_px if _has_windows(side_px) and window_px != WHOLE else None


def _has_windows(side_px: int) -> bool:
    return side_px > WINDOW_PX
