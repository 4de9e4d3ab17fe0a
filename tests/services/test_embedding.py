"""A point leads to its tile, its metadata and its neighbours; new tiles land beside what they look like."""

import numpy as np
import pytest
from PIL import Image

from medi_core.data.feature_cache import tile_digest
from medi_core.errors import InvalidRequestError
from medi_core.metadata.schema import MetadataRecord
from medi_core.projection import ProjectionConfig
from medi_core.services.attached_tiles import AttachedTiles
from medi_core.services.embedding import EmbeddingService
from medi_core.services.generation_request import GenerationRequest
from tests.toys import synthetic_tissue


@pytest.fixture
def service(referenced) -> EmbeddingService:
    return EmbeddingService(referenced.generation, referenced.encoding, referenced.reference, AttachedTiles())


def first_synthetic(service: EmbeddingService) -> str:
    points = service.points()
    return points.loc[points["origin"] == "synthetic", "id"].iloc[0]


def test_every_tile_is_one_point_at_its_place(service, referenced):
    reference = referenced.reference.load_map()
    points = service.points()
    assert points["id"].tolist() == [str(i) for i in range(len(reference.tiles))]
    assert np.array_equal(points[["x", "y"]], reference.tiles[["map_x", "map_y"]])
    moved = service.points(np.zeros((len(points), 2)))
    assert not moved[["x", "y"]].any(axis=None)


def test_a_synthetic_point_gives_the_tile_that_its_features_are_of(service, referenced):
    point = first_synthetic(service)
    details = service.details(point)
    assert tile_digest(details.image) == referenced.reference.load_map().tiles["id"][int(point)]
    assert details.facts["group"] == "seen"
    assert len(details.neighbours) == 5


def test_a_real_point_shows_its_image_only_where_it_is_attached(service, toy_manifest):
    details = service.details("3")
    assert details.image is None
    assert details.facts["patient_id"] == "P01"
    assert details.facts["image"] == "region-03.png"
    assert service.attached.attach(toy_manifest) == 24
    assert tile_digest(service.details("3").image) == service.selection(["3"])["id"].iloc[0]


def test_an_image_that_changed_is_not_taken_for_the_tile(service, toy_manifest):
    service.attached.attach(toy_manifest)
    Image.fromarray(synthetic_tissue(160, 99)).save(toy_manifest.parent / "regions" / "region-03.png")
    assert service.details("3").image is None
    assert service.real_image("2") is not None


def test_neighbours_are_real_other_tiles_nearest_first(service, referenced):
    reference = referenced.reference.load_map()
    neighbours = service.details("0").neighbours
    assert "0" not in neighbours["id"].tolist()
    distances = np.linalg.norm(reference.features[:24] - reference.features[0], axis=1)
    expected = [i for i in np.argsort(distances, kind="stable") if i != 0][:5]
    assert neighbours["id"].tolist() == [str(i) for i in expected]
    np.testing.assert_allclose(neighbours["distance"], distances[expected], rtol=1e-5)


def test_a_tile_that_is_in_the_bank_lands_on_its_point_when_made_again(service, referenced):
    point = first_synthetic(service)
    row = referenced.reference.load_map().tiles.iloc[int(point)]
    record = MetadataRecord(cancer_type=row["cancer_type"], center=row["center"])
    tiles = referenced.generation.generate(GenerationRequest(record, (int(row["seed"]),)))
    placed = service.place(tiles)
    assert placed["origin"].tolist() == ["new"]
    # the bank's features are float16: the twin is the nearest by far, not at distance 0
    np.testing.assert_allclose(placed[["x", "y"]].to_numpy()[0], row[["map_x", "map_y"]].astype(float), atol=0.5)
    details = service.details(placed["id"][0])
    assert np.array_equal(details.image, tiles[0].image)
    assert details.facts["center"] == row["center"]


def test_a_selection_is_counted_by_subgroup_with_patients(service):
    synthetic = first_synthetic(service)
    table = service.counts(["0", "1", "2", synthetic, "new:anything"], "cancer_type").set_index("value")
    assert table.loc["Breast_invasive_carcinoma"].tolist() == [2, 1, 1]
    assert table.loc["Lung_adenocarcinoma"].tolist() == [1, 0, 1]
    assert table[["real", "synthetic"]].sum().tolist() == [3, 1]


def test_a_number_is_counted_by_ranges(service):
    table = service.counts([*map(str, range(24)), "3"], "eosin")
    assert len(table) <= 5
    assert table["real"].sum() == 24, "a point counts once"


def test_a_new_tile_shows_measured_stains_not_the_bins_asked_for(service, referenced):
    record = MetadataRecord(cancer_type="Lung_adenocarcinoma", eosin="5")
    (tile,) = referenced.generation.generate(GenerationRequest(record, (3,)))
    facts = service.details(f"new:{tile.id}").facts
    assert facts.get("eosin") != "5"
    assert np.isclose(facts.get("eosin", np.nan), tile.eosin, equal_nan=True)


def test_an_empty_selection_or_an_unknown_point_is_explained(service):
    for nothing in ([], ["new:1"]):
        with pytest.raises(InvalidRequestError, match="no tile of the reference set is selected"):
            service.counts(nothing, "center")
    with pytest.raises(InvalidRequestError, match="there is no point '999'; points go from 0 to"):
        service.details("999")
    with pytest.raises(InvalidRequestError, match="no longer in memory"):
        service.details("new:gone")
    with pytest.raises(InvalidRequestError, match="count by 'smell': it must be one of origin, group"):
        service.counts(["0"], "smell")


def test_a_map_can_be_fitted_anew_and_stopped(service):
    places = service.refit(ProjectionConfig(method="pca"), lambda *_: None)
    assert places.shape == (len(service.points()), 2)

    def stop(_done: int, _total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        service.refit(ProjectionConfig(method="pca"), stop)


def test_the_map_says_what_it_is_made_of(service, referenced):
    reference = referenced.reference.load_map()
    index = reference.facts["robustness"]
    assert 0 <= index["value"] <= 1
    assert index["num_tiles"] <= 24
    text = service.describe()
    assert text.startswith(f"24 real and {len(reference.tiles) - 24} synthetic tiles")
    assert referenced.checkpoint.id in text
    assert f"robustness index {index['value']:.2f}" in text
