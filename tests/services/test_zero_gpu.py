"""ZeroGPU wraps the work where the platform's package is present, and nowhere else."""

import inspect
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from medi_core.services.zero_gpu import on_zero_gpu


def test_without_the_package_the_work_runs_as_it_is():
    assert list(on_zero_gpu(lambda request: iter(range(request)))(3)) == [0, 1, 2]


def test_with_the_package_the_platform_gets_a_generator_function_to_wrap(monkeypatch):
    wrapped = []
    spaces = ModuleType("spaces")
    spaces.__spec__ = ModuleSpec("spaces", None)
    spaces.GPU = lambda function: wrapped.append(function) or function
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    run = on_zero_gpu(lambda request: iter(range(request)))
    assert inspect.isgeneratorfunction(wrapped[0])
    assert list(run(2)) == [0, 1]
