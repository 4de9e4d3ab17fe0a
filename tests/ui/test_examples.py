"""Each example is a link that the tabs can restore, and shows what its title says."""

import re
from dataclasses import replace
from html import unescape
from urllib.parse import parse_qsl

from medi_core.metadata.schema import MetadataRecord
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.ui.examples import examples, examples_html


def test_each_example_asks_for_values_that_the_checkpoint_knows(toy_vocabulary):
    queries = [example.query for example in examples(toy_vocabulary)]
    assert [query["tab"] for query in queries] == ["generate", "generate", "compare", "compare", "augment"]
    for query in queries:
        prefix = "held_" if query["tab"] == "compare" else ""
        named = {name: query.get(prefix + name) for name in ("cancer_type", "center")}
        toy_vocabulary.encode(MetadataRecord(**named))
        across = query.get("column_values", "").split("|")
        assert set(across) <= {"", *toy_vocabulary.values.get(query.get("column_attribute"), ())}


def test_the_pair_said_to_be_never_seen_never_was_and_the_other_is_the_best_supported(toy_vocabulary):
    often, never = (
        MetadataRecord(cancer_type=example.query["cancer_type"], center=example.query["center"])
        for example in examples(toy_vocabulary)[:2]
    )
    assert toy_vocabulary.support_of(often).num_patients == 6
    assert toy_vocabulary.support_of(never).status == "never seen"


def test_the_links_carry_the_queries(toy_vocabulary):
    links = re.findall(r'href="\?([^"]+)"', examples_html(toy_vocabulary))
    read = [dict(parse_qsl(unescape(link))) for link in links]
    assert read == [{name: str(v) for name, v in example.query.items()} for example in examples(toy_vocabulary)]


def test_a_checkpoint_without_pairs_has_no_examples(toy_vocabulary):
    assert examples_html(replace(toy_vocabulary, pair_support={})) == ""
    assert examples(Vocabulary({"eosin": ("1", "2")})) == []
