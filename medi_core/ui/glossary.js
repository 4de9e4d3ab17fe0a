// Shows what a word means beside it: while the mouse or the keyboard is on it, or after a touch. Escape hides it, and the
// mouse may move onto it (WCAG 1.4.13). The texts are in the page, hidden; a screen reader takes them from there.
// Runs inside a gr.HTML component, which gives it `element`.

const note = document.createElement('div');
note.className = 'medi-tooltip';
note.setAttribute('aria-hidden', 'true');  // the word itself names its text by aria-describedby
note.popover = 'manual';  // above everything, and cut off by nothing
element.append(note);
let shown = null, leaving = 0;

const place = word => {
    const at = word.getBoundingClientRect(), box = note.getBoundingClientRect(), margin = 8;
    const left = Math.min(Math.max(at.left, margin), innerWidth - box.width - margin);
    const below = at.bottom + 4, above = at.top - box.height - 4;
    note.style.left = `${Math.max(left, margin)}px`;
    note.style.top = `${below + box.height < innerHeight || above < 0 ? below : above}px`;
};
const show = word => {
    clearTimeout(leaving);
    if (shown === word) return;
    const text = document.getElementById(word.getAttribute('aria-describedby'));
    if (!text) return;
    shown = word;
    note.textContent = text.textContent;
    note.showPopover();
    place(word);
};
const hide = () => { clearTimeout(leaving); if (shown) { shown = null; note.hidePopover(); } };
const wordOf = event => event.target instanceof Element ? event.target.closest('.medi-term') : null;

document.addEventListener('pointerover', event => {
    if (event.pointerType === 'touch') return;  // a touch is a click below
    const word = wordOf(event);
    if (word) show(word);
    else if (note.contains(event.target)) clearTimeout(leaving);
    else if (shown && shown !== document.activeElement) { clearTimeout(leaving); leaving = setTimeout(hide, 250); }
});
document.addEventListener('focusin', event => { const word = wordOf(event); if (word) show(word); else hide(); });
document.addEventListener('focusout', event => { if (event.target === shown) hide(); });
document.addEventListener('click', event => {
    const word = wordOf(event);
    if (word) show(word); else if (!note.contains(event.target)) hide();
});
document.addEventListener('keydown', event => { if (event.key === 'Escape') hide(); });
document.addEventListener('scroll', event => { if (shown && !note.contains(event.target)) place(shown); }, true);
