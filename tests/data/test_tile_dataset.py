"""Random training tiles, reproducible by index. Run: pytest tests/data"""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from medi_core.data.manifest import read_manifest
from medi_core.data.tile_dataset import (
    RandomTileDataset,
    SamplingConfig,
    measure_stains,
    read_grid_tile,
    read_image,
    record_of,
    vocabulary_of,
)
from medi_core.errors import ManifestError
from medi_core.metadata.schema import MetadataRecord
from medi_core.stain.separation import stain_strengths, tissue_mask

SIDE_PX = 64
ATTRIBUTES = ("cancer_type", "center", "preparation", "hematoxylin", "eosin")


@pytest.fixture
def manifest(toy_manifest) -> pd.DataFrame:
    return read_manifest(toy_manifest)


@pytest.fixture
def regions(manifest) -> dict[str, np.ndarray]:
    return {path: read_image(path) for path in manifest["path"]}


@pytest.fixture
def dataset(manifest, regions, toy_vocabulary) -> RandomTileDataset:
    return RandomTileDataset(manifest, regions, toy_vocabulary, SamplingConfig(), SIDE_PX)


def one_region(image: np.ndarray, **columns) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """A manifest of a single region that needs no file."""
    row = dict.fromkeys(("cancer_type", "center", "preparation", "scanner", "gender", "race"))
    row |= {"path": "region", "x": np.nan, "y": np.nan, "hematoxylin": np.nan, "eosin": np.nan, "age": np.nan}
    return pd.DataFrame([row | columns]), {"region": image}


def as_image(tile: torch.Tensor) -> np.ndarray:
    return tile.numpy().transpose(1, 2, 0)


