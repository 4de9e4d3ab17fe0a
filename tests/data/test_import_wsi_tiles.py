"""Folders of tiles as other tools cut and name them, joined to a table of slides."""

import json

import pandas as pd
import pytest

from medi_core.cli import main
from medi_core.data.import_wsi_tiles import import_wsi_tiles, tile_place
from medi_core.data.manifest import read_manifest
from medi_core.errors import ManifestError


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("512_1024", (512, 1024)),
        ("TCGA-A1-A0SB-01Z-00-DX1_512_1024", (512, 1024)),  # CLAM
        ("Tile_20_512_1024", (512, 1024)),  # TIAToolbox
        ("slide-1_tile_3_level0_512-1024-768-1280", (512, 1024)),  # Histolab
        ("slide 1 [x=512,y=1024,w=256,h=256]", (512, 1024)),  # QuPath
        ("slide 1 [d=4.0,x=512,y=1024,w=256,h=256]", (512, 1024)),
        ("S1_x512_y1024", (512, 1024)),
        ("x=512,y=1024", (512, 1024)),
        ("thumbnail", None),
        ("tile_7", None),
    ],
)
def test_the_place_on_the_slide_is_read_as_each_tool_writes_it(name, place):
    assert tile_place(name) == place


@pytest.fixture
def slides(tmp_path):
    """Two slides cut by two tools, and their table."""
    for name in ("A.svs/0_0.png", "A.svs/256_0.png", "B/tiles/B [x=0,y=512,w=256,h=256].jpg"):
        path = tmp_path / "tiles" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    table = pd.DataFrame(
        {
            "slide_id": ["A", "B.svs", "C"],
            "case": ["P1", "P2", "P3"],
            "center": ["Lyon", "Rome", "Oslo"],
            "note": ["", "x", ""],
        }
    )
    table.to_csv(tmp_path / "slides.csv", index=False)
    return tmp_path


MAP = {"slide_id": "slide", "case": "patient_id"}


def test_each_tile_has_the_metadata_of_its_slide_and_its_place_as_source(slides):
    found = import_wsi_tiles(slides / "tiles", slides / "slides.csv", MAP, {"mpp": "0.5"})
    frame = found.frame
    assert frame["center"].tolist() == ["Lyon", "Lyon", "Rome"]
    assert frame["patient_id"].tolist() == ["P1", "P1", "P2"]
    assert frame["source"].tolist() == ["A at x=0, y=0", "A at x=256, y=0", "B.svs at x=0, y=512"]
    assert frame[["x", "y"]].isna().all(axis=None), "the file is the tile: x and y are places in a file"
    assert set(frame["mpp"]) == {0.5}
    assert frame["split"].notna().all()
    assert (found.dropped, found.without_tiles) == (("note",), ("C",))


def test_the_command_writes_a_manifest_that_is_read_again(slides, capsys):
    command = ["data", "import", "wsi-tiles", str(slides / "tiles"), "--slides", str(slides / "slides.csv")]
    command += ["--map", *(f"{theirs}={ours}" for theirs, ours in MAP.items()), "--out", str(slides / "m.csv")]
    assert main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["rows"], answer["patients"], answer["slides_without_tiles"]) == (3, 2, ["C"])
    assert len(read_manifest(slides / "m.csv")) == 3
    assert main([*command[:4], "--out", str(slides / "m.csv")]) == 2
    assert "wsi-tiles needs --slides" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("tiles/D/0_0.png", "has no row for the slide 'D'"),
        ("tiles/A.svs/thumbnail.png", "1 files in tiles do not say .* 'A.svs/thumbnail.png'; expected x_y.png"),
        ("tiles/A.svs/0_0.jpg", "1 tiles lie where another one of their slide does"),
    ],
)
def test_a_tile_that_cannot_be_placed_is_named(slides, file, message):
    path = slides / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(ManifestError, match=message):
        import_wsi_tiles(slides / "tiles", slides / "slides.csv", MAP)


def test_a_table_that_cannot_be_joined_says_why(slides):
    with pytest.raises(ManifestError, match="has no column 'slide'; map one of: slide_id"):
        import_wsi_tiles(slides / "tiles", slides / "slides.csv")
    (slides / "twice.csv").write_text("slide\nA\nA.svs\nB\n")
    with pytest.raises(ManifestError, match="lists the slide 'A' more than once"):
        import_wsi_tiles(slides / "tiles", slides / "twice.csv")
    with pytest.raises(ManifestError, match="no tiles in"):
        import_wsi_tiles(slides / "tiles" / "A.svs", slides / "slides.csv", MAP)
    with pytest.raises(ManifestError, match="--default 'colour': no column of a manifest"):
        import_wsi_tiles(slides / "tiles", slides / "slides.csv", MAP, {"colour": "red"})
