"""The dependency rules as data: who may import whom, and the one home of each heavy library.

`MAY_IMPORT` and `HOME_OF` are the picture of docs/architecture.md; a failure names the import.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "medi_core").rglob("*.py"), *ROOT.glob("*.py")])
MAX_LINES = 350
VAGUE_NAMES = {"utils.py", "helpers.py", "common.py"}

LEAVES = {
    "errors",
    "metadata",
    "stain",
    "data",
    "models",
    "pipelines",
    "training",
    "metrics",
    "planning",
    "projection",
    "review",
}
BELOW_UI = LEAVES | {"checkpoints", "classifier_checkpoint", "device", "services", "settings", "storage"}
MAY_IMPORT: dict[str, set[str]] = {
    # start-up
    "app": {"bootstrap", "errors", "settings", "storage", "ui", "web"},
    "__main__": {"cli"},
    "cli": {"commands", "errors"},
    "commands": BELOW_UI | {"bootstrap", "engines", "figures"},
    "engines": {"bootstrap", "data", "errors", "planning", "services", "settings"},
    "bootstrap": BELOW_UI,
    "public": {"bootstrap", "data", "errors", "metadata", "planning", "services", "settings"},
    # widgets, and what they call
    "ui": {
        *("bootstrap", "checkpoints", "data", "errors", "figures", "metadata", "planning", "projection", "review"),
        *("services", "storage", "web"),
    },
    # around the app: requests in, answers out
    "web": {"data", "errors"},
    "services": LEAVES | {"checkpoint_checks", "checkpoints", "classifier_checkpoint", "device", "storage"},
    # areas
    "checkpoints": {"checkpoint_checks", "errors", "metadata", "models", "pipelines", "storage"},
    "checkpoint_checks": {"errors", "metadata", "models", "pipelines"},
    "classifier_checkpoint": {"checkpoint_checks", "errors", "models", "storage"},
    "training": {
        *("checkpoints", "classifier_checkpoint", "data", "errors", "metadata", "metrics", "models", "pipelines"),
        *("stain", "storage"),
    },
    "pipelines": {"errors", "models"},
    "models": {"errors", "metadata"},
    "data": {"errors", "metadata", "stain", "storage"},
    "planning": {"errors", "metadata", "storage"},
    "review": {"errors"},
    # leaves: each can be read alone
    "metadata": {"errors"},
    "stain": {"errors"},
    "metrics": {"errors"},
    "projection": {"errors"},
    "figures": {"errors", "metadata"},
    "storage": {"errors"},
    "device": {"errors"},
    "settings": {"errors"},
    "errors": set(),
}
HOME_OF: dict[str, set[str]] = {
    "gradio": {"ui", "app"},
    "starlette": {"ui", "web"},
    "spaces": {"app", "services"},
    "plotly": {"figures", "ui"},
    "matplotlib": set(),
    "torch": {
        *("data", "models", "pipelines", "training", "services", "bootstrap"),
        *("checkpoints", "checkpoint_checks", "classifier_checkpoint", "device"),
    },
    "torchvision": {"models"},
    "diffusers": {"models", "pipelines", "training", "checkpoints"},
    "accelerate": {"training"},
    "timm": {"models"},
    "safetensors": {
        *("checkpoints", "checkpoint_checks", "classifier_checkpoint", "data", "models", "training", "storage"),
    },
    "ray": {"engines"},
    "huggingface_hub": {"checkpoints", "commands", "data", "models", "services"},
    "umap": {"projection"},
    "sklearn": {"data", "metrics", "projection", "services", "training"},
    "skimage": {"stain"},
    "sqlite3": {"review"},
    "PIL": {"data", "services", "training", "ui"},
    "argparse": {"cli", "commands", "app"},
}
PURE = {"metadata", "errors", "settings"}
"""Areas of plain Python: nothing but the standard library and each other."""
NOT_AT_IMPORT = {"print", "open", "input", "exec", "eval", "ArgumentParser"}


def area_of(module: str) -> str:
    """`medi_core.ui.app` → `ui`, `medi_core.errors` → `errors`, `app` → `app`."""
    return module.split(".")[1] if module.startswith("medi_core.") else module


def imports_of(tree: ast.Module) -> Iterator[str]:
    """Dotted names of all imports, those inside functions too; a relative one starts with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            is_package = module == "medi_core" or (
                module.count(".") == 1 and (ROOT / module.replace(".", "/")).is_dir()
            )
            yield from (f"{module}.{alias.name}" for alias in node.names) if is_package else (module,)


