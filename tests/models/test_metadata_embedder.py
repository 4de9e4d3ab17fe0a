"""The embedder tells every value, and "unknown", apart, and carries its vocabulary."""

import itertools

import pytest
import torch

from medi_core.metadata.schema import MetadataRecord
from medi_core.models.metadata_embedder import MetadataEmbedder

EMBEDDING_DIM = 16


@pytest.fixture
def embedder(toy_vocabulary) -> MetadataEmbedder:
    torch.manual_seed(0)
    return MetadataEmbedder(toy_vocabulary.to_dict(), EMBEDDING_DIM).eval()


@torch.inference_mode()
def embed(embedder: MetadataEmbedder, *records: MetadataRecord) -> torch.Tensor:
    return embedder(torch.tensor([embedder.vocabulary.encode(record) for record in records]))


def test_one_vector_a_record(embedder):
    assert embed(embedder, MetadataRecord(), MetadataRecord(center="Rome")).shape == (2, EMBEDDING_DIM)


def test_each_value_and_the_null_id_has_a_vector_of_its_own(embedder, toy_vocabulary):
    for attribute, values in toy_vocabulary.values.items():
        vectors = embed(embedder, *(MetadataRecord(**{attribute: value}) for value in (*values, None)))
        assert len(vectors) == len(values) + 1
        for one, other in itertools.combinations(vectors, 2):
            assert (one - other).abs().max() > 1e-3, attribute


def test_attributes_interact(embedder):
    """The MLP makes the effect of a center depend on the cancer type: embeddings are not a plain sum."""
    with torch.no_grad():
        for table in embedder.tables:
            table.weight.normal_(std=1.0)
    nothing, center, cancer, both = embed(
        embedder,
        MetadataRecord(),
        MetadataRecord(center="Rome"),
        MetadataRecord(cancer_type="Lung_adenocarcinoma"),
        MetadataRecord(cancer_type="Lung_adenocarcinoma", center="Rome"),
    )
    assert ((both - cancer) - (center - nothing)).abs().max() > 1e-3


def test_rarely_trained_values_start_near_unknown(embedder, toy_vocabulary):
    known, unknown = embed(embedder, MetadataRecord(center="Rome"), MetadataRecord())
    assert (known - unknown).abs().max() < 0.2


def test_the_vocabulary_travels_in_the_config_with_its_order(embedder, toy_vocabulary, tmp_path):
    embedder.save_pretrained(tmp_path)
    again = MetadataEmbedder.from_pretrained(tmp_path)
    assert again.vocabulary == toy_vocabulary
    assert again.vocabulary.attributes == toy_vocabulary.attributes  # configs are written with sorted keys
    record = MetadataRecord(preparation="frozen", hematoxylin="2", eosin="5")
    assert torch.equal(embed(again, record), embed(embedder, record))
