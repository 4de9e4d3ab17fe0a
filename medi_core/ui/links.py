"""Links that restore a tab's controls: the values travel in the address, nothing is kept on the server."""

import json
from collections.abc import Mapping, Sequence

import gradio as gr


def copy_link_js(tab: str, names: Sequence[str]) -> str:
    """JavaScript: the controls' values → a link, shown and put on the clipboard where the browser allows."""
    return f"""(...values) => {{
        const link = ({link_js(tab, names)})(...values);
        if (navigator.clipboard) {{ navigator.clipboard.writeText(link).catch(() => {{}}); }}
        return link;
    }}"""


def link_js(tab: str, names: Sequence[str]) -> str:
    """JavaScript: the controls' values → a link, with the address as the browser has it, behind whatever proxy."""
    return f"""(...values) => {{
        const names = {json.dumps(list(names))};
        const query = new URLSearchParams({{tab: {json.dumps(tab)}}});
        names.forEach((name, i) => {{
            const value = values[i];
            if (value !== null && value !== undefined && value !== "") {{
                query.set(name, Array.isArray(value) ? value.join("|") : value);
            }}
        }});
        return location.origin + location.pathname + "?" + query;
    }}"""


def build_link_button(tab: str, controls: Mapping[str, gr.components.Component]) -> None:
    """A "Copy link" button for a tab's named controls, and the field that shows the link."""
    button = gr.Button("Copy link to these settings", size="sm", variant="secondary")
    link = gr.Textbox(label="Link", visible="hidden", interactive=False, buttons=["copy"])
    button.click(
        None, list(controls.values()), link, js=copy_link_js(tab, list(controls)), api_visibility="private"
    ).then(lambda: gr.Textbox(visible=True), None, link, api_visibility="private", show_progress="hidden")


Choices = list[tuple[str, str]]


def restore(
    query: Mapping[str, str],
    controls: Mapping[str, gr.components.Component],
    choices: Mapping[str, Choices] | None = None,
) -> list[object]:
    """Updates for the controls: the link's value where it names an allowed one, else no change.

    Args:
        query: the address' parameters.
        controls: name → component.
        choices: name → choices of a dropdown whose choices the link changes, too.
    """
    return [_restored(component, query.get(name), (choices or {}).get(name)) for name, component in controls.items()]


def _restored(component: gr.components.Component, text: str | None, choices: Choices | None) -> object:
    if text is None:
        return gr.skip()
    try:
        value = _parse(component, text, component.choices if choices is None and _has_choices(component) else choices)
    except (ValueError, OverflowError):
        return gr.skip()  # an old or mistyped link must not break the page
    return gr.update(value=value) if choices is None else gr.update(value=value, choices=choices)


def _parse(component: gr.components.Component, text: str, choices: Choices | None) -> object:
    if isinstance(component, gr.Checkbox):
        return text == "true"
    if isinstance(component, (gr.Slider, gr.Number)):
        value = float(text)
        low, high = component.minimum, component.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(text)
        return int(value) if value == int(value) else value
    allowed = {str(value): value for _, value in choices or ()}
    is_multiple = getattr(component, "multiselect", False)
    values = text.split("|") if is_multiple else [text]
    if not set(values) <= set(allowed):
        raise ValueError(text)
    return [allowed[v] for v in values] if is_multiple else allowed[text]


def _has_choices(component: gr.components.Component) -> bool:
    return hasattr(component, "choices")
