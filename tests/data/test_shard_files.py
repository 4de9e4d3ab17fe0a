"""What a killed run leaves behind is removed by the next one, and nothing else is."""

import os
import time

from medi_core.data.shard_files import LEFT_OVER_SECONDS, RECORDS, open_dataset

HEAD = {"plan": "p"}


def test_left_over_files_and_folders_go_when_they_are_old(tmp_path):
    open_dataset(tmp_path, HEAD)
    old, young = time.time() - LEFT_OVER_SECONDS - 60, time.time()
    for name, age in (("a.part", old), (f"{RECORDS}/.b.json.1.part", old), (".c.tar.2.part", young), ("d.tar", old)):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (age, age))
    (tmp_path / "shard-0.3.part").mkdir()
    (tmp_path / "shard-0.3.part" / "tile.png").write_text("half")
    os.utime(tmp_path / "shard-0.3.part", (old, old))
    open_dataset(tmp_path, HEAD)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"dataset.json", ".c.tar.2.part", "d.tar"}
    assert not (tmp_path / "shard-0.3.part").exists()
