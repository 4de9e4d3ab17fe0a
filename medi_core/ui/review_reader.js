// The reader's page: asks the server for a question, shows it, sends the answer, and goes on once it is stored.
// Runs inside a gr.HTML component, which gives it `element` and `server`. All text goes in by textContent: what a
// server or a reader wrote is never read as HTML.

const root = element.querySelector('.medi-review');
const CONFIDENCE = ['guess', '', '', '', 'sure'];
const REALISM = ['not at all', '', '', '', 'as real'];
const ZOOMS = [1, 2, 4];
let study = null, about = null, who = null, step = null;
let chosen = {}, zoom = 0, isBusy = false;

// ------------------------------------------------------------------ building blocks
const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (name === 'onclick') node.addEventListener('click', value);
        else if (value === true) node.setAttribute(name, '');
        else if (value !== false && value !== null) node.setAttribute(name, value);
    }
    node.append(...children.filter(child => child !== null));
    return node;
};
// The second click of a double click counts for nothing: by then the button may stand under the next question.
const button = (label, onclick, attributes = {}) =>
    make('button', {type: 'button', onclick: event => event.detail > 1 || onclick(event), ...attributes}, label);
const field = (label, input) => make('label', {class: 'medi-review-field'}, label, input);
const readable = text => text.replaceAll('_', ' ');
const notice = make('p', {class: 'medi-review-notice', role: 'status', 'aria-live': 'polite'});
const say = text => {
    if (text === notice.textContent) return;  // a retry does not pull back who has scrolled to the tile
    notice.textContent = text;
    if (text) notice.scrollIntoView({block: 'nearest'});  // a form can be longer than the screen
};
const show = (...nodes) => root.replaceChildren(...nodes.filter(Boolean), notice);
const isInSight = () => element.offsetParent !== null;

// ------------------------------------------------------------------ the server
const wait = ms => new Promise(resolve => setTimeout(resolve, ms));

// Tries until the server answers: an answer is idempotent, so a second try cannot store it twice.
const ask = async (name, given) => {
    for (let pause = 1000; ; pause = Math.min(2 * pause, 10000)) {
        try {
            const answer = await server[name](given);
            if (answer && typeof answer === 'object') { say(''); return answer; }
        } catch (error) { console.warn(error); }
        say('No connection. Your last answer is not stored yet; trying again …');
        await wait(pause);
    }
};
const call = async (name, given) => {
    if (isBusy) return null;
    isBusy = true;
    root.setAttribute('aria-busy', 'true');
    try {
        const answer = await ask(name, {study, ...who, ...given});
        if (answer.error) { say(answer.error); return null; }
        return answer;
    } finally { isBusy = false; root.removeAttribute('aria-busy'); }
};

// ------------------------------------------------------------------ who is reading
const key = () => 'medi-review:' + study;
const remember = () => { try { localStorage.setItem(key(), JSON.stringify(who)); } catch { /* private window */ } };
const forget = () => { try { localStorage.removeItem(key()); } catch { /* private window */ } who = null; };
const remembered = () => { try { return JSON.parse(localStorage.getItem(key())); } catch { return null; } };

const newCode = () => {
    const letters = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789';  // 32, without those that look alike
    return [...crypto.getRandomValues(new Uint8Array(10))].map(byte => letters[byte % 32]).join('');
};

const start = async () => {
    study = new URLSearchParams(location.search).get('study');
    if (!study) return askForStudy();
    about = await call('review_describe', {});
    if (!about) return askForStudy();
    who = remembered();
    return who ? askWho() : welcome();
};
// A workstation is shared: whoever sits here now says so, before an answer counts for the one before.
const askWho = () => show(
    make('h3', {}, about.name),
    button(`Go on as “${who.reader}”`, () => resume(), {class: 'medi-review-main', id: 'review-same-reader'}),
    button('Someone else', leave, {class: 'medi-review-quiet', id: 'review-other-reader'}));
