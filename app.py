"""Start MeDi Explorer: flags → settings → services → app. `python app.py --help`."""

import argparse
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec

from medi_core.errors import MediError
from medi_core.settings import QUIET, Settings

M_ARENA_MAX = -8
"""Of glibc's malloc.h."""
TRIM_SECONDS = 5


def main() -> int:
    """Serve until interrupted; exit code 2 and one line on bad input."""
    parser = argparse.ArgumentParser(description="MeDi Explorer: metadata-guided diffusion of H&E tiles")
    parser.add_argument("--checkpoint", help="name below checkpoints/, a folder, or a hub id (default: medi-128-fast)")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--dtype", help="auto, float32, bfloat16, float16 (default: auto)")
    parser.add_argument("--compile", help="auto, on, off: compile the denoiser; auto = on CUDA (default: auto)")
    parser.add_argument("--encoder", help="whose features the map is made of (default: efficientnet-lite0)")
    parser.add_argument("--tiles", help="manifest of real tiles on this machine, to see them in the map")
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("GRADIO_SERVER_PORT", "7860"))
    flags = parser.parse_args()
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    keep_memory_together()
    try:
        if find_spec("spaces"):
            import spaces  # noqa: F401  ZeroGPU patches CUDA: before torch is imported
        # heavy imports late: `--help` and a wrong flag answer at once
        from medi_core.bootstrap import build_services
        from medi_core.ui.app import reason_without_mcp
        from medi_core.ui.server import Server
        from medi_core.web.logs import start_logs

        names = ("checkpoint", "device", "dtype", "compile", "encoder", "tiles")
        given = {name: getattr(flags, name) for name in names}
        given["compile"] = flags.compile or os.environ.get("MEDI_COMPILE") or "auto"
        settings = Settings.from_environment(**given)
        start_logs(settings.log_level)
        services = build_services(settings)
        warn_of_storage(services)
        server = Server(services)
    except MediError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if reason := reason_without_mcp(services):
        print(reason)  # where they are, Gradio itself says
    if services.instant_off:
        print(f"instant mode is off: {services.instant_off}")
    try:
        server.serve(flags.host, flags.port)
    except OSError as error:
        print(f"error: cannot serve on {flags.host}:{flags.port}: {error}; give another --port", file=sys.stderr)
        return 2
    return 0


def keep_memory_together() -> None:
    """On Linux: threads share two pools of memory, and what is free in them goes back to the system from time to time.
    By default each thread takes one of many pools, and figures are built in dozens of threads: what they free stays in
    all those pools, and the process grows.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_ARENA_MAX, 2)
        threading.Thread(target=_give_memory_back, args=(libc.malloc_trim,), daemon=True).start()


def _give_memory_back(malloc_trim: Callable[[int], int]) -> None:
    while True:
        time.sleep(TRIM_SECONDS)
        malloc_trim(0)


def warn_of_storage(services) -> None:
    """Say now, not to the first reader, that answers of reviews cannot be kept; nothing else needs storage."""
    from medi_core.storage import volatile_reason

    folder = services.settings.data_dir
    try:
        services.studies.studies()
    except MediError as error:
        print(f"warning: reviews are off: {error}", file=sys.stderr)
        return
    if reason := volatile_reason(folder):
        print(
            f"warning: answers of reviews in {folder} will be lost: {reason}; "
            "set MEDI_DATA_DIR to a folder on a disk or a mounted volume",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(main())
