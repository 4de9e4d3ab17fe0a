"""Choice of device and number format. Run: pytest tests/test_device.py"""

import pytest
import torch

from medi_core.device import choose_device, choose_dtype
from medi_core.errors import InvalidRequestError

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
    assert {choose_dtype(name, device) for device in (CPU, CUDA, MPS)} == {getattr(torch, name)}


@pytest.mark.parametrize("name", ["float64", "int8", "bf16", ""])
def test_an_unknown_dtype_is_refused_with_the_known_ones(name):
    with pytest.raises(InvalidRequestError, match=r"known: auto, float32, bfloat16, float16$") as caught:
        choose_dtype(name, CPU)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, torch.float32),
        ({"avx2": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_on_a_cpu_is_bfloat16_only_where_it_has_matrix_units_for_it(monkeypatch, capabilities, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_dtype("auto", CPU) is chosen


def test_auto_on_a_cpu_is_float32_where_torch_cannot_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_dtype("auto", CPU) is torch.float32


@pytest.mark.parametrize(("is_supported", "chosen"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_on_a_gpu_is_bfloat16_where_it_is_no_emulation(monkeypatch, is_supported, chosen):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: is_supported)
    assert choose_dtype("auto", CUDA) is chosen


def test_auto_on_mps_is_float32():
    assert choose_dtype("auto", MPS) is torch.float32
