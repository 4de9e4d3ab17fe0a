"""Which device and number format to run on."""

import torch

from medi_core.errors import InvalidRequestError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str) -> torch.device:
    """`auto` takes a CUDA GPU, then Apple's MPS, then the CPU.

    Raises:
        InvalidRequestError: the device does not exist here.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available = [*(f"cuda:{i}" for i in range(torch.cuda.device_count())), *available]
    if name == "auto":
        return torch.device(available[0])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in available:
        raise InvalidRequestError(f"device {name!r} is not available; available: auto, {', '.join(available)}")
    return torch.device(wanted)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` takes bfloat16 where the device multiplies it in hardware, else float32.

    Raises:
        InvalidRequestError: an unknown dtype.
    """
    if name == "auto":
        return torch.bfloat16 if _has_fast_bfloat16(device) else torch.float32
    if name not in DTYPES:
        raise InvalidRequestError(f"dtype {name!r} is unknown; known: auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # matrix units (AMX): without them bfloat16 convolutions are slower than float32 ones
        # (older torch cannot tell, and float32 is then the safe choice)
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("amx_bf16"))
    return False