const askForStudy = () => {
    const input = make('input', {autocomplete: 'off', spellcheck: 'false'});
    const open = () => {
        const address = new URL(location.href);
        address.searchParams.set('tab', 'review');
        address.searchParams.set('study', input.value.trim());
        history.replaceState(null, '', address);
        start();
    };
    show(make('h3', {}, 'Blinded review'), make('p', {}, 'Open the link you were given, or enter the code of the study.'),
         field('Study', input), button('Open', open, {class: 'medi-review-main'}));
};
const welcome = () => {
    const reader = make('input', {autocomplete: 'username', spellcheck: 'false', maxlength: 40});
    const years = make('input', {type: 'number', inputmode: 'numeric', min: 0, max: 80});
    const speciality = make('select', {}, ...['', ...about.specialities].map(
        text => make('option', {value: text}, text || 'choose …')));
    const mine = newCode();  // drawn once: joining again after a lost answer is the same joining
    const join = async () => {
        who = {reader: reader.value.trim(), code: mine};
        const answer = await call('review_join', {
            years: years.value === '' ? null : Number(years.value), speciality: speciality.value});
        if (!answer) return;
        remember();
        showCode();
    };
    const known = make('input', {autocomplete: 'username', spellcheck: 'false'});
    const code = make('input', {autocomplete: 'off', spellcheck: 'false'});
    const goOn = () => { who = {reader: known.value.trim(), code: code.value.trim()}; resume(); };
    const practice = about.num_practice ? ` A practice round of ${about.num_practice} comes first.` : '';
    show(
        make('h3', {}, about.name),
        about.is_closed
            ? make('p', {}, 'This study is closed. With your reader id and code you can see how you did.')
            : make('p', {}, `${about.num_items} tiles, one at a time, no time limit.${practice} Every answer is stored at `
                   + 'once; you can stop and go on later, on any device.'),
        about.is_closed ? null : make('section', {},
            make('h4', {}, 'Take part'), field('Reader id (any you like, no name needed)', reader),
            field('Years of experience in pathology', years), field('Speciality', speciality),
            button('Begin', join, {class: 'medi-review-main', id: 'review-begin'})),
        make('details', {open: about.is_closed}, make('summary', {}, 'Go on with a study you began'),
             field('Reader id', known), field('Code', code), button('Go on', goOn, {class: 'medi-review-main'})));
};
const showCode = () => show(
    make('h3', {}, 'Your code'), make('p', {class: 'medi-review-code', id: 'review-code'}, who.code),
    make('p', {}, `Note it down. With “${who.reader}” and this code you can go on from any device.`),
    button('Go on', () => resume(), {class: 'medi-review-main', id: 'review-go-on'}));
const resume = async () => {
    if (isBusy) return;
    const next = await call('review_step', {});
    if (!next) return;  // why is on the page; what this device remembers stays
    remember();
    present(next);
};

// ------------------------------------------------------------------ one question
const present = next => {
    if (next.done) return finish(next);
    if (!step || step.item !== next.item) zoom = 0;
    step = next;
    const before = next.answer;
    chosen = next.form === 'origin' ? {...(before ?? {})}
           : ['several', 'marks'].includes(next.form) ? {values: [...(before ?? [])]} : {};
    draw();
    root.scrollIntoView({block: 'start'});
};
const finish = next => {
    step = null;
    show(make('h3', {}, 'Done'), make('p', {id: 'review-done'}, next.reveal
            ?? 'All your answers are stored. Thank you! When the study is closed, this link shows how you did.'),
         next.reveal ? null : button('← Back to the last question', () => goTo(next.place - 1)),
         button('Leave this device', leave, {class: 'medi-review-quiet'}));
};
const leave = () => { if (isBusy) return; forget(); step = null; welcome(); };
// Says the code once more: leaving forgets it, and nobody can look it up.
const pause = () => {
    if (isBusy) return;
    step = null;
    show(make('h3', {}, 'Paused'),
         make('p', {}, `All your answers are stored. With “${who.reader}” and this code you can go on from any device:`),
         make('p', {class: 'medi-review-code'}, who.code),
         button('Go on', () => resume(), {class: 'medi-review-main', id: 'review-go-on'}),
         button('Leave this device', leave, {class: 'medi-review-quiet'}));
};
const goTo = async place => { const next = await call('review_step', {place}); if (next) present(next); };
const back = () => { if (step && step.place > 0) goTo(step.place - 1); };
const answer = async value => {
    const stored = await call('review_answer', {item: step.item, task: step.task, value});
    if (!stored) return;  // a second click, or an error that is on the page
    if (!stored.feedback) return present(stored.next);
    const goOn = button('Next', () => present(stored.next), {class: 'medi-review-main', id: 'review-next'});
    step = {...step, form: 'feedback', forward: () => present(stored.next)};
    show(head(), tiles(), make('p', {class: 'medi-review-feedback'}, stored.feedback), examples(), goOn);
    goOn.focus({preventScroll: true});
};
const head = () => make('header', {},
    button('←', back, {'aria-label': 'Back one question', disabled: step.place === 0, class: 'medi-review-quiet'}),
    make('label', {}, `${step.is_practice ? 'Practice' : 'Tile'} ${step.number} of ${step.total}`,
         make('progress', {value: step.number - 1, max: step.total})),
    button('Zoom', turnZoom, {class: 'medi-review-quiet', 'aria-label': 'Zoom in or out'}),
    button('Pause', pause, {class: 'medi-review-quiet', id: 'review-pause'}),
    make('span', {class: 'medi-review-who'}, `Reader: ${who.reader}`));
