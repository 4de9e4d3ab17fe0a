"""A table of tiles without their images, from a stranger. Run: pytest tests/data/test_uploaded_rows.py"""

from pathlib import Path

import pytest

from medi_core.data.uploaded_rows import MAX_ROWS, read_metadata
from medi_core.errors import ManifestError

TABLE = "path,center,eosin,patient_id\n/etc/passwd, Lyon ,0.5,P1\nnowhere.png,,,\n"


def written(folder: Path, text: str) -> Path:
    (folder / "mine.csv").write_text(text)
    return folder / "mine.csv"


def test_text_is_cleaned_numbers_are_numbers_and_no_path_is_looked_up(tmp_path):
    frame = read_metadata(written(tmp_path, TABLE))
    assert frame["center"].tolist() == ["Lyon", None]
    assert frame["eosin"].iloc[0] == 0.5
    assert frame["eosin"].isna().iloc[1]
    assert frame["path"].tolist() == ["/etc/passwd", "nowhere.png"], "neither there nor missing: nobody looked"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("center,smell\nLyon,x\n", "mine.csv has unknown columns: 'smell'; allowed: path, x"),
        ("center\n", "mine.csv has no rows"),
        ("center,eosin\nLyon,strong\n", "eosin must be a number from 0 to 20, row 1, e.g. 'strong'"),
        ("preparation\nFFPE\nwax\n", "preparation must be one of FFPE, frozen, row 2, e.g. 'wax'"),
        ("center\n" + "Lyon\n" * (MAX_ROWS + 1), "more than 20,000 rows"),
        ("", "cannot be read as a table"),
    ],
)
def test_a_table_that_cannot_be_counted_is_one_message(tmp_path, text, message):
    with pytest.raises(ManifestError, match=message):
        read_metadata(written(tmp_path, text))
