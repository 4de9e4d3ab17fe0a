"""Two processes that share each batch train as one process with the whole batch."""

import io
import json
import os
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
from medi_core.training import run
from tests.toy_training import TINY_CONFIG

losses = []
draw = run.write_sample_grid
run.write_sample_grid = lambda *args: draw(*args, columns=2, rows=2)

def on_step(step):
    losses.append(step.loss)
    if len(losses) == 4:
        os.kill(os.getpid(), signal.SIGTERM)  # one process is told to stop: both must, at the same step

step = run.run_training(
    Path(sys.argv[1]),
    Path(sys.argv[2]),
    replace(TINY_CONFIG, num_steps=50, sampling=replace(TINY_CONFIG.sampling, temperature=float(sys.argv[3]))),
    mixed_precision="no",
    num_workers=int(sys.argv[4]),
    on_step=on_step,
)
print(json.dumps({"step": step, "losses": losses}))
"""


def train(manifest: Path, out: Path, num_processes: int, temperature: float, num_workers: int) -> list[dict]:
    """What each process prints in the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {
        "WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, manifest, out, str(temperature), str(num_workers)],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_processes)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * num_processes
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def pack(manifest: Path, folder: Path) -> Path:
    """The images of a manifest as two shards; their labels are its rows."""
    folder.mkdir()
    table = pd.read_csv(manifest)
    for shard in range(2):
        with tarfile.open(folder / f"part-{shard}.tar", "w") as tar:
            for i, row in table[shard::2].iterrows():
                image = (manifest.parent / row["path"]).read_bytes()
                label = json.dumps(row.drop("path").dropna().to_dict()).encode()
                for name, content in ((f"t{i}.png", image), (f"t{i}.json", label)):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("source", ["manifest", "shards"])
def test_two_processes_train_as_one_and_stop_together(toy_manifest, tmp_path, source):
    is_sharded = source == "shards"
    data = pack(toy_manifest, tmp_path / "shards") if is_sharded else toy_manifest
    how = (1.0, 1) if is_sharded else (0.5, 0)
    (one,) = train(data, tmp_path / "one", 1, *how)
    first, second = train(data, tmp_path / "two", 2, *how)
    assert one["step"] == first["step"] == second["step"] == 4
    assert first["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert second["losses"] == []  # one process reports
    assert (tmp_path / "two" / "checkpoint" / "model_index.json").is_file()
    alone, together = (load_file(tmp_path / name / "state" / "state.safetensors") for name in ("one", "two"))
    averages = [name for name in alone if name.startswith("ema.")]
    assert averages
    assert [n for n in averages if not torch.allclose(alone[n], together[n], rtol=1e-3, atol=1e-4)] == []
