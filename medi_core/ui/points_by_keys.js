// Points of a figure without a pointer: a list of values, a slider through their points, and buttons for a click and a
// lasso. Stands behind the script of plot_view.py, in the same function. Shown are the points in view of visible traces.
const keys = element.querySelector('.medi-keys');
const [among, slider] = ['select', 'input'].map(name => keys.querySelector(name));
const [show, count] = keys.querySelectorAll('button');
const words = keys.querySelector('.medi-keys-point');
const EVERY = '';
let points = [], isStale = true;

const shownTraces = () => (target()._fullData ?? []).filter(trace => trace.visible === true && trace.customdata);
const pointsOf = trace => {
    const {xaxis, yaxis} = target()._fullLayout;
    const isWithin = (value, [low, high]) => value >= Math.min(low, high) && value <= Math.max(low, high);
    const all = Array.from(trace.customdata, (id, at) => ({id, at, trace, x: trace.x[at], y: trace.y[at]}));
    return all.filter(({x, y}) => isWithin(x, xaxis.range) && isWithin(y, yaxis.range));
};
const textOf = ({trace, at}) => {
    const value = Array.isArray(trace.text) ? trace.text[at] : Number(trace.marker.color[at]).toPrecision(3);
    return `${value}, ${trace.meta}`;
};
const fillList = traces => {
    const names = new Map();
    for (const {legendgroup, showlegend, name} of traces) {
        if (legendgroup && (showlegend || !names.has(legendgroup))) names.set(legendgroup, name);
    }
    const options = [[EVERY, 'All that are shown'], ...[...names].sort((a, b) => a[1].localeCompare(b[1]))];
    const chosen = names.has(among.value) ? among.value : EVERY;
    among.replaceChildren(...options.map(([value, text]) => new Option(text, value, false, value === chosen)));
};
const collect = () => {  // from left to right: neighbours on the slider are neighbours in x at least
    points = shownTraces().filter(trace => among.value === EVERY || trace.legendgroup === among.value)
        .flatMap(pointsOf).sort((a, b) => a.x - b.x);
    slider.max = Math.max(0, points.length - 1);
    slider.disabled = show.disabled = count.disabled = !points.length;
    isStale = false;
    tell();
};
const tell = () => {
    const point = points[slider.valueAsNumber];
    const text = point ? `${slider.valueAsNumber + 1} of ${points.length}: ${textOf(point)}` : 'No point is in view';
    slider.setAttribute('aria-valuetext', text);  // read out by screen readers at each step
    words.textContent = text;
    if (point && keys.contains(document.activeElement)) {  // and seen, as under a mouse; WebGL finds a place, no index
        window.Plotly.Fx.hover(target(), {xval: point.x, yval: point.y});
    }
};
const refresh = () => {
    if (!isStale || !target().dataset.drawn) return;
    fillList(shownTraces());
    collect();
};
const click = () => { if (points.length) trigger('click', {point: points[slider.valueAsNumber].id}); };

keys.addEventListener('focusin', refresh);
keys.addEventListener('focusout', event => {
    if (!keys.contains(event.relatedTarget) && target()._fullLayout) window.Plotly.Fx.unhover(target());
});
among.addEventListener('change', () => { slider.value = 0; collect(); });
slider.addEventListener('input', tell);
slider.addEventListener('keydown', event => { if (event.key === 'Enter') click(); });
show.addEventListener('click', click);
count.addEventListener('click', () => trigger('select', {points: points.map(point => point.id)}));
new MutationObserver(() => {  // drawn anew: other colours, other tiles
    isStale = true;
    if (target().on && !keys.dataset.wired) {
        target().on('plotly_relayout', () => { isStale = true; });
        target().on('plotly_restyle', () => { isStale = true; });
        keys.dataset.wired = 'yes';
    }
    if (keys.contains(document.activeElement)) refresh();
}).observe(target(), {attributeFilter: ['data-drawn']});