def equal(one: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


# ---- what an item is -------------------------------------------------------------------------------------


def test_a_tile_is_uint8_channels_first_with_one_id_for_each_attribute(dataset, toy_vocabulary):
    for i in range(10):
        tile, ids = dataset[i]
        assert tile.shape == (3, SIDE_PX, SIDE_PX)
        assert tile.dtype == torch.uint8
        assert ids.shape == (len(toy_vocabulary.attributes),)
        assert ids.dtype == torch.int64
        toy_vocabulary.decode(ids.tolist())


def test_item_i_does_not_depend_on_what_was_asked_for_before(dataset, manifest, regions, toy_vocabulary):
    forwards = [dataset[i] for i in range(6)]
    fresh = RandomTileDataset(manifest, regions, toy_vocabulary, SamplingConfig(), SIDE_PX)
    backwards = [fresh[i] for i in reversed(range(6))][::-1]
    assert all(equal(a, b) for a, b in zip(forwards, backwards, strict=True))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_item_i_does_not_depend_on_worker_or_batch_size(dataset, num_workers):
    loader = torch.utils.data.DataLoader(dataset, batch_sampler=[[0, 1, 2], [3], [4, 5]], num_workers=num_workers)
    tiles, ids = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert all(equal((tiles[i], ids[i]), dataset[i]) for i in range(6))


def test_another_seed_gives_other_tiles(dataset, manifest, regions, toy_vocabulary):
    other = RandomTileDataset(manifest, regions, toy_vocabulary, SamplingConfig(seed=1), SIDE_PX)
    assert not any(torch.equal(dataset[i][0], other[i][0]) for i in range(5))


def test_all_eight_flips_and_rotations_occur_and_nothing_else(toy_vocabulary):
    image = np.random.default_rng(0).integers(0, 150, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    dataset = RandomTileDataset(*one_region(image), toy_vocabulary, SamplingConfig(), SIDE_PX)
    variants = {np.rot90(flipped, k).tobytes() for flipped in (image, image[:, ::-1]) for k in range(4)}
    assert {as_image(dataset[i][0]).tobytes() for i in range(100)} == variants


def test_crops_come_from_everywhere_in_the_region_its_edges_included(toy_vocabulary):
    side = SIDE_PX + 3
    gray = np.arange(side * side).reshape(side, side)
    image = np.stack([gray // 256, gray % 256, np.zeros_like(gray)], axis=-1).astype(np.uint8)  # says where it is
    dataset = RandomTileDataset(*one_region(image), toy_vocabulary, SamplingConfig(), SIDE_PX)
    firsts = set()
    for i in range(200):
        tile = as_image(dataset[i][0]).astype(int)
        firsts.add((tile[..., 0] * 256 + tile[..., 1]).min())
    assert firsts == {y * side + x for y in range(4) for x in range(4)}


# ---- condition ids ---------------------------------------------------------------------------------------


def test_ids_say_what_the_manifest_says_of_the_region(manifest, regions, toy_vocabulary):
    for _, row in manifest.iloc[[0, 10, 13]].iterrows():
        dataset = RandomTileDataset(
            pd.DataFrame([row]), {row["path"]: regions[row["path"]]}, toy_vocabulary, SamplingConfig(), SIDE_PX
        )
        record = toy_vocabulary.decode(dataset[0][1].tolist())
        assert (record.cancer_type, record.center, record.preparation) == tuple(
            row[["cancer_type", "center", "preparation"]]
        )


def test_stain_bins_are_those_of_the_crop_itself(dataset, toy_vocabulary):
    seen = set()
    for i in range(40):
        tile, ids = dataset[i]
        record = toy_vocabulary.decode(ids.tolist())
        hematoxylin, eosin = stain_strengths(as_image(tile))
        assert record.hematoxylin == toy_vocabulary.bin_of("hematoxylin", hematoxylin)
        assert record.eosin == toy_vocabulary.bin_of("eosin", eosin)
        seen.add(record.hematoxylin)
    assert len(seen) > 1  # or the test would prove nothing


def test_a_crop_without_tissue_gets_the_null_ids_of_the_stains(toy_vocabulary):
    white = np.full((SIDE_PX, SIDE_PX, 3), 255, dtype=np.uint8)
    dataset = RandomTileDataset(*one_region(white, center="Rome"), toy_vocabulary, SamplingConfig(), SIDE_PX)
    assert toy_vocabulary.decode(dataset[0][1].tolist()) == MetadataRecord(center="Rome")


def test_a_region_without_center_or_with_an_unknown_one_gets_the_null_id(toy_vocabulary):
    for center in (None, np.nan, "Nowhere"):
        frame, regions = one_region(np.full((SIDE_PX, SIDE_PX, 3), 120, dtype=np.uint8), center=center)
        dataset = RandomTileDataset(frame, regions, toy_vocabulary, SamplingConfig(), SIDE_PX)
        assert dataset[0][1][toy_vocabulary.attributes.index("center")] == toy_vocabulary.null_id("center")


def test_a_vocabulary_without_stains_needs_no_bins(manifest, regions, toy_vocabulary):
    plain = dataclasses.replace(toy_vocabulary, values={"center": toy_vocabulary.values["center"]}, bin_edges={})
    dataset = RandomTileDataset(manifest, regions, plain, SamplingConfig(), SIDE_PX)
    assert dataset[0][1].shape == (1,)


# ---- which regions, which crops --------------------------------------------------------------------------


def cells_of(manifest: pd.DataFrame, probabilities: np.ndarray) -> pd.Series:
    """Probability of each (cancer type, center)."""
    return pd.Series(probabilities, index=manifest.index).groupby([manifest["cancer_type"], manifest["center"]]).sum()


def uneven(manifest: pd.DataFrame) -> pd.DataFrame:
    return manifest.drop(index=manifest.index[:5]).reset_index(drop=True)


def test_temperature_zero_draws_every_cell_alike(manifest, regions, toy_vocabulary):
    rows = uneven(manifest)
    config = SamplingConfig(temperature=0.0)
    cells = cells_of(rows, RandomTileDataset(rows, regions, toy_vocabulary, config, SIDE_PX).probabilities)
    assert cells.to_numpy() == pytest.approx(1 / len(cells))


def test_temperature_one_draws_every_region_by_its_area(manifest, regions, toy_vocabulary):
    first = manifest["path"].iloc[0]
    regions = regions | {first: np.tile(regions[first], (2, 3, 1))}
    config = SamplingConfig(temperature=1.0)
    probabilities = RandomTileDataset(manifest, regions, toy_vocabulary, config, SIDE_PX).probabilities
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[0] == pytest.approx(6 * probabilities[1])
    assert probabilities[1:] == pytest.approx(probabilities[1])


def test_temperature_one_half_draws_cells_by_the_root_of_their_area(manifest, regions, toy_vocabulary):
    rows = uneven(manifest)
    cells = cells_of(rows, RandomTileDataset(rows, regions, toy_vocabulary, SamplingConfig(), SIDE_PX).probabilities)
    roots = np.sqrt(rows.groupby(["cancer_type", "center"]).size())
    assert cells.to_numpy() == pytest.approx((roots / roots.sum()).to_numpy())


def test_regions_are_drawn_as_often_as_their_probability_says(manifest, regions, toy_vocabulary):
    rows = uneven(manifest)
    config = SamplingConfig(temperature=0.0, attempts=1)
    dataset = RandomTileDataset(rows, regions, toy_vocabulary, config, side_px=8)
    column = toy_vocabulary.attributes.index("center")
    drawn = np.bincount([int(dataset[i][1][column]) for i in range(600)], minlength=3) / 600
    expected = [dataset.probabilities[rows["center"] == c].sum() for c in toy_vocabulary.values["center"]]
    assert drawn == pytest.approx(expected, abs=0.08)


def test_rows_that_share_a_path_are_one_region(manifest, regions, toy_vocabulary):
    doubled = pd.concat([manifest.assign(x=0, y=0), manifest.assign(x=32, y=0)])
    dataset = RandomTileDataset(doubled, regions, toy_vocabulary, SamplingConfig(), SIDE_PX)
    assert len(dataset.probabilities) == len(manifest)


def test_crops_hold_the_wanted_share_of_tissue_where_the_region_has_it(toy_vocabulary):
    image = np.full((256, 256, 3), 255, dtype=np.uint8)
    image[:, :96] = [120, 70, 140]  # three eighths tissue: many crops hold none
    frame, regions = one_region(image)
    wanted = SamplingConfig(min_tissue=0.5, attempts=100)
    anything = SamplingConfig(min_tissue=0.0)
    fractions = {
        config: [
            tissue_mask(as_image(RandomTileDataset(frame, regions, toy_vocabulary, config, SIDE_PX)[i][0])).mean()
            for i in range(30)
        ]
        for config in (wanted, anything)
    }
    assert min(fractions[wanted]) >= 0.45  # judged on every fourth pixel
    assert min(fractions[anything]) < 0.25


def test_a_region_without_tissue_still_gives_a_tile(toy_vocabulary):
    white = np.full((100, 100, 3), 255, dtype=np.uint8)
    dataset = RandomTileDataset(*one_region(white), toy_vocabulary, SamplingConfig(), SIDE_PX)
    assert dataset[0][0].shape == (3, SIDE_PX, SIDE_PX)


@pytest.mark.parametrize("shape", [(SIDE_PX - 1, 200, 3), (200, SIDE_PX - 1, 3)])
def test_a_region_smaller_than_a_tile_is_named_with_its_size(toy_vocabulary, shape):
    frame, regions = one_region(np.zeros(shape, dtype=np.uint8))
    with pytest.raises(ManifestError, match=rf"at least 64 px a side.*region \({shape[1]}×{shape[0]} px\)"):
        RandomTileDataset(frame, regions, toy_vocabulary, SamplingConfig(), SIDE_PX)


# ---- grid tiles, stains, vocabulary ----------------------------------------------------------------------


def test_a_grid_tile_is_cut_at_its_corner_or_from_the_centre():
    region = np.arange(10 * 12 * 3, dtype=np.uint16).reshape(10, 12, 3)
    at_corner = read_grid_tile(pd.Series({"path": "r", "x": 3.0, "y": 1.0}), region, side_px=4)
    assert np.array_equal(at_corner, region[1:5, 3:7])
    centre = read_grid_tile(pd.Series({"path": "r", "x": np.nan, "y": np.nan}), region, side_px=4)
    assert np.array_equal(centre, region[3:7, 4:8])


def test_a_grid_tile_outside_its_region_or_larger_than_it_is_refused():
    region = np.zeros((10, 12, 3), dtype=np.uint8)
    with pytest.raises(ManifestError, match=r"tile at \(9, 0\) leaves r, which is 12×10 px"):
        read_grid_tile(pd.Series({"path": "r", "x": 9, "y": 0}), region, side_px=4)
    with pytest.raises(ManifestError, match="r is 12×10 px; a tile needs at least 11 px a side"):
        read_grid_tile(pd.Series({"path": "r", "x": 0, "y": 0}), region, side_px=11)


def test_a_file_that_is_no_image_is_named(tmp_path):
    path = tmp_path / "text.png"
    path.write_text("no image")
    with pytest.raises(ManifestError, match=r"text\.png cannot be read as an image"):
        read_image(path)


def test_stains_are_measured_on_the_grid_tile_unless_given(manifest, regions):
    manifest.loc[0, ["hematoxylin", "eosin"]] = 3.0
    measured = measure_stains(manifest, regions)
    assert measured.loc[0, ["hematoxylin", "eosin"]].tolist() == [3.0, 3.0]
    row = manifest.loc[1]
    expected = stain_strengths(read_grid_tile(row, regions[row["path"]]))
    assert measured.loc[1, ["hematoxylin", "eosin"]].tolist() == pytest.approx(expected)
    assert manifest["hematoxylin"].isna().sum() == len(manifest) - 1


def test_the_vocabulary_of_a_manifest_holds_its_values_bins_and_support(manifest, regions):
    vocabulary = vocabulary_of(measure_stains(manifest, regions), ATTRIBUTES)
    assert vocabulary.attributes == ATTRIBUTES
    assert vocabulary.values["center"] == ("Lyon", "Paris", "Rome")
    assert len(vocabulary.bin_edges["eosin"]) == 4
    assert sum(s.num_tiles for s in vocabulary.support["center"].values()) == len(manifest)
    assert vocabulary.support["center"]["Lyon"].num_patients == 4


def test_record_of_a_row_leaves_out_what_the_vocabulary_cannot_say(manifest, toy_vocabulary):
    row = manifest.loc[0].copy()
    row["eosin"], row["center"] = 0.9, "Nowhere"
    record = record_of(row, toy_vocabulary)
    assert record == MetadataRecord(cancer_type="Breast_invasive_carcinoma", preparation="FFPE", eosin="3")
