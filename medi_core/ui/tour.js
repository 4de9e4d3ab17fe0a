// The guided tour: a panel in a corner, which leaves the page usable; goes from tab to tab and rings what it speaks of.
// Offered on the first visit; this browser remembers the answer. Runs inside a gr.HTML component, which gives it
// `element`, and below `steps`, the list of ui/tour.py.

const SEEN = 'medi-tour';
const part = name => element.querySelector(`#tour-${name}`);
const panel = element.querySelector('#tour');
let at = 0, ringed = null;

// without storage (an embedded page, a private window) the offer comes again, and nothing breaks
const wasSeen = () => { try { return localStorage.getItem(SEEN) !== null; } catch { return false; } };
const offer = isOffered => { part('offer').hidden = part('dismiss').hidden = !isOffered; };
const remember = () => {
    offer(false);
    try { localStorage.setItem(SEEN, 'yes'); } catch { /* see above */ }
};
const tabOf = step => document.querySelector(`[role="tab"][data-tab-id="${step.tab}"]`);
const targetOf = step => step.target
    ? [...document.querySelectorAll(step.target)].find(found => found.offsetParent) : tabOf(step);
const unring = () => { ringed?.removeAttribute('data-ringed'); ringed = null; };
const ring = async number => {
    for (let tries = 0; tries < 100 && number === at && !panel.hidden; tries++) {
        const target = targetOf(steps[number]);
        if (target) {  // a tab is built when it is first opened
            ringed = target;
            target.setAttribute('data-ringed', '');
            target.scrollIntoView();
            await new Promise(resolve => setTimeout(resolve, 1000));
            if (ringed === target) target.scrollIntoView();  // what was built above it has pushed it down
            return;
        }
        await new Promise(resolve => setTimeout(resolve, 50));
    }
};
const show = number => {
    at = number;
    const step = steps[number];
    part('count').textContent = `${number + 1} of ${steps.length}`;
    part('title').textContent = step.title;
    part('text').textContent = step.text;
    part('back').disabled = number === 0;
    part('next').textContent = number === steps.length - 1 ? 'Done' : 'Next';
    panel.hidden = false;
    unring();
    if (step.target) tabOf(step)?.click();
    ring(number);
};
const end = () => {
    panel.hidden = true;
    unring();
    part('start').focus();
};

part('start').addEventListener('click', () => { remember(); show(0); panel.focus(); });
part('dismiss').addEventListener('click', () => { remember(); part('start').focus(); });
part('back').addEventListener('click', () => show(at - 1));
part('next').addEventListener('click', () => { if (at < steps.length - 1) show(at + 1); else end(); });
part('skip').addEventListener('click', end);
panel.addEventListener('keydown', event => { if (event.key === 'Escape') end(); });

// whoever follows a link has come for something
const query = new URLSearchParams(location.search);
offer(!wasSeen() && !query.has('tab'));
