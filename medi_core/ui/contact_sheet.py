"""The counterfactual grid as HTML for the page and as one labelled PNG for a paper."""

from html import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medi_core.data.tile_files import NOTICE, encode_png
from medi_core.metadata.schema import ATTRIBUTE, MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.services.comparison import ComparisonCell, ComparisonRequest
from medi_core.services.generated_tile import GeneratedTile
from medi_core.ui.glossary import term
from medi_core.ui.handlers import data_uri, png_of
from medi_core.ui.metadata_controls import describe

Grid = list[list[ComparisonCell]]
MARGIN_PX, HEADER_PX, ROW_LABEL_PX, FOOTER_PX = 8, 64, 190, 34
NOTICE_PX = 56  # three lines: as many as the narrowest sheet needs


def grid_html(vocabulary: Vocabulary, request: ComparisonRequest, grid: Grid) -> str:
    """A table: swept values across and down, tiles in the cells, real counts under each."""
    head = "".join(
        f'<th scope="col">{escape(_axis_label(vocabulary, request.column_attribute, value))}</th>'
        for value in request.column_values
    )
    body = "".join(
        f'<tr><th scope="row">{escape(_row_label(vocabulary, request, i))}</th>'
        + "".join(f"<td>{_cell_html(vocabulary, cell)}</td>" for cell in row)
        + "<td></td>" * (len(request.column_values) - len(row))
        + "</tr>"
        for i, row in enumerate(grid)
    )
    return (
        f'<div class="medi-grid" tabindex="0" role="region" aria-label="Counterfactual grid"><table><thead>'
        f"<tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def contact_sheet(vocabulary: Vocabulary, request: ComparisonRequest, grid: Grid) -> Image.Image:
    """The whole grid as one image; the cells are pixel for pixel the tiles."""
    height, width = grid[0][0].tiles[0].image.shape[:2]
    num_seeds = len(request.base.seeds)
    cell_width, cell_height = num_seeds * (width + 2) + MARGIN_PX, height + FOOTER_PX
    sheet = Image.new(
        "RGB", (ROW_LABEL_PX + cell_width * len(grid[0]), HEADER_PX + cell_height * len(grid) + NOTICE_PX), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for j, value in enumerate(request.column_values):
        label = _wrapped(draw, font, _axis_label(vocabulary, request.column_attribute, value), cell_width - MARGIN_PX)
        draw.multiline_text((ROW_LABEL_PX + j * cell_width, MARGIN_PX), label, "black", font)
    for i, row in enumerate(grid):
        top = HEADER_PX + i * cell_height
        label = _wrapped(draw, font, _row_label(vocabulary, request, i), ROW_LABEL_PX - 2 * MARGIN_PX)
        draw.multiline_text((MARGIN_PX, top), label, "black", font)
        for j, cell in enumerate(row):
            left = ROW_LABEL_PX + j * cell_width
            for k, tile in enumerate(cell.tiles):
                sheet.paste(Image.fromarray(tile.image), (left + k * (width + 2), top))
            support = _wrapped(draw, font, cell.support.describe(), cell_width - MARGIN_PX)
            draw.multiline_text((left, top + height + 2), support, "#444", font)
    seeds = ", ".join(map(str, request.base.seeds))
    notice = _wrapped(draw, font, f"Seeds {seeds}. {NOTICE}", sheet.width - 2 * MARGIN_PX)
    draw.multiline_text((MARGIN_PX, sheet.height - NOTICE_PX), notice, "#444", font)
    return sheet


def sheet_png(sheet: Image.Image, request: ComparisonRequest, checkpoint_id: str) -> bytes:
    """The sheet as a PNG whose text says what it shows, as every tile's does."""
    provenance = {
        "origin": "synthetic",
        "checkpoint": checkpoint_id,
        "seeds": list(request.base.seeds),
        "metadata": request.base.record.to_dict(),
        "columns": {request.column_attribute: list(request.column_values)},
        "rows": {request.row_attribute: list(request.row_values)} if request.row_attribute else {},
    }
    return encode_png(np.asarray(sheet), provenance)


def empty_grid_html() -> str:
    return (
        '<p class="medi-note">Choose what to sweep and press Compare. Every cell starts from the same noise: what '
        f"changes from one to the next is what you chose, and nothing else (a {term('counterfactual')}).</p>"
    )


def frame_alt(vocabulary: Vocabulary, start: MetadataRecord, end: MetadataRecord, weight: float) -> str:
    """Alt text of one step of an interpolation."""
    return f"{weight:.0%} of the way from {describe(vocabulary, start)} to {describe(vocabulary, end)}"


def _cell_html(vocabulary: Vocabulary, cell: ComparisonCell) -> str:
    images = "".join(_tile_html(vocabulary, tile) for tile in cell.tiles)
    kind = cell.support.status.replace(" ", "-")
    return f'{images}<div class="medi-count medi-{kind}">{escape(cell.support.describe())}</div>'


def _tile_html(vocabulary: Vocabulary, tile: GeneratedTile) -> str:
    alt = escape(f"Synthetic tile: {describe(vocabulary, tile.record)}, seed {tile.seed}", quote=True)
    height, width = np.shape(tile.image)[:2]
    return f'<img src="{data_uri(png_of(tile))}" alt="{alt}" title="{alt}" width="{width}" height="{height}">'


def _row_label(vocabulary: Vocabulary, request: ComparisonRequest, i: int) -> str:
    if request.row_attribute is None:
        return describe(vocabulary, request.base.record) if request.base.record.to_dict() else "All else any"
    return _axis_label(vocabulary, request.row_attribute, request.row_values[i])


def _axis_label(vocabulary: Vocabulary, attribute: str, value: str) -> str:
    """`Rome`, but `Eosin 2 (0.40 to 0.80)`: a bin alone says nothing."""
    label = vocabulary.label(attribute, value)
    return f"{ATTRIBUTE[attribute].label} {label}" if attribute in vocabulary.bin_edges else label


def _wrapped(draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, text: str, width_px: int) -> str:
    lines, line = [], ""
    for word in text.split():
        candidate = f"{line} {word}".strip()
        if line and draw.textlength(candidate, font) > width_px:
            lines.append(line)
            candidate = word
        line = candidate
    return "\n".join([*lines, line])
