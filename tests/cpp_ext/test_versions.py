"""The kernels' tests on the code that older processors run: the loader takes the newest there is."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "cpp_ext"
FILES = ("bindings", "device", "on_host", "parallel", "compose", "preprocess", "skip_sum")
RUN = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("moue._core", sys.argv[1])
sys.modules["moue._core"] = core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(core)
from moue import kernels
assert kernels._core is core
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/kernels/test_kernels.py"]))
"""


def has(feature: str) -> bool:
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and f" {feature} " in cpu.read_text("utf-8").replace("\n", " ")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere there is one version")
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
@pytest.mark.parametrize("feature", [None, "avx2"])
def test_an_older_processor_gets_the_same_numbers(feature, tmp_path):
    pybind11 = pytest.importorskip("pybind11", reason="builds the extension anew")
    if feature and not has(feature):
        pytest.skip(f"this processor has no {feature}")
    core = tmp_path / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = [pybind11.get_include(), sysconfig.get_path("include")]
    subprocess.run(
        ["g++", "-std=c++17", "-O1", "-fPIC", "-shared", "-pthread", "-ffp-contract=off"]
        + ["-U__gnu_linux__", *([f"-m{feature}"] if feature else [])]  # one version alone
        + [f"-I{folder}" for folder in include]
        + [str(SOURCES / f"{name}.cpp") for name in FILES]
        + ["-o", str(core)],
        check=True,
    )
    subprocess.run([sys.executable, "-c", RUN, str(core)], check=True, cwd=SOURCES.parent)
