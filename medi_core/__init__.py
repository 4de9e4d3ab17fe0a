"""MeDi Explorer as a library: `from medi_core import Settings, build_services, …`; docs/api.md shows how.

The names are those of medi_core/public.py, loaded when one of them is first asked for: `python -m medi_core --help`,
which imports this package too, must not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medi_core.public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """A name of the public surface (PEP 562)."""
    if not name.startswith("_"):
        public = import_module("medi_core.public")
        if name in public.__all__:
            return getattr(public, name)
    raise AttributeError(f"module 'medi_core' has no attribute {name!r}; docs/api.md lists what there is")


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("medi_core.public").__all__})
