"""Tiles that other tools cut out of slides: the place is read from the name, metadata from the table of slides."""

import pandas as pd
import pytest
from PIL import Image

from medi_core.cli import main
from medi_core.data.import_wsi_tiles import import_wsi_tiles, tile_place
from medi_core.data.manifest import read_manifest
from medi_core.errors import ManifestError
from tests.toys import synthetic_tissue


@pytest.mark.parametrize(
    ("stem", "place"),
    [
        ("512_1024", (512, 1024)),
        ("TCGA-01_512_1024", (512, 1024)),
        ("slide [d=1,x=512,y=1024,w=256,h=256]", (512, 1024)),
        ("tile_3_level0_512-1024-768-1280", (512, 1024)),
        ("slide_x512_y1024", (512, 1024)),
        ("thumbnail", None),
        ("512", None),
    ],
)
def test_the_place_is_read_from_the_names_that_tools_give(stem, place):
    assert tile_place(stem) == place


@pytest.fixture
def root(tmp_path):
    for slide in ("S1", "S2.svs"):
        (tmp_path / "tiles" / slide).mkdir(parents=True)
        for i in range(3):
            image = Image.fromarray(synthetic_tissue(128, i))
            image.save(tmp_path / "tiles" / slide / f"{128 * i}_{256}.png")
    table = pd.DataFrame({"slide_id": ["S1.svs", "S2", "S3"], "center": "Lyon", "patient": ["P1", "P2", "P3"]})
    table.to_csv(tmp_path / "slides.csv", index=False)
    return tmp_path


MAP = {"slide_id": "slide", "patient": "patient_id"}


def test_every_tile_gets_the_metadata_of_its_slide_and_a_split_by_patient(root):
    found = import_wsi_tiles(root / "tiles", root / "slides.csv", MAP, {"mpp": "0.5"})
    assert len(found.frame) == 6
    assert set(found.frame["patient_id"]) == {"P1", "P2"}
    assert found.without_tiles == ("S3",)
    assert found.frame["source"].iloc[1] == "S1.svs at x=128, y=256"
    assert found.frame["x"].isna().all(), "the place on the slide is none in the image file"
    assert (found.frame.groupby("patient_id")["split"].nunique() == 1).all()


def test_the_command_writes_a_manifest_that_can_be_read(root):
    line = ["data", "import", "wsi-tiles", str(root / "tiles"), "--slides", str(root / "slides.csv")]
    line += ["--map", "slide_id=slide", "patient=patient_id", "--out", str(root / "manifest.csv"), "--json"]
    assert main(line) == 0
    assert len(read_manifest(root / "manifest.csv")) == 6


def test_what_does_not_fit_is_named(root):
    with pytest.raises(ManifestError, match="slide"):
        import_wsi_tiles(root / "tiles", root / "slides.csv")
    (root / "tiles" / "S9").mkdir()
    (root / "tiles" / "S9" / "0_0.png").write_bytes((root / "tiles" / "S1" / "0_256.png").read_bytes())
    with pytest.raises(ManifestError, match=r"no row for the slide 'S9'"):
        import_wsi_tiles(root / "tiles", root / "slides.csv", MAP)
    (root / "tiles" / "S9" / "0_0.png").rename(root / "tiles" / "S9" / "thumbnail.png")
    with pytest.raises(ManifestError, match="do not say in their name where"):
        import_wsi_tiles(root / "tiles", root / "slides.csv", MAP)
