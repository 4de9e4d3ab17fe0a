"""How far a combination can be trusted, in words: what probes see of it in synthetic tiles and in real ones."""

from medi_core.errors import ReferenceSetError
from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord
from medi_core.services.asked_versus_got import Trust
from medi_core.services.fidelity import FidelityService

FAIR = 0.5
"""Below it a combination is marked: the probe names what was asked for half as often as on real tiles."""


def trust_badge(fidelity: FidelityService, record: MetadataRecord) -> str:
    """HTML; empty where there is no pair to trust, or no reference set of this checkpoint to tell."""
    if record.cancer_type is None or record.center is None:
        return ""
    try:
        trust = fidelity.trust_of(record)
    except ReferenceSetError:
        return ""
    if trust is None:
        return (
            '<p class="medi-note">Trust: not measured for this cancer type and center (too few tiles to judge by).</p>'
        )
    head = f'<b class="{_class(trust)}">Trust {trust.value:.2f}.</b> {_advice(trust)}'
    return f'<p class="medi-note">{head}<br>{_sentence(trust)}</p>'


def _advice(trust: Trust) -> str:
    """What the number means, and what to do with such tiles."""
    what = ATTRIBUTE[trust.weakest].label.lower()
    if trust.value >= FAIR:
        return f"Such tiles show the {what} at least half as often as real ones do: compare a few before you use them."
    seldom = "never" if trust.agreement[0] == 0 else "seldom"
    return f"Such tiles {seldom} show the {what} asked for: look at them, but do not use them as examples of it."


def _sentence(trust: Trust) -> str:
    what = ATTRIBUTE[trust.weakest].label.lower()
    return (
        f"A probe finds the {what} asked for on {_share(trust.agreement)} of {trust.num_tiles} synthetic tiles of "
        f"{trust.group} pairs, and on {_share(trust.real_agreement)} of {trust.num_real} held-out real tiles of "
        f"{trust.num_patients} patients (95 % intervals; of cancer type and center, the weaker)."
    )


def _share(agreement: tuple[float, float, float]) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*agreement)


def _class(trust: Trust) -> str:
    return "medi-ok" if trust.value >= FAIR else "medi-off"
