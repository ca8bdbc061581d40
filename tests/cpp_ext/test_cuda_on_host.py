"""The .cu files compiled for the host: their launches, their threads and the arithmetic that only
devices do, without a GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "cpp_ext"
HERE = Path(__file__).parent / "cuda_on_host"
LAUNCH = re.compile(r"(\w+(?:<[\w, ]+>)?)<<<(.*?), (\w+), 0,\s*queue>>>\((\w+)\);", re.DOTALL)
CPU_FILES = ("bindings", "on_host", "parallel", "compose", "preprocess", "skip_sum")
DEVICES = """#include "device.h"
namespace moue {
std::vector<std::string> cuda_devices() { return {"the host"}; }
}  // namespace moue
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_the_cuda_files_do_what_the_plain_loops_do(tmp_path):
    pybind11 = pytest.importorskip("pybind11", reason="builds the extension anew")
    (tmp_path / "device.cpp").write_text(DEVICES)
    for name, launches in (("skip_sum", 1), ("compose", 3), ("preprocess", 2)):
        text, count = LAUNCH.subn(
            r"launch(\2, \3, [&] { \1(\4); });", (SOURCES / f"{name}.cu").read_text()
        )
        assert count == launches
        (tmp_path / f"{name}_cuda.cpp").write_text(text)
    core = tmp_path / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = [HERE, SOURCES, pybind11.get_include(), sysconfig.get_path("include")]
    subprocess.run(
        ["g++", "-std=c++20", "-O1", "-fPIC", "-shared", "-pthread", "-ffp-contract=off"]
        + ["-D__CUDA_ARCH__=900", "-include", "cuda_runtime.h"]
        + [f"-I{folder}" for folder in include]
        + [str(SOURCES / f"{name}.cpp") for name in CPU_FILES]
        + [str(path) for path in tmp_path.glob("*.cpp")]
        + ["-o", str(core)],
        check=True,
    )
    compare = [sys.executable, "-m", "tests.cpp_ext.cuda_on_host.compare", str(core)]
    subprocess.run(compare, check=True, cwd=SOURCES.parent)
