"""Blocks of pages are written and nothing else is; every artefact says whose it is."""

import json
import shutil

import pytest

from medi_core.errors import InvalidRequestError
from medi_core.services.release import (
    BESIDE,
    CURRENT,
    FIDELITY_BLOCKS,
    MISSING,
    STALE,
    UNRECORDED,
    Places,
    artefacts,
    block_of,
    ids_outside_blocks,
    write_block,
)

OLD, NEW = "tiny@0123456789ab", "tiny@ba9876543210"
ONE, TWO = (f"<!-- release:{name} -->\n{{}}<!-- /release:{name} -->\n" for name in ("one", "two"))
PAGE = f"# Page\n\nwords\n\n{ONE.format('old' + chr(10))}\n{TWO.format('')}end\n"


@pytest.fixture
def places(tmp_path) -> Places:
    """Pages with every block, empty; nothing else."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "tiny").mkdir()
    found = Places(tmp_path / "assets", tmp_path / "docs", tmp_path / "tiny")
    blocks = {
        found.fidelity: (*FIDELITY_BLOCKS, "regions"),
        found.experiment: ("experiment",),
        found.card: ("measured",),
    }
    for page, names in blocks.items():
        page.write_text("".join(f"<!-- release:{name} -->\n<!-- /release:{name} -->\n" for name in names))
    return found


def status_of(places: Places, checkpoint_id: str) -> dict[str, str]:
    return {artefact.name: artefact.status(checkpoint_id) for artefact in artefacts(places, checkpoint_id)}


def test_a_block_is_written_and_the_rest_of_the_page_is_as_it_was(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    write_block(page, "two", "| a \\1 |\n")
    assert block_of(page.read_text(), "two") == "| a \\1 |\n"
    write_block(page, "two", "")
    assert block_of(page.read_text(), "one") == "old\n"
    outside = page.read_text().replace("<!-- release:two -->\n\n", "<!-- release:two -->\n")
    assert outside == PAGE
    write_block(page, "one", "new\nnew")
    assert block_of(page.read_text(), "one") == "new\nnew\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.md"]


def test_a_page_without_the_block_is_refused_with_what_to_write(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    with pytest.raises(InvalidRequestError, match="has no block 'three': add the lines <!-- release:three -->"):
        write_block(page, "three", "x")
    assert page.read_text() == PAGE


def test_a_card_older_than_its_block_gets_one_below_its_heading(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# Card\n\n## Measured\n\nwords\n")
    write_block(page, "measured", "| a |", below="## Measured")
    assert page.read_text().startswith("# Card\n\n## Measured\n\n<!-- release:measured -->\n| a |\n")
    assert page.read_text().endswith("-->\n\nwords\n")
    write_block(page, "measured", "| b |", below="## Measured")
    assert page.read_text().count("release:measured") == 2
    page.write_text("# Card\n")
    with pytest.raises(InvalidRequestError, match="no block"):
        write_block(page, "measured", "| a |", below="## Measured")


def test_words_may_name_the_checkpoint_and_one_that_is_marked_as_historic():
    assert ids_outside_blocks(f"as {NEW} and `{OLD}` show") == {NEW, OLD}
    assert ids_outside_blocks(f"<!-- historic: {OLD} -->\nas {NEW} and `{OLD}` show") == {NEW}
    assert ids_outside_blocks(f"<!-- release:x -->\n{OLD}\n<!-- /release:x -->") == set()


def test_a_block_of_another_checkpoint_is_stale_and_an_empty_one_not_recorded(places):
    write_block(places.fidelity, "distance", f"Of {OLD}.")
    write_block(places.fidelity, "probe", f"Of {NEW}; verdicts of tile-classifier@111111111111.")
    write_block(places.fidelity, "copies", f"Of {NEW}, and of {OLD}.")
    write_block(places.card, "measured", f"Of {NEW}.")
    found = status_of(places, NEW)
    page = "docs/fidelity.md"
    assert found[f"{page}:distance"] == found[f"{page}:copies"] == STALE
    assert found[f"{page}:probe"] == found["tiny/README.md:measured"] == CURRENT
    assert found[f"{page}:targets"] == UNRECORDED
    assert found["welcome"] == found["reference"] == found["class-only"] == MISSING
    places.experiment.write_text("no block")
    assert status_of(places, NEW)["docs/experiment.md:experiment"] == MISSING


def test_words_about_another_checkpoint_are_stale(places):
    places.fidelity.write_text(places.fidelity.read_text() + f"\nWhat they say, of {OLD}: little.\n")
    assert status_of(places, NEW)["fidelity.md"] == STALE
    assert status_of(places, OLD)["fidelity.md"] == CURRENT


def test_files_belong_to_the_checkpoint_that_made_them(places, referenced):
    mine = Places(referenced.settings.assets_dir, places.docs, places.checkpoint)
    referenced.welcome.store()
    found = status_of(mine, referenced.checkpoint.id)
    assert found["welcome"] == found["reference"] == CURRENT
    found = status_of(mine, NEW)
    assert found["welcome"] == found["reference"] == STALE
    shutil.copytree(mine.assets / "reference", mine.assets / "class-only")
    assert status_of(mine, NEW)["class-only"] == BESIDE


def test_screenshots_are_of_whom_their_stamp_says(places):
    folder = places.docs / "screenshots"
    folder.mkdir()
    assert status_of(places, NEW)["screenshots"] == MISSING
    (folder / "a.jpg").write_bytes(b"")
    assert status_of(places, NEW)["screenshots"] == UNRECORDED
    (folder / "checkpoint.txt").write_text(f"{OLD}\n")
    assert status_of(places, NEW)["screenshots"] == STALE
    assert json.dumps(status_of(places, OLD))
