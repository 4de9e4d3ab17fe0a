"""Rows of several callers share forwards: in turn, to the last bit the same, each error where it belongs."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from medi_core.errors import StoppingError
from medi_core.pipelines.guidance import GuidanceTerm
from medi_core.pipelines.row_batcher import MICRO_BATCH, RowBatcher, micro_batch_size, predict_alone
from tests.pipelines.test_medi_pipeline import ALL_COLUMNS, IDS, sample

PATIENCE = 60.0
"""Seconds after which a test of threads gives up."""
SIZE = MICRO_BATCH["cpu"]


def rows(num: int, value: float = 0.0, side: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x_t, timesteps and conditioning; the first pixel of row i is value + i."""
    x_t = torch.zeros(num, 3, side, side)
    x_t[:, 0, 0, 0] = value + torch.arange(num)
    return x_t, torch.full((num,), 500.0), torch.zeros(num, 4)


class HeldDenoiser:
    """Adds 1, keeps what went through, and waits in each forward until it may go on."""

    dtype = torch.float32

    def __init__(self) -> None:
        self.forwards: list[list[float]] = []
        self.go_on, self.has_begun = threading.Event(), threading.Event()
        self.threads: set[threading.Thread] = set()
        self.seconds = 0.0

    def __call__(self, x_t, timesteps, conditioning) -> torch.Tensor:
        assert len(x_t) == len(timesteps) == len(conditioning) == micro_batch_size(x_t)
        self.forwards.append(x_t[:, 0, 0, 0].tolist())
        self.threads.add(threading.current_thread())
        self.has_begun.set()
        assert self.go_on.wait(PATIENCE)
        time.sleep(self.seconds)
        if (x_t[:, 0, 0, 0] < 0).any():
            raise ZeroDivisionError
        return x_t + 1


@pytest.fixture
def held() -> HeldDenoiser:
    return HeldDenoiser()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def submit_behind(held: HeldDenoiser, batcher: RowBatcher, pool: ThreadPoolExecutor, *inputs) -> list:
    """One caller each, in this order, all there before the second forward begins; the first is in the first forward."""
    futures = []
    for i, given in enumerate(inputs):

        def work(given=given) -> torch.Tensor:
            with batcher.caller() as predict:
                return predict(*given)

        futures.append(pool.submit(work))
        wait_until(held.has_begun.is_set if i == 0 else lambda i=i: len(batcher._waiting) >= i)
    return futures


def test_waiting_callers_share_forwards_in_turn_and_get_their_own_rows(held):
    batcher = RowBatcher(held)
    with ThreadPoolExecutor(4) as pool:
        # 0 is alone in the first forward; then a long one and two short ones
        futures = submit_behind(held, batcher, pool, rows(1), rows(9, 100), rows(1, 200), rows(2, 300))
        held.go_on.set()
        answers = [future.result(PATIENCE)[:, 0, 0, 0].tolist() for future in futures]
    assert answers == [[1], [101 + i for i in range(9)], [201], [301, 302]]
    assert held.forwards[0] == [0] * SIZE  # nobody else was there: filled up
    assert set(held.forwards[1]) == {100, 101, 200, 300}  # one of each in turn, then what is left
    assert {301, 102} <= set(held.forwards[2]), "the short one waits for the long one"
    assert sum(map(len, held.forwards)) == SIZE * (1 + 3), "12 rows fit into three forwards"
    assert len(held.threads) == 1


def test_a_short_request_is_not_delayed_by_more_than_its_share(held):
    batcher = RowBatcher(held)
    with ThreadPoolExecutor(2) as pool:
        futures = submit_behind(held, batcher, pool, rows(64), rows(1, 1000))
        held.go_on.set()
        for future in futures:
            future.result(PATIENCE)
    assert [1000 in forward for forward in held.forwards].index(True) == 1


def test_other_sizes_take_turns_and_never_share_a_forward(held):
    batcher = RowBatcher(held)
    with ThreadPoolExecutor(3) as pool:
        futures = submit_behind(held, batcher, pool, rows(1), rows(12, 100, side=64), rows(6, 200))
        held.go_on.set()
        assert [len(future.result(PATIENCE)) for future in futures] == [1, 12, 6]
    turns = ["64" if 100 <= forward[0] < 200 else "32" for forward in held.forwards]
    assert turns == ["32", "64", "32", "64", "32", "64"]


