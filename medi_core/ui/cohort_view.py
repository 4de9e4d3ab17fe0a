"""A cohort as HTML: what can be used and why the rest cannot, its stains, values nobody knows, its subgroups."""

from collections.abc import Sequence
from html import escape

import pandas as pd

from medi_core.data.manifest import describe_rows
from medi_core.data.tile_files import encode_image
from medi_core.figures.labels import title_of
from medi_core.metadata.schema import ATTRIBUTE, display_name
from medi_core.metadata.vocabulary import count
from medi_core.services.cohort import Cohort
from medi_core.services.cohort_preview import SubgroupPreview
from medi_core.ui.handlers import data_uri
from medi_core.ui.tables import scroll_html, table_html

MAX_LISTED = 50
"""Values that are not known, or faults: a column mapped to the wrong one can have thousands."""
NEW_CENTERS = (
    "The checkpoint cannot be asked for a center that it was not trained on. It can be taught one in minutes: download "
    "the manifest below, and see <code>python -m medi_core adapt --help</code>."
)
NO_FAULT, ALL_KNOWN = "No row has a fault.", "The checkpoint knows every value."


def report_html(cohort: Cohort, bins: pd.DataFrame, num_on_map: int | None) -> str:
    """The whole report.

    Args:
        bins: of `stain_bins`.
        num_on_map: real tiles of the map that stand where one of the cohort's does; `None` without a map.
    """
    return (
        f"<h4>{escape(cohort.name)}</h4>"
        f"<p><b>{len(cohort.tiles):,} of {count(cohort.num_given, 'row')} can be used</b>: "
        f"{count(cohort.num_patients, 'patient')}, {count(cohort.tiles['path'].nunique(), 'image')}.</p>"
        f"{_dropped(cohort)}{_known(num_on_map)}<h4>Left out</h4>{_faults(cohort)}"
        f"<h4>Values that the checkpoint does not know</h4>{_unknown(cohort)}{_stains(bins)}"
    )


def subgroups_html(by: Sequence[str], subgroups: Sequence[SubgroupPreview]) -> str:
    """A table of subgroups: tiles, patients and a few tiles of each."""
    titles = (*map(title_of, by), "Tiles", "Patients")
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(map(_subgroup, subgroups))
    table = f'<table class="medi-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return scroll_html(table)


def _subgroup(subgroup: SubgroupPreview) -> str:
    first, *others = (escape(display_name(value)) for value in subgroup.values)
    alt = escape(f"Real tile: {', '.join(map(display_name, subgroup.values))}", quote=True)
    images = "".join(
        f'<img src="{data_uri(encode_image(tile))}" alt="{alt}" width="64" height="64" '
        'style="display: inline-block; vertical-align: top; margin: 0 3px 3px 0">'
        for tile in subgroup.tiles
    )
    cells = (*others, f"{subgroup.num_tiles:,}", f"{subgroup.num_patients:,}")
    row = f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    # below the numbers, not beside them: on a phone they would be out of sight
    return row + (f'<tr><td colspan="{len(cells) + 1}">{images}</td></tr>' if images else "")


def _dropped(cohort: Cohort) -> str:
    if not cohort.dropped:
        return ""
    return f'<p class="medi-note">Columns that are not used: {escape(", ".join(cohort.dropped))}.</p>'


def _known(num_on_map: int | None) -> str:
    if not num_on_map:
        return ""
    what = f"{count(num_on_map, 'real tile')} of the map"
    return f'<p class="medi-note">{what} may be shown there: yours stand at the same places of the same images.</p>'


def _faults(cohort: Cohort) -> str:
    if not cohort.faults:
        return f"<p>{NO_FAULT}</p>"
    rows = [
        {"what": fault.what, "n": int(fault.rows.sum()), "rows": describe_rows(fault.rows, fault.given)}
        for fault in sorted(cohort.faults, key=lambda fault: -int(fault.rows.sum()))
    ]
    table = table_html(pd.DataFrame(rows).head(MAX_LISTED), {"what": "Why", "n": "Rows", "rows": "Which (1 = first)"})
    return table + _more(len(rows))


def _unknown(cohort: Cohort) -> str:
    if not cohort.unknown:
        return f"<p>{ALL_KNOWN}</p>"
    rows = [
        {
            "attribute": ATTRIBUTE[unknown.attribute].label,
            "value": unknown.value,
            "n": unknown.num_tiles,
            "patients": unknown.num_patients,
            "close": " or ".join(map(display_name, unknown.close)) + "?" if unknown.close else "nothing like it",
        }
        for unknown in cohort.unknown
    ]
    titles = {
        **{"attribute": "Attribute", "value": "Yours", "n": "Tiles", "patients": "Patients"},
        "close": "Did you mean",
    }
    note = f'<p class="medi-note">{NEW_CENTERS}</p>' if cohort.new_centers() else ""
    return table_html(pd.DataFrame(rows).head(MAX_LISTED), titles) + _more(len(rows)) + note


def _stains(bins: pd.DataFrame) -> str:
    if bins.empty:
        return ""
    named = bins.assign(attribute=bins["attribute"].map(lambda name: ATTRIBUTE[name].label))
    titles = {"attribute": "Stain", "value": "Bin of the checkpoint", "n": "Tiles", "n_patients": "Patients"}
    return f"<h4>Stains, as measured or given</h4>{table_html(named, titles)}"


def _more(num: int) -> str:
    return f'<p class="medi-note">and {num - MAX_LISTED:,} more</p>' if num > MAX_LISTED else ""
