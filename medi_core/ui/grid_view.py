"""The counterfactual grid as HTML, and the words for a step of an interpolation."""

from html import escape

import numpy as np

from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary, describe
from medi_core.services.comparison import ComparisonCell, ComparisonRequest, Grid
from medi_core.services.contact_sheet import axis_label, row_label
from medi_core.services.generated_tile import GeneratedTile
from medi_core.ui.glossary import term
from medi_core.ui.handlers import data_uri, png_of


def grid_html(vocabulary: Vocabulary, request: ComparisonRequest, grid: Grid) -> str:
    """A table: swept values across and down, tiles in the cells, real counts under each."""
    head = "".join(
        f'<th scope="col">{escape(axis_label(vocabulary, request.column_attribute, value))}</th>'
        for value in request.column_values
    )
    body = "".join(
        f'<tr><th scope="row">{escape(row_label(vocabulary, request, i))}</th>'
        + "".join(f"<td>{_cell_html(vocabulary, cell)}</td>" for cell in row)
        + "<td></td>" * (len(request.column_values) - len(row))
        + "</tr>"
        for i, row in enumerate(grid)
    )
    return (
        f'<div class="medi-grid" tabindex="0" role="region" aria-label="Counterfactual grid"><table><thead>'
        f"<tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


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
