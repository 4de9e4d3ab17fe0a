"""A plotly figure that raises events: Gradio's own plot component has none. The one ui file that knows plotly.js.

plotly.js comes from the installed plotly package and is served by this app: no network is needed, and the browser has
the version that the figure was made for. It is loaded when the first figure comes into sight.
"""

from pathlib import Path

import gradio as gr
import plotly

PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
KEYS_JS = Path(__file__).with_name("points_by_keys.js")
_KEYS = """
<div class="medi-keys" role="group" aria-label="Points of the figure, by keys">
  <label>Points of <select><option value="">All that are shown</option></select></label>
  <label>Point, from left to right <input type="range" min="0" max="0" value="0" step="1"></label>
  <button type="button">Show its tile</button>
  <button type="button">Count these points</button>
  <span class="medi-keys-point medi-note">The same as a click and a lasso, for keys</span>
</div>
"""
_SCRIPT = """
const source = %r;
const target = () => element.querySelector('.medi-plot');
const fitToPhone = layout => {
    const bar = layout.coloraxis?.colorbar;
    if (bar) {  // beside a heat map it would take a third of the width
        const y = layout.showlegend ? 1.1 : 1.02;
        Object.assign(bar, {orientation: 'h', x: 0.5, xanchor: 'center', y, yanchor: 'bottom', len: 0.9});
        layout.margin = {...layout.margin, t: 110};
        for (const [name, axis] of Object.entries(layout)) {
            if (/^[xy]axis/.test(name)) axis.tickfont = {...axis.tickfont, size: 8};
        }
    }
    const legend = layout.legend ??= {};
    if (legend.orientation === 'h') {  // stands above the figure, there in several lines
        layout.height += 80;
    } else {  // beside the figure it would leave no room for it
        Object.assign(legend, {orientation: 'h', x: 0, xanchor: 'left', y: -0.02, yanchor: 'top', maxheight: 200,
                               font: {size: 10}});
    }
};
const hasWebGL = (() => {
    try { return !!document.createElement('canvas').getContext('webgl'); } catch { return false; }
})();
const library = () => window.mediPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = (window.gradio_config?.root ?? '') + '/gradio_api/file=' + source;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { window.mediPlotly = undefined; reject(new Error('plotly.js could not be loaded')); };
    document.head.append(script);
});
const wire = plot => {
    // a click inside a finished lasso would otherwise clear it before its tile is shown
    plot.on('plotly_click', event => trigger('click', {point: event.points[0].customdata}));
    plot.on('plotly_selected', event => {
        if (event) trigger('select', {points: event.points.map(point => point.customdata)});
    });
    new ResizeObserver(() => { if (plot.offsetParent) window.Plotly.Plots.resize(plot); }).observe(plot);
    plot.dataset.wired = 'yes';
};
const draw = async () => {
    if (!props.value) { if (target().dataset.drawn) window.Plotly.react(target(), [], {}); return; }
    const plot = target(), figure = JSON.parse(props.value);
    if (plot.clientWidth < 600) fitToPhone(figure.layout);
    if (figure.layout.height) plot.style.height = `${figure.layout.height}px`;
    if (!hasWebGL) figure.data.forEach(trace => { if (trace.type === 'scattergl') trace.type = 'scatter'; });
    try {
        const Plotly = await library();
        const config = {displaylogo: false, responsive: true, scrollZoom: true,
                        modeBarButtonsToAdd: ['lasso2d', 'select2d'], modeBarButtonsToRemove: ['autoScale2d']};
        await Plotly.react(plot, figure.data, figure.layout, config);
        if (!plot.dataset.wired) wire(plot);
        plot.dataset.drawn = String(Number(plot.dataset.drawn ?? 0) + 1);
    } catch (error) { plot.textContent = `The figure cannot be shown: ${error.message}`; }
};
watch('value', draw);
draw();
new IntersectionObserver((entries, observer) => {
    if (!entries.some(entry => entry.isIntersecting)) return;
    observer.disconnect();
    trigger('focus', {dark: document.body.classList.contains('dark')});
}).observe(element);
"""


def build_plot(label: str, elem_id: str, height_px: int, by_keys: bool = False) -> gr.HTML:
    """A place for a figure; its value is the figure's JSON. A figure with a height of its own gets that.

    Args:
        label: what it shows, for screen readers.
        by_keys: with controls below it that reach each point, and all of a value, by keys. Its traces of points then
            have `customdata`, the origin as `meta`, and a text a point or numbers as colours.

    Events, with their data: `focus` {dark} once, when it first comes into sight; `click` {point} and
    `select` {points}, the `customdata` of the points.
    """
    gr.set_static_paths([PLOTLY_JS])
    return gr.HTML(
        "",
        html_template=f'<div class="medi-plot" role="figure" aria-label="{label}" style="height: {height_px}px"></div>'
        + (_KEYS if by_keys else ""),
        js_on_load=_SCRIPT % str(PLOTLY_JS) + (KEYS_JS.read_text(encoding="utf-8") if by_keys else ""),
        elem_id=elem_id,
        apply_default_css=False,
    )
