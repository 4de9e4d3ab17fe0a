"""Links restore controls; a wrong link changes nothing."""

import gradio as gr
import pytest

from medi_core.ui.links import copy_link_js, restore


@pytest.fixture
def controls() -> dict[str, gr.components.Component]:
    with gr.Blocks():
        return {
            "center": gr.Dropdown([("Any", ""), ("Paris ●", "Paris")], value=""),
            "eosin": gr.Slider(0, 5, step=1),
            "seed": gr.Number(precision=0, minimum=0, maximum=100),
            "is_locked": gr.Checkbox(),
            "values": gr.Dropdown(["a", "b"], multiselect=True),
            "side": gr.Dropdown([("128 px", 128)]),
        }


def value_of(update: dict) -> object:
    return update.get("value", "unchanged")


def test_each_kind_of_control_is_restored(controls):
    query = {"center": "Paris", "eosin": "4", "seed": "12", "is_locked": "true", "values": "a|b", "side": "128"}
    assert [value_of(u) for u in restore(query, controls)] == ["Paris", 4, 12, True, ["a", "b"], 128]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"center": "Mars"},
        {"eosin": "9"},
        {"seed": "-1"},
        {"seed": "x"},
        {"seed": "inf"},
        {"seed": "nan"},
        {"values": "z"},
    ],
)
def test_what_a_link_does_not_name_or_names_wrongly_stays_as_it_is(controls, query):
    assert {value_of(u) for u in restore(query, controls)} == {"unchanged"}


def test_the_link_carries_the_tab_and_every_control(controls):
    script = copy_link_js("compare", list(controls))
    assert 'tab: "compare"' in script
    assert all(f'"{name}"' in script for name in controls)
