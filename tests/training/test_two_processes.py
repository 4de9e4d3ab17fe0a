"""Two processes that share each batch train as one process with the whole batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

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
    if len(losses) == 3:
        os.kill(os.getpid(), signal.SIGTERM)  # one process is told to stop: both must, at the same step

step = run.run_training(
    Path(sys.argv[1]), Path(sys.argv[2]), replace(TINY_CONFIG, num_steps=50), mixed_precision="no", on_step=on_step
)
print(json.dumps({"step": step, "losses": losses}))
"""


def train(manifest: Path, out: Path, num_processes: int) -> list[dict]:
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
            [sys.executable, "-c", SCRIPT, manifest, out],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_processes)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * num_processes
    return [json.loads(output.splitlines()[-1]) for output in outputs]


@pytest.mark.slow
def test_two_processes_train_as_one_and_stop_together(toy_manifest, tmp_path):
    (one,) = train(toy_manifest, tmp_path / "one", 1)
    first, second = train(toy_manifest, tmp_path / "two", 2)
    assert one["step"] == first["step"] == second["step"] == 3
    assert first["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert second["losses"] == []  # one process reports
    assert (tmp_path / "two" / "checkpoint" / "model_index.json").is_file()
