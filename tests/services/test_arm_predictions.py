"""Folds side by side give what they give one after the other, and a cancelled run ends with the folds under way."""

import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from medi_core.services import arm_predictions
from medi_core.services.arm_predictions import MAX_THREADS, hits_of_folds
from medi_core.services.experiment import run_experiment
from medi_core.services.experiment_config import DUPLICATED, LOW_DATA, MEDI, REAL, ExperimentConfig
from tests.toy_experiment import TYPES, build_toy_reference


@dataclass
class CountedTask:
    """Stands for a fold: its number, and a note that it was worked on."""

    number: int
    done: list[int] = field(default_factory=list)

    def hits(self, probe: str) -> np.ndarray:
        time.sleep(0.002)
        self.done.append(self.number)
        return np.full((1, 1), self.number)


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_folds_come_in_their_order_and_progress_counts_them():
    seen = []
    hits = hits_of_folds([CountedTask(i) for i in range(7)], "any", lambda *counts: seen.append(counts))
    assert [h.item() for h in hits] == list(range(7))
    assert seen == [(i, 7) for i in range(8)]


def test_a_cancelled_run_starts_no_more_folds_and_gives_its_threads_back():
    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    done = []
    slow = [CountedTask(i, done) for i in range(500)]
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with pytest.raises(KeyboardInterrupt):
            hits_of_folds(slow, "any", cancel)
        assert blas_threads() == before
    assert len(done) < 500


def test_the_number_of_threads_changes_no_result(monkeypatch):
    reference = build_toy_reference()
    config = ExperimentConfig(TYPES, LOW_DATA, (REAL, DUPLICATED, MEDI), size=6, num_seeds=4)
    side_by_side = run_experiment(reference, config)
    monkeypatch.setattr(arm_predictions, "MAX_THREADS", 1)
    one_by_one = run_experiment(reference, config)
    assert MAX_THREADS > 1
    assert side_by_side.to_dict() == one_by_one.to_dict()
