"""Tiles of a class-only checkpoint: the bank's seeds, no center, no image; another kind of checkpoint is refused."""

import dataclasses

import pytest

from medi_core.bootstrap import build_services
from medi_core.checkpoints import save_checkpoint
from medi_core.errors import InvalidRequestError, ReferenceSetError
from medi_core.metadata.vocabulary import Vocabulary
from medi_core.services.class_only import make_class_only, read_class_only
from tests.toys import build_tiny_pipeline


@pytest.fixture
def generation(referenced):
    """Around a checkpoint that knows the cancer type alone."""
    types = referenced.checkpoint.vocabulary.values["cancer_type"]
    folder = referenced.settings.checkpoints_dir / "types-alone"
    save_checkpoint(build_tiny_pipeline(Vocabulary({"cancer_type": types})), folder, {"step": 7, "tiles_seen": 56})
    return build_services(dataclasses.replace(referenced.settings, checkpoint="types-alone")).generation


def test_it_has_the_seeds_and_types_of_the_banks_class_only_tiles(referenced, generation):
    folder = referenced.settings.assets_dir / "class-only"
    reference = referenced.reference.load()
    make_class_only(reference, generation, referenced.encoding, folder)
    kept = read_class_only(folder, referenced.encoding.name)
    bank = reference.synthetic.tiles
    bank = bank[bank["group"] == "class only"]
    columns = ["cancer_type", "seed"]
    assert sorted(kept.tiles[columns].itertuples(index=False)) == sorted(bank[columns].itertuples(index=False))
    assert kept.tiles["center"].isna().all()
    assert kept.facts["checkpoint"] == generation.checkpoint.id
    assert kept.facts["step"] == 7
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".parquet"]
    assert not folder.with_name("class-only.work").exists()


def test_at_most_so_many_a_type(referenced, generation, tmp_path):
    kept = make_class_only(referenced.reference.load(), generation, referenced.encoding, tmp_path / "few", 1)
    assert kept.tiles["cancer_type"].value_counts().max() == 1


def test_a_checkpoint_that_knows_a_center_is_refused(referenced, tmp_path):
    reference = referenced.reference.load()
    with pytest.raises(InvalidRequestError, match=r"conditioned on cancer_type, center.*--attributes cancer_type"):
        make_class_only(reference, referenced.generation, referenced.encoding, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_a_bank_without_class_only_tiles_is_refused(referenced, generation, tmp_path):
    reference = referenced.reference.load()
    without = reference.part(reference.tiles["group"] != "class only")
    with pytest.raises(ReferenceSetError, match="no class-only tiles"):
        make_class_only(without, generation, referenced.encoding, tmp_path / "no")


def test_features_of_another_encoder_are_not_read(referenced, generation):
    folder = referenced.settings.assets_dir / "class-only"
    assert read_class_only(folder, "any") is None
    make_class_only(referenced.reference.load(), generation, referenced.encoding, folder, 1)
    assert read_class_only(folder, "another") is None
