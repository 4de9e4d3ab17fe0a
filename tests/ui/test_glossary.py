"""Each word on the page that explains itself has a definition, and each definition is used."""

import re
from html import unescape
from pathlib import Path

import pytest

import medi_core.ui.glossary
from medi_core.ui.glossary import GLOSSARY, definitions_html, glossary_html, term

SOURCES = {path.name: path.read_text() for path in Path(medi_core.ui.glossary.__file__).parent.glob("*.py")}


def test_a_word_points_to_its_definition():
    pointed = re.search('aria-describedby="([^"]+)"', term("worst group", "the worst"))[1]
    assert f'<span id="{pointed}">' in definitions_html()
    assert "worst group" not in pointed, "an id has no spaces"
    assert ">the worst</button>" in term("worst group", "the worst")


def test_a_word_without_a_definition_is_a_mistake_of_the_page():
    with pytest.raises(KeyError, match="phlogiston"):
        term("phlogiston")


def test_each_definition_is_in_the_list_and_each_word_is_used_on_a_page():
    assert all(text in unescape(glossary_html()) for text in GLOSSARY.values())
    used = {name for source in SOURCES.values() for name in re.findall(r"""\bterm\(["']([\w -]+)["']""", source)}
    assert set(GLOSSARY) - used == {"cohort", "checkpoint"}, "read in About only"