const turnZoom = () => {
    zoom = (zoom + 1) % ZOOMS.length;
    for (const inner of root.querySelectorAll('.medi-review-inner')) inner.style.width = `${100 * ZOOMS[zoom]}%`;
};
const tiles = () => {
    const names = step.images.length === 2 ? ['Left tile', 'Right tile'] : ['Tile to judge'];
    const frames = step.images.map((source, i) => {
        const inner = make('div', {class: 'medi-review-inner', style: `width: ${100 * ZOOMS[zoom]}%`},
                           make('img', {src: source, alt: names[i], draggable: 'false'}));
        if (step.form === 'marks') inner.addEventListener('click', mark);
        return make('div', {class: 'medi-review-frame', style: `max-width: ${step.display_px}px`}, inner);
    });
    return make('div', {class: 'medi-review-tiles'}, ...frames);
};
const examples = () => step.examples.length ? make('figure', {class: 'medi-review-examples',
    style: `max-width: ${2 * step.display_px}px`}, make('figcaption', {}, step.examples_note),
    make('div', {class: 'medi-review-tiles'}, ...step.examples.map((source, i) =>
        make('div', {class: 'medi-review-frame'}, make('div', {class: 'medi-review-inner',
            style: `width: ${100 * ZOOMS[zoom]}%`}, make('img', {src: source, alt: `Example ${i + 1}`, draggable: 'false'})))))) : null;
const drawMarks = () => {
    const inner = root.querySelector('.medi-review-inner');
    inner?.querySelectorAll('.medi-review-mark').forEach(node => node.remove());
    chosen.values.forEach(([x, y], i) => inner.append(button('×', event => {
        event.stopPropagation();
        chosen.values.splice(i, 1);
        drawMarks();
    }, {class: 'medi-review-mark', style: `left: ${100 * x}%; top: ${100 * y}%`, 'aria-label': `Remove mark ${i + 1}`})));
    const next = root.querySelector('#review-next');
    if (next) next.textContent = chosen.values.length ? `Next (${chosen.values.length} marked)` : 'Nothing wrong';
};
const mark = event => {
    const box = event.currentTarget.getBoundingClientRect();
    const place = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    chosen.values.push(place.map(part => Math.round(1e4 * Math.min(Math.max(part, 0), 1)) / 1e4));
    drawMarks();
};

// ------------------------------------------------------------------ forms of answer
const pressed = is => ({'aria-pressed': is ? 'true' : 'false'});
const scale = (labels, current, pick) => make('div', {class: 'medi-review-scale'}, ...labels.map((label, i) =>
    button(`${i + 1}`, () => pick(i + 1), {...pressed(current === i + 1), 'data-label': label,
           'aria-label': label ? `${i + 1}, ${label}` : `${i + 1}`})));
const completeOrigin = part => {
    Object.assign(chosen, part);
    if (chosen.choice && chosen.confidence && part.confidence) answer({choice: chosen.choice, confidence: chosen.confidence});
    else draw();
};
const toggle = value => {
    chosen.values = chosen.values.includes(value) ? chosen.values.filter(v => v !== value) : [...chosen.values, value];
    draw();
};
const nextButton = (label, value) =>
    button(label, () => answer(value()), {class: 'medi-review-main', id: 'review-next'});
