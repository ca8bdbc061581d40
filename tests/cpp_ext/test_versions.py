"""The kernels' tests on the code that older processors run: the loader takes the newest there is."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cpp_ext.extension import HOST_FILES, SOURCES, WITHOUT_CUDA, build

RUN = """
import sys
import pytest
from tests.cpp_ext.extension import stand_in
core = stand_in(sys.argv[1])
from moue import kernels
assert kernels._core is core
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/kernels/test_kernels.py"]))
"""


def has(feature: str) -> bool:
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and f" {feature} " in cpu.read_text("utf-8").replace("\n", " ")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere there is one version")
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
@pytest.mark.parametrize("feature", [None, "avx2"])
def test_an_older_processor_gets_the_same_numbers(feature, tmp_path):
    if feature and not has(feature):
        pytest.skip(f"this processor has no {feature}")
    options = ["-std=c++17", "-U__gnu_linux__"]  # one version alone
    options += [f"-m{feature}"] if feature else []
    core = build(tmp_path, [*HOST_FILES, WITHOUT_CUDA], options)
    subprocess.run([sys.executable, "-c", RUN, str(core)], check=True, cwd=SOURCES.parent)
