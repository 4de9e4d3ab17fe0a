"""Choice of device and number format. Run: pytest tests/test_device.py"""

import pytest
import torch

from medi_core import device
from medi_core.device import candidates, choose_compile, choose_device, choose_dtype, measured_seconds
from medi_core.errors import InvalidRequestError
from medi_core.pipelines.row_batcher import ACCELERATOR_MICRO_BATCH, MICRO_BATCH

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda:0"), torch.device("mps")


def available(monkeypatch, num_cuda: int = 0, has_mps: bool = False) -> None:
    """As if this machine had these accelerators."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)


@pytest.mark.parametrize(
    ("num_cuda", "has_mps", "chosen"), [(0, False, "cpu"), (0, True, "mps"), (2, False, "cuda:0"), (1, True, "cuda:0")]
)
def test_auto_takes_a_gpu_then_mps_then_the_cpu(monkeypatch, num_cuda, has_mps, chosen):
    available(monkeypatch, num_cuda, has_mps)
    assert choose_device("auto") == torch.device(chosen)


def test_cuda_is_the_first_of_several_gpus_and_each_can_be_named(monkeypatch):
    available(monkeypatch, num_cuda=2)
    assert choose_device("cuda") == torch.device("cuda:0")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "tpu", "CPU", "", "meta"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(monkeypatch, name):
    available(monkeypatch)
    with pytest.raises(InvalidRequestError, match=r"available: auto, cpu$") as caught:
        choose_device(name)
    assert repr(name) in str(caught.value)


def test_a_gpu_beyond_the_last_is_refused_with_those_that_are(monkeypatch):
    available(monkeypatch, num_cuda=2)
    with pytest.raises(InvalidRequestError, match=r"'cuda:2' .* available: auto, cuda:0, cuda:1, cpu$"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_named_dtype_is_taken_on_any_device(name):
    assert {choose_dtype(name, on) for on in (CPU, CUDA, MPS)} == {getattr(torch, name)}


@pytest.mark.parametrize("name", ["float64", "int8", "bf16", ""])
def test_an_unknown_dtype_is_refused_with_the_known_ones(name):
    with pytest.raises(InvalidRequestError, match=r"known: auto, float32, bfloat16, float16$") as caught:
        choose_dtype(name, CPU)
    assert repr(name) in str(caught.value)


F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({F32: 1.0, BF16: 0.5}, BF16),
        ({F32: 1.0, BF16: 0.89}, BF16),
        ({F32: 1.0, BF16: 0.91}, F32),
        ({F32: 1.0, BF16: 7.0}, F32),
        ({F32: 1.0, F16: 0.5}, F16),
        ({F32: 1.0, BF16: 0.4, F16: 0.3}, F16),
        ({F32: 1.0}, F32),
    ],
)
def test_auto_takes_the_fastest_and_float32_unless_that_is_clearly_slower(seconds, chosen):
    assert choose_dtype("auto", CPU, lambda _: seconds) is chosen


def test_a_named_dtype_is_not_measured():
    assert choose_dtype("float32", CPU, lambda _: 1 / 0) is F32


@pytest.mark.parametrize(
    ("on", "has_bfloat16", "tried"),
    [(CPU, False, (F32, BF16)), (CUDA, True, (F32, BF16)), (CUDA, False, (F32, F16)), (MPS, False, (F32, F16))],
)
def test_float16_is_tried_only_where_there_is_no_bfloat16(monkeypatch, on, has_bfloat16, tried):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert candidates(on) == tried


def test_where_the_gpu_comes_later_nothing_is_measured(monkeypatch):
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert choose_dtype("auto", CUDA, lambda _: 1 / 0) is BF16


def test_what_is_measured_here_is_measured_once_and_takes_no_random_numbers():
    before = torch.get_rng_state()
    seconds = measured_seconds(CPU)
    assert set(seconds) == {F32, BF16}
    assert all(0 < value < 10 for value in seconds.values())
    assert measured_seconds(CPU) is seconds
    assert choose_dtype("auto", CPU) is choose_dtype("auto", CPU, lambda _: seconds)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_fastest_round_counts(monkeypatch):
    clock = iter([3.0, 5.0, 2.0, 4.0, 1.0, 6.0, *[9.0] * 100])
    monkeypatch.setattr(device, "_layers", lambda *_: lambda: None)
    monkeypatch.setattr(device, "_seconds_of", lambda *_: next(clock))
    assert measured_seconds.__wrapped__(CPU) == {F32: 1.0, BF16: 4.0}


def test_it_is_the_measured_gpu_that_is_waited_for(monkeypatch):
    done = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda on=None: done.append(on))
    second = torch.device("cuda:1")
    assert device._seconds_of(lambda: done.append("run"), second) >= 0
    assert done == [second, "run", second]


def test_an_accelerator_gets_more_than_it_takes_to_launch():
    rows = {kind: len(device._layers(torch.device(kind), F32)()) for kind in ("cpu", "meta")}
    assert rows["cpu"] == MICRO_BATCH["cpu"]
    assert rows["meta"] > ACCELERATOR_MICRO_BATCH


@pytest.mark.parametrize(
    ("name", "on", "is_compiled"),
    [("auto", CPU, False), ("auto", CUDA, True), ("auto", MPS, False), ("on", CPU, True), ("off", CUDA, False)],
)
def test_auto_compiles_on_cuda_alone(name, on, is_compiled):
    assert choose_compile(name, on) is is_compiled


def test_where_each_request_would_compile_anew_it_is_off(monkeypatch):
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert not choose_compile("auto", CUDA)
    with pytest.raises(InvalidRequestError, match="on ZeroGPU each request would compile anew; choose auto or off"):
        choose_compile("on", CUDA)


@pytest.mark.parametrize("name", ["yes", "True", ""])
def test_another_word_for_compile_is_refused_with_the_known_ones(name):
    with pytest.raises(InvalidRequestError, match="known: auto, on, off"):
        choose_compile(name, CPU)