const FORMS = {
    origin: () => [
        make('div', {class: 'medi-review-two'}, ...['real', 'synthetic'].map(kind => button(
            kind === 'real' ? 'Real' : 'Synthetic', () => completeOrigin({choice: kind}), pressed(chosen.choice === kind)))),
        make('p', {class: 'medi-review-hint'}, 'How sure are you?'),
        scale(CONFIDENCE, chosen.confidence, confidence => completeOrigin({confidence}))],
    scale: () => [scale(REALISM, step.answer, answer)],
    choice: () => [make('div', {class: 'medi-review-list'}, ...step.options.map(option =>
        button(readable(option), () => answer(option), pressed(step.answer === option))))],
    several: () => [
        make('div', {class: 'medi-review-list'}, ...step.options.map(option =>
            button(option, () => toggle(option), pressed(chosen.values.includes(option))))),
        nextButton('Next', () => chosen.values)],
    marks: () => [nextButton('Nothing wrong', () => chosen.values)],
    text: () => {
        const input = make('textarea', {rows: 3, maxlength: 2000, 'aria-label': 'Comment'});
        input.value = step.answer ?? '';
        return [input, nextButton('Next', () => input.value)];
    },
    side: () => [make('div', {class: 'medi-review-two'}, ...['left', 'right'].map(side =>
        button(side === 'left' ? 'Left' : 'Right', () => answer(side), pressed(step.answer === side))))],
};
const KEYS = {
    origin: 'Keys: R or S, then 1 to 5; ← back; Z zoom', scale: 'Keys: 1 to 5; ← back; Z zoom',
    choice: 'Keys: 1 to 9; ← back; Z zoom', several: 'Keys: 1 to 9, Enter; ← back; Z zoom',
    marks: 'Keys: Enter next; ← back; Z zoom', text: '', side: 'Keys: 1 left, 2 right; ← back; Z zoom',
};
const draw = () => {
    const keep = step.answer !== null && ['origin', 'scale', 'choice', 'side'].includes(step.form)
        ? button('Keep my answer →', () => goTo(step.place + 1), {class: 'medi-review-quiet', id: 'review-keep'}) : null;
    show(head(), tiles(), make('p', {class: 'medi-review-question', id: 'review-question'}, step.question),
         examples(), ...FORMS[step.form](), keep, KEYS[step.form] ? make('p', {class: 'medi-review-keys'}, KEYS[step.form]) : null);
    if (step.form === 'marks') drawMarks();
};

// ------------------------------------------------------------------ keyboard
const onDigit = digit => {
    const option = step.options[digit - 1];
    if (step.form === 'origin' && digit <= 5) completeOrigin({confidence: digit});
    else if (step.form === 'scale' && digit <= 5) answer(digit);
    else if ((step.form === 'choice' || step.form === 'side') && option) answer(option);
    else if (step.form === 'several' && option) toggle(option);
};
document.addEventListener('keydown', event => {
    if (!step || !isInSight() || isBusy || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest('input, textarea, select, summary')) return;
    const pressedKey = event.key.toLowerCase(), onButton = event.target.closest('button');
    if (step.form === 'feedback') { if (pressedKey === 'enter' && !onButton) step.forward(); return; }
    if (pressedKey >= '1' && pressedKey <= '9') onDigit(Number(pressedKey));
    else if (step.form === 'origin' && pressedKey === 'r') completeOrigin({choice: 'real'});
    else if (step.form === 'origin' && pressedKey === 's') completeOrigin({choice: 'synthetic'});
    else if (pressedKey === 'arrowleft' || pressedKey === 'backspace') back();
    else if (pressedKey === 'z') turnZoom();
    else if (pressedKey === 'enter' && !onButton) root.querySelector('#review-next, #review-keep')?.click();
    else return;
    event.preventDefault();
});

new IntersectionObserver((entries, observer) => {
    if (!entries.some(entry => entry.isIntersecting)) return;
    observer.disconnect();
    start();
}).observe(element);
