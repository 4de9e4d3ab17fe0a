"""The tab Subgroup accuracy in headless Chromium: from predictions to the tiles behind a cell."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medi_core.data.reference_set import read_reference
from tests.browser.driver import RUN_MS, wait_for_text

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.browser


def test_uploaded_predictions_are_ranked_and_a_click_on_a_cell_shows_its_confusions(page, tmp_path):
    tiles = read_reference(ROOT / "assets/reference").real.tiles.query("split != 'train'")
    is_wrong = (tiles["center"] == "Indivumed") & (np.arange(len(tiles)) % 2 == 0)
    predicted = tiles["cancer_type"].where(~is_wrong, "Breast_benign")
    table = pd.DataFrame({"tile": tiles["id"], "true": tiles["cancer_type"], "predicted": predicted})
    table.to_csv(tmp_path / "mine.csv", index=False)
    page.get_by_role("tab", name="Subgroup accuracy").click()
    page.locator("#audit-upload input[type=file]").set_input_files(str(tmp_path / "mine.csv"))
    own = table[tiles["center"] == "Indivumed"]
    right = (own["true"] == own["predicted"]).mean()
    wait_for_text(page, "#audit-ranking tbody tr", f"{right:.3f}")
    assert "Indivumed" in page.locator("#audit-ranking tbody tr").first.inner_text()
    page.wait_for_selector("#audit-plot .medi-plot[data-drawn]", timeout=RUN_MS)
    page.locator("#audit-plot").scroll_into_view_if_needed()
    point = page.evaluate("""() => {
        const plot = document.querySelector('#audit-plot .medi-plot'), axes = plot._fullLayout;
        const area = plot.querySelector('.nsewdrag').getBoundingClientRect();
        const cells = plot._fullData[0].customdata;
        for (const [i, row] of cells.entries()) for (const [j, key] of row.entries())
            if (key.join() === 'Breast_invasive_carcinoma,Indivumed')
                return [area.left + axes.xaxis.d2p(j), area.top + axes.yaxis.d2p(i)];
    }""")
    page.mouse.click(*point)
    page.get_by_role("heading", name="Breast invasive carcinoma × Indivumed").wait_for(timeout=RUN_MS)
    row = page.locator("#audit-cell tbody tr", has_text="Breast benign").first
    cells = row.locator("td").all_inner_texts()
    wrong = int((own["true"] != own["predicted"]).sum())
    assert cells[:4] == ["Breast invasive carcinoma", "Breast benign", "wrong", str(wrong)]
    page.get_by_role("button", name="Generate tiles of this cell").click()
    page.wait_for_function("document.querySelector('input[aria-label=\"Center\"]').value.startsWith('Indivumed')")
    assert page.get_by_label("Cancer type").first.input_value() == "Breast invasive carcinoma"
    page.get_by_role("tab", name="Subgroup accuracy").click()
    page.get_by_role("button", name="Plan to fill this cell").click()
    wait_for_text(page, "#augment-table tbody tr", "Indivumed")
    assert page.locator("#augment-target").get_by_label("Only chosen cells").is_checked()
    planned = page.locator("#augment-table tbody tr").evaluate_all("rows => rows.map(row => +row.cells[6].innerText)")
    assert planned[0] > 0
    assert not any(planned[1:]), "the cell that was clicked, and nothing else"
