"""One tile, large, with what was asked for beside what was measured."""

from html import escape
from math import isnan

from medi_core.metadata.schema import ATTRIBUTE
from medi_core.metadata.vocabulary import Vocabulary, describe
from medi_core.services.generated_tile import GeneratedTile
from medi_core.services.request_checks import ALL_LEVELS
from medi_core.ui.metadata_controls import support_badge


def tile_details(vocabulary: Vocabulary, tile: GeneratedTile) -> str:
    """HTML table: attribute, requested, measured on the tile; then how the tile was made."""
    asked = tile.record.to_dict()
    rows = []
    for name in vocabulary.attributes:
        requested = vocabulary.label(name, asked[name]) if name in asked else "any"
        rows.append((ATTRIBUTE[name].label, requested, _measured(vocabulary, tile, name)))
    body = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td>{escape(requested)}</td><td>{measured}</td></tr>'
        for label, requested, measured in rows
    )
    return (
        '<table class="medi-table"><thead><tr><th scope="col">Attribute</th><th scope="col">Requested</th>'
        f'<th scope="col">Measured</th></tr></thead><tbody>{body}</tbody></table>'
        f'<p class="medi-note">Synthetic. {_how_made(vocabulary, tile)}</p>{support_badge(vocabulary, tile.record)}'
    )


def stain_table(vocabulary: Vocabulary, columns: dict[str, tuple[float, float]]) -> str:
    """HTML table: hematoxylin and eosin strength of several images, column title → (H, E)."""
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in columns)
    body = ""
    for i, name in enumerate(("hematoxylin", "eosin")):
        cells = "".join(f"<td>{stain_text(vocabulary, name, strengths[i])}</td>" for strengths in columns.values())
        body += f'<tr><th scope="row">{ATTRIBUTE[name].label}</th>{cells}</tr>'
    return f'<table class="medi-table"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'


def stain_text(vocabulary: Vocabulary, name: str, strength: float) -> str:
    """`0.92 (bin 3)`, or that it cannot be measured."""
    if isnan(strength):
        return "too little tissue"
    in_bin = f" (bin {vocabulary.bin_of(name, strength)})" if name in vocabulary.bin_edges else ""
    return f"{strength:.2f}{in_bin}"


def _how_made(vocabulary: Vocabulary, tile: GeneratedTile) -> str:
    height, width = tile.image.shape[:2]
    guidance, size = f"guidance {tile.guidance_scale:g}", f"{width}×{height} px"
    if tile.guidance_interval != ALL_LEVELS:
        guidance += " between noise levels {:g} and {:g}".format(*tile.guidance_interval)
    if tile.window_px is not None:
        size += f" in windows of {tile.window_px} px"
    blend = ""
    if tile.other_record is not None:
        blend = f"{tile.other_weight:.0%} of the way to {escape(describe(vocabulary, tile.other_record))} · "
    return (
        f"{blend}Seed {tile.seed} · {tile.num_inference_steps} steps · {guidance} · {size} · "
        f"checkpoint {escape(tile.checkpoint_id)}"
    )


def _measured(vocabulary: Vocabulary, tile: GeneratedTile, name: str) -> str:
    strength = {"hematoxylin": tile.hematoxylin, "eosin": tile.eosin}.get(name)
    if strength is None:
        return "–"
    text = stain_text(vocabulary, name, strength)
    asked = getattr(tile.record, name)
    if asked is None or isnan(strength):
        return text
    if vocabulary.bin_of(name, strength) == asked:
        return f'{text} <span class="medi-ok">as asked</span>'
    off = int(vocabulary.bin_of(name, strength)) - int(asked)
    return f'{text} <span class="medi-off">{off:+d} {"bin" if abs(off) == 1 else "bins"}</span>'
