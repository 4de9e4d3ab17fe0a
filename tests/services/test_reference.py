"""A reference set is built from a manifest and a checkpoint, and belongs to them."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from medi_core.data.feature_cache import tile_digest
from medi_core.data.manifest import read_manifest
from medi_core.data.tile_dataset import read_grid_tile, read_image
from medi_core.errors import ManifestError, ReferenceSetError
from medi_core.projection import ProjectionConfig
from medi_core.services.asked_versus_got import measure_requests
from medi_core.services.reference import ReferenceService
from medi_core.services.synthetic_bank import BankConfig

BANK, MAP = BankConfig(tiles_a_pair=1, crossed_centers=1, crossed_types=1), ProjectionConfig(method="pca")


def test_real_tiles_come_first_with_their_metadata_hash_and_features(referenced, toy_manifest):
    reference = referenced.reference.load()
    manifest = read_manifest(toy_manifest)
    real = reference.real
    assert len(real.tiles) == len(manifest) == 24
    assert reference.tiles["origin"].tolist()[:24] == ["real"] * 24
    tiles = [read_grid_tile(row, read_image(row["path"])) for _, row in manifest.iterrows()]
    assert real.tiles["id"].tolist() == [tile_digest(tile) for tile in tiles]
    means = np.stack([tile.mean(axis=(0, 1)) for tile in tiles])
    np.testing.assert_allclose(real.features, means, rtol=1e-3)  # kept as float16
    for name in ("cancer_type", "center", "patient_id", "split", "licence"):
        assert real.tiles[name].tolist() == manifest[name].tolist()
    assert real.tiles["image"][0] == "region-00.png"
    assert real.tiles["eosin"].notna().all()


def test_the_bank_says_which_checkpoint_and_seed_made_it(referenced):
    reference = referenced.reference.load()
    assert reference.facts["checkpoint"] == referenced.checkpoint.id
    for _, row in reference.synthetic.tiles.iterrows():
        provenance = json.loads(row["requested"])
        assert (provenance["checkpoint"], provenance["seed"]) == (referenced.checkpoint.id, row["seed"])
    groups = set(reference.synthetic.tiles["group"])
    assert groups == {"seen", "rare", "never seen", "class only", "attribute sweep"}
    on_map = referenced.reference.load_map()
    assert on_map.tiles[["map_x", "map_y"]].notna().all(axis=None)
    assert set(on_map.tiles["origin"]) == {"real", "synthetic"}
    assert on_map.tiles["id"].tolist() == reference.tiles["id"].tolist()[: len(on_map.tiles)]


def test_held_out_tiles_name_the_training_window_they_are_most_like(referenced):
    tiles = referenced.reference.load().tiles
    compared = tiles["window_similarity"].notna()
    is_held_out = tiles["split"].isin(("val", "test")) & (tiles["origin"] == "real")
    is_training = (tiles["origin"] == "real") & (tiles["split"] == "train")
    assert compared[is_held_out].all()
    assert not compared[is_training | (tiles["origin"] == "control")].any()
    assert set(tiles.loc[compared, "window_image"]) <= set(tiles.loc[is_training, "image"])


def test_what_probes_see_is_kept_with_the_set(referenced):
    reference = referenced.reference.load()
    assert reference.facts["asked"] == json.loads(json.dumps(measure_requests(reference)))


def test_no_image_and_no_path_of_the_machine_is_kept(referenced, toy_manifest):
    folder = referenced.settings.assets_dir / "reference"
    assert sorted(path.name for path in folder.iterdir()) == ["reference.json", "tiles-00.parquet"]
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert str(toy_manifest.parent).encode() not in content
    assert not folder.with_name("reference.work").exists()


def test_a_build_that_was_stopped_goes_on_to_the_same_result(tiny_services, toy_manifest, cheap_encoder, referenced):
    first = referenced.reference.load()

    def stop(what: str, done: int, _total: int) -> None:
        if (what, done) == ("Generating", 2):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        tiny_services.reference.build(toy_manifest, BANK, MAP, stop)
    assert tiny_services.reference.load() is first, "what was there is as it was"
    again = tiny_services.reference.build(toy_manifest, BANK, MAP)
    assert np.array_equal(again.features, first.features)
    assert again.tiles["id"].tolist() == first.tiles["id"].tolist()


def test_the_reference_set_of_another_checkpoint_is_refused_by_name(referenced):
    other = dataclasses.replace(referenced.checkpoint, digest="0" * 12)
    generation = referenced.generation
    generation.checkpoint = other
    service = ReferenceService(generation, referenced.encoding, referenced.settings.assets_dir / "reference")
    with pytest.raises(ReferenceSetError, match=r"checkpoint tiny@\w+, but tiny@000000000000 is loaded"):
        service.load()


def test_synthetic_rows_never_become_real(tiny_services, toy_manifest, cheap_encoder):
    frame = pd.read_csv(toy_manifest)
    frame["origin"] = ["synthetic", *["real"] * (len(frame) - 1)]
    frame.to_csv(toy_manifest, index=False)
    with pytest.raises(ManifestError, match=r"1 rows of manifest\.csv have origin 'synthetic'"):
        tiny_services.reference.build(toy_manifest, BANK, MAP)


def test_missing_images_end_the_build_and_nothing_is_written(tiny_services, toy_manifest, cheap_encoder):
    next((toy_manifest.parent / "regions").glob("*.png")).unlink()
    with pytest.raises(ManifestError, match="region-"):
        tiny_services.reference.build(toy_manifest, BANK, MAP)
    assert not (tiny_services.settings.assets_dir / "reference").exists()