def test_a_failing_forward_reaches_those_whose_rows_were_in_it_and_nobody_else(held):
    batcher = RowBatcher(held)
    with ThreadPoolExecutor(4) as pool:
        first, bad, company, other = submit_behind(
            held, batcher, pool, rows(1), rows(3, -9), rows(1, 200), rows(2, 300, side=64)
        )
        held.go_on.set()
        assert first.result(PATIENCE)[0, 0, 0, 0] == 1
        assert other.result(PATIENCE)[:, 0, 0, 0].tolist() == [301, 302]
        for future in (bad, company):
            with pytest.raises(ZeroDivisionError):
                future.result(PATIENCE)
        with batcher.caller() as predict:
            assert predict(*rows(5, 7))[:, 0, 0, 0].tolist() == [8, 9, 10, 11, 12]


def test_stopping_finishes_the_running_forward_and_refuses_the_rest(held):
    batcher = RowBatcher(held)
    with ThreadPoolExecutor(3) as pool:
        running, waiting = submit_behind(held, batcher, pool, rows(1), rows(1, 100))
        start = time.monotonic()
        batcher.stop(0.05)  # the forward is held: it is not waited for without end
        assert time.monotonic() - start < PATIENCE / 2
        held.go_on.set()
        assert running.result(PATIENCE)[0, 0, 0, 0] == 1
        with pytest.raises(StoppingError, match="try again"):
            waiting.result(PATIENCE)
        with batcher.caller() as predict, pytest.raises(StoppingError):
            predict(*rows(1))
    batcher.stop(PATIENCE)
    assert len(held.forwards) == 1


def test_a_caller_who_is_alone_waits_for_nobody(held):
    batcher = RowBatcher(held)
    held.go_on.set()
    with batcher.caller() as predict:
        predict(*rows(1))
        batcher._forward_seconds = 1e9  # as if forwards were slow: whoever waits a share of that waits for ever
        start = time.monotonic()
        predict(*rows(1))
        assert time.monotonic() - start < PATIENCE / 2
    assert batcher._patience([]) == 0


def test_two_callers_who_come_back_after_each_step_share_their_forwards(held):
    held.go_on.set()
    batcher, both_in = RowBatcher(held), threading.Barrier(2)

    def work(value: float) -> None:
        with batcher.caller() as predict:
            both_in.wait(PATIENCE)
            for _ in range(10):
                predict(*rows(2, value))

    held.seconds = 0.2  # it is worth waiting for the other
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (100.0, 200.0)))
    assert 10 <= len(held.forwards) <= 15, "20 = each alone"


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_tiles_of_concurrent_calls_are_those_made_alone_to_the_last_bit(tiny_pipeline, size):
    guided = [GuidanceTerm(ALL_COLUMNS, 2.0), GuidanceTerm((1,), 3.0)]
    height, width = size
    calls = [
        {"num_inference_steps": 5},
        {"num_inference_steps": 3, "guidance": guided},
        {"num_inference_steps": 7, "guidance": guided, "guidance_interval": (0.3, 0.8)},
        {"num_inference_steps": 4, "height_px": height, "width_px": width, "window_px": 32},
        {"num_inference_steps": 6, "other_ids": IDS.flip(0), "other_weights": [0.3, 0.9]},
    ]
    alone = [sample(tiny_pipeline, **call) for call in calls]
    sizes, plain = [], tiny_pipeline.denoiser.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    batcher, all_in = RowBatcher(tiny_pipeline.denoiser), threading.Barrier(len(calls))

    def work(call: dict) -> torch.Tensor:
        with batcher.caller() as predict:
            all_in.wait(PATIENCE)
            return sample(tiny_pipeline, **call, predict_rows=predict)

    with ThreadPoolExecutor(len(calls)) as pool:
        together = list(pool.map(work, calls))
    plain.remove()
    for expected, actual in zip(alone, together, strict=True):
        assert torch.equal(expected, actual)
    assert set(sizes) == {SIZE}


def test_the_rows_of_a_forward_get_fewer_as_images_get_larger():
    assert [micro_batch_size(torch.empty(1, 3, side, side)) for side in (32, 128, 256, 512)] == [SIZE, SIZE, 1, 1]


def test_predicting_alone_keeps_the_rows_in_order():
    held = HeldDenoiser()
    held.go_on.set()
    assert predict_alone(held, *rows(6))[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert len(held.forwards) == 2
