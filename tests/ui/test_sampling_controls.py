"""The sampling controls: what they offer, and what they mean for a request."""

import gradio as gr
import pytest

from medi_core.metadata.schema import MetadataRecord
from medi_core.services.default_sampling import DEFAULT_GUIDANCE, DEFAULT_STEPS, settled
from medi_core.services.generation_request import GenerationRequest
from medi_core.services.request_checks import ALL_LEVELS
from medi_core.ui.links import restore
from medi_core.ui.sampling_controls import (
    build_interval_controls,
    build_sampling_controls,
    build_size_controls,
    window_of,
)


def test_untouched_controls_are_the_defaults_of_a_request():
    with gr.Blocks():
        steps, guidance = build_sampling_controls(DEFAULT_STEPS, DEFAULT_GUIDANCE)
        low, high = build_interval_controls()
        size = build_size_controls(32)
    given = settled(GenerationRequest(MetadataRecord(), (1,)), (DEFAULT_STEPS, DEFAULT_GUIDANCE))
    assert (steps.value, guidance.value) == (given.num_inference_steps, given.guidance_scale)
    assert (low.value, high.value) == ALL_LEVELS == given.guidance_interval
    assert (size.side.value, size.side.value) == given.side_px
    assert window_of(size.side.value, size.window.value) is given.window_px is None


def test_a_few_step_checkpoint_starts_with_its_own_steps_within_the_slider():
    with gr.Blocks():
        steps, guidance = build_sampling_controls(2, 1.0)
    assert steps.minimum <= steps.value == 2
    assert guidance.value == guidance.minimum == 1


@pytest.mark.parametrize(("side", "window", "meant"), [(128, 128, None), (192, 128, 128), (512, 0, None)])
def test_windows_are_for_larger_images_only(side, window, meant):
    assert window_of(side, window) == meant


@pytest.mark.parametrize(("multiple", "sides"), [(32, [128, 192, 256, 384, 512]), (128, [128, 256, 384, 512])])
def test_only_sides_that_the_checkpoint_takes_are_offered(multiple, sides):
    with gr.Blocks():
        size = build_size_controls(multiple)
    assert [value for _, value in size.side.choices] == sides
    assert not size.window.interactive, "at the smallest side there is nothing to choose"


def test_a_link_restores_windows_and_interval():
    with gr.Blocks():
        low, high = build_interval_controls()
        size = build_size_controls(32)
    controls = {"guide_low": low, "guide_high": high, "side": size.side, "window": size.window}
    query = {"guide_low": "0.2", "guide_high": "0.85", "side": "256", "window": "128"}
    assert [update["value"] for update in restore(query, controls)] == [0.2, 0.85, 256, 128]