def import_faults(module: str, tree: ast.Module) -> Iterator[str]:
    area = area_of(module)
    if area not in MAY_IMPORT:
        yield f"{area} is a new area: give it a line in MAY_IMPORT"
        return
    for name in imports_of(tree):
        library = name.split(".")[0]
        if name.startswith("."):
            yield f"{module}: relative import of {name}; write it in full"
        elif library == "medi_core":
            if area_of(name) not in MAY_IMPORT[area] | {area}:
                yield f"{area} must not import {name} (in {module})"
        elif area not in HOME_OF.get(library, {area}):
            yield f"{area} must not import {library}; its home is {', '.join(sorted(HOME_OF[library]))} (in {module})"
        elif area in PURE and library not in sys.stdlib_module_names:
            yield f"{area} is pure Python and must not import {library} (in {module})"


def at_import(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """Everything that runs when a module is imported: not function bodies, not below `if __name__ …`."""
    todo: list[ast.AST] = list(nodes)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            continue
        yield node
        todo.extend(ast.iter_child_nodes(node))


def start_faults(module: str, tree: ast.Module) -> Iterator[str]:
    for node in at_import(tree.body):
        is_bare_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        is_refused = isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in NOT_AT_IMPORT
        if is_bare_call or is_refused:
            yield f"{module}: `{ast.unparse(node)}` happens at import"
    if any(isinstance(node, ast.Global) for node in ast.walk(tree)):
        yield f"{module}: `global` makes module-level state"


def faults_of(module: str, source: str) -> list[str]:
    tree = ast.parse(source)
    return sorted({*import_faults(module, tree), *start_faults(module, tree)})


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, or nothing."""
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        rings = (visit(other, [*trail, module]) for other in sorted(graph.get(module, ())))
        ring = next(filter(None, rings), [])
        done.add(module)
        return ring

    return next(filter(None, (visit(module, []) for module in graph)), [])


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = {module_of(path): path.read_text() for path in FILES if path.name != "__init__.py"}


def test_imports_point_down_and_each_library_stays_at_home():
    assert [fault for module, source in MODULES.items() for fault in faults_of(module, source)] == []


def test_no_modules_import_each_other_in_a_ring():
    graph = {module: set(imports_of(ast.parse(source))) & MODULES.keys() for module, source in MODULES.items()}
    assert sum(map(len, graph.values())) > len(graph), "the graph has lost its edges"
    assert find_cycle(graph) == []


def test_modules_are_short_flat_and_named_after_what_they_hold():
    too_long = {module: n for module, source in MODULES.items() if (n := len(source.splitlines())) > MAX_LINES}
    assert too_long == {}
    assert [module for module in MODULES if module.count(".") > 2] == []
    assert [str(path) for path in FILES if path.name in VAGUE_NAMES] == []
    surface = ROOT / "medi_core" / "__init__.py"
    assert [str(path) for path in FILES if path.name == "__init__.py" and path.read_text() and path != surface] == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("medi_core.services.x", "from medi_core.ui.app import build_app", "services must not import medi_core.ui.app"),
        ("medi_core.services.x", "from medi_core import ui", "services must not import medi_core.ui"),
        ("medi_core.services.x", "def f():\n    import gradio as gr", "services must not import gradio"),
        ("medi_core.ui.x", "import torch.nn", "ui must not import torch; its home is bootstrap"),
        ("medi_core.metadata.x", "import numpy", "metadata is pure Python and must not import numpy"),
        ("medi_core.models.x", "from .denoiser import Denoiser", "relative import of .denoiser"),
        ("medi_core.newarea.x", "", "newarea is a new area"),
        ("medi_core.models.x", "print('loading')", "`print('loading')` happens at import"),
        ("medi_core.cli", "import argparse\nPARSER = argparse.ArgumentParser()", "ArgumentParser()` happens at import"),
        ("medi_core.models.x", "for name in 'ab':\n    download(name)", "`download(name)` happens at import"),
        ("medi_core.models.x", "def f():\n    global cache", "`global` makes module-level state"),
    ],
)
def test_a_broken_rule_is_found_and_named(module, source, fault):
    faults = faults_of(module, source)
    assert len(faults) == 1
    assert fault in faults[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("medi_core.services.x", "import torch\nfrom medi_core.pipelines.guidance import combine"),
        ("medi_core.ui.x", "import gradio as gr\nfrom medi_core.ui.links import link"),
        ("app", "import gradio\n\ndef main():\n    print(1)\n\nif __name__ == '__main__':\n    main()"),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert faults_of(module, source) == []


def test_a_ring_is_found():
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "a"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_the_two_dictionaries_speak_of_the_same_areas():
    assert set().union(*MAY_IMPORT.values(), *HOME_OF.values()) <= MAY_IMPORT.keys()
