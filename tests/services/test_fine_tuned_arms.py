"""Fine-tuning as the probe of an experiment: pixels are looked up or made again, and arms see what they should."""

import argparse
import json

import numpy as np
import pytest

from medi_core.commands.experiment import add_experiment_commands
from medi_core.data.feature_cache import tile_digest
from medi_core.errors import InvalidRequestError, ManifestError
from medi_core.services import fine_tuned_arms
from medi_core.services.attached_tiles import AttachedTiles
from medi_core.services.experiment_config import CHOSEN_CENTERS, FINE_TUNED, MEDI, REAL, ExperimentConfig
from medi_core.services.fine_tuned_arms import FineTuning, TilePixels

TYPES = ("Breast_invasive_carcinoma", "Lung_adenocarcinoma")
CONFIG = ExperimentConfig(
    TYPES, CHOSEN_CENTERS, (REAL, MEDI), training_centers=("Lyon",), num_seeds=2, probe=FINE_TUNED
)


@pytest.fixture
def pixels(referenced, toy_manifest, tmp_path) -> TilePixels:
    attached = AttachedTiles()
    attached.attach(toy_manifest)
    return TilePixels(referenced.reference.load(), attached, referenced.generation, tmp_path / "tiles")


def test_pixels_are_those_that_were_encoded(pixels):
    tiles = pixels.reference.tiles
    places = np.flatnonzero(tiles["origin"].isin(["real", "synthetic"]))
    assert [tile_digest(tile) for tile in pixels.of(places)] == tiles["id"].iloc[places].tolist()


def test_a_synthetic_tile_is_made_again_once(pixels, monkeypatch):
    (place, *_) = np.flatnonzero(pixels.reference.tiles["origin"] == "synthetic")
    first = pixels.of([place])
    monkeypatch.setattr(pixels.generation, "generate", lambda _: pytest.fail("made twice"))
    again = TilePixels(pixels.reference, pixels.attached, pixels.generation, pixels.folder).of([place])
    np.testing.assert_array_equal(first, again)


def test_a_restained_copy_has_the_tissue_of_its_tile_in_another_stain(pixels):
    tiles = pixels.reference.tiles
    (place, *_) = np.flatnonzero(tiles["group"] == "stain-jittered")
    (original,) = np.flatnonzero(tiles["id"] == tiles["of"].iloc[place])
    copy, real = pixels.of([place, original]).astype(float)
    assert not np.array_equal(copy, real)
    assert np.corrcoef(copy.mean(axis=2).ravel(), real.mean(axis=2).ravel())[0, 1] > 0.9


def test_real_tiles_that_are_not_attached_are_counted(pixels):
    alone = TilePixels(pixels.reference, AttachedTiles(), pixels.generation, pixels.folder)
    with pytest.raises(ManifestError, match=r"2 of the 2 real tiles .* not in the manifest of --tiles"):
        alone.of(np.flatnonzero(pixels.reference.tiles["origin"] == "real")[:2])


def test_every_arm_of_every_fold_is_trained_on_its_own_tiles_and_never_on_a_tested_one(referenced, pixels, monkeypatch):
    trained = []

    def spy(tiles, labels, weights, test, classes, config, cache_dir):
        digests, tested = ({tile_digest(tile) for tile in part} for part in (tiles, test))
        trained.append((config.seed, digests))
        assert not digests & tested
        assert weights[labels == 0].sum() == pytest.approx(0.5), "every class counts the same"
        return np.eye(2)[np.zeros(len(test), int)]

    monkeypatch.setattr(fine_tuned_arms, "fine_tuned_logits", spy)
    result = referenced.experiment.run(CONFIG, judge=FineTuning(pixels, TYPES, num_steps=1).hits)
    synthetic = set(pixels.reference.synthetic.tiles["id"])
    assert [seed for seed, _ in trained] == [0, 0, 1, 1]
    assert [bool(digests & synthetic) for _, digests in trained] == [False, True, False, True]
    is_first = (result.hits["cancer_type"] == TYPES[0]).to_numpy()
    for arm in (REAL, MEDI):
        np.testing.assert_array_equal(
            result.hits[arm].to_numpy(), is_first, err_msg="it named all tiles the first type"
        )


def test_fine_tuning_without_pixels_says_how_to_give_them(referenced):
    with pytest.raises(InvalidRequestError, match=r"--probe fine-tuning --tiles manifest\.csv"):
        referenced.experiment.run(CONFIG)


def test_the_command_fine_tunes_and_the_same_seed_gives_the_same_numbers(referenced, toy_manifest, monkeypatch):
    monkeypatch.setattr("medi_core.bootstrap.build_services", lambda _: referenced)
    parser = argparse.ArgumentParser()
    add_experiment_commands(parser.add_subparsers())
    line = [
        "experiment",
        "--types",
        *TYPES,
        "--preset",
        "centers",
        "--centers",
        "Lyon",
        "--seeds",
        "1",
        "--arms",
        "real",
    ]
    line += ["--probe", "fine-tuning", "--num-steps", "2", "--json"]
    flags = parser.parse_args(line)
    with pytest.raises(InvalidRequestError, match="give --tiles"):
        flags.run(flags)
    flags = parser.parse_args([*line, "--tiles", str(toy_manifest)])
    first, again = flags.run(flags), flags.run(flags)
    assert json.dumps(first) == json.dumps(again)
    assert first["config"]["probe"] == FINE_TUNED
