"""The model card says what the checkpoint records, and nothing else."""

import pytest

from medi_core.metadata.vocabulary import Support
from medi_core.training.model_card import model_card

RECORD = {
    "step": 1200,
    "tiles_seen": 38_400,
    "minutes": 90.0,
    "hardware": "2 CPU cores",
    "ema_decay": 0.999,
    "seed": 3,
    "data": {"toy": {"regions": 12, "tiles": 74, "patients": 13, "licence": "CC0-1.0"}},
}


@pytest.fixture
def card(toy_vocabulary) -> str:
    return model_card("medi-toy", toy_vocabulary, RECORD, 23_600_000)


def test_compute_data_and_licence_are_those_of_the_record(card):
    for text in ("1,200 steps, 38,400 tiles", "1.5 hours", "2 CPU cores", "23.6 M parameters", "seed 3"):
        assert text in card
    assert "| toy | 12 | 74 | 13 | CC0-1.0 |" in card
    assert card.startswith("---\nlicense: cc-by-nc-sa-4.0\n")


def test_each_value_and_pair_stands_with_its_support(card, toy_vocabulary):
    assert "| Lung adenocarcinoma @ Lyon | 2 | 1 | rare |" in card
    assert "| Breast invasive carcinoma | 60 | 9 | seen |" in card
    assert "Lung adenocarcinoma @ Paris" not in card
    assert toy_vocabulary.pair_support["Lung_adenocarcinoma @ Lyon"] == Support(2, 1)


def test_it_says_what_it_must_not_be_used_for(card):
    assert "**Must not be used** for diagnosis" in card


def test_a_few_step_model_says_so_and_names_its_teacher(toy_vocabulary, card):
    record = RECORD | {"distillation": {"teacher": "medi-toy@0123456789ab", "num_inference_steps": 1}}
    few = model_card("medi-fast", toy_vocabulary, record, 23_600_000)
    assert "distilled from medi-toy@0123456789ab" in few
    assert "1 denoising step and" in few
    assert "istilled" not in card
