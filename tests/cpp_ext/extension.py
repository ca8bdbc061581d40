"""moue's extension built anew for a test, and put where the installed one would be imported from."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

SOURCES = Path(__file__).parents[2] / "cpp_ext"
# What it is made of on a machine without CUDA, and the file that CUDA's own takes the place of.
HOST_FILES = [path for path in sorted(SOURCES.glob("*.cpp")) if path.stem != "device"]
WITHOUT_CUDA = SOURCES / "device.cpp"


def build(folder: Path, sources: Iterable[Path], options: list[str]) -> Path:
    """Compiles the sources into `folder` and says where the module lies; skips without pybind11."""
    pybind11 = pytest.importorskip("pybind11", reason="builds the extension anew")
    core = folder / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = [SOURCES, pybind11.get_include(), sysconfig.get_path("include")]
    subprocess.run(
        ["g++", "-O1", "-fPIC", "-shared", "-pthread", "-ffp-contract=off", *options]
        + [f"-I{at}" for at in include]
        + [str(path) for path in sources]
        + ["-o", str(core)],
        check=True,
    )
    return core


def stand_in(core: str) -> ModuleType:
    """Loads the module at that path as `moue._core`, before moue is imported."""
    spec = importlib.util.spec_from_file_location("moue._core", core)
    assert spec
    assert spec.loader
    sys.modules["moue._core"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
