"""The .cu files compiled for the host: their launches, their threads and the arithmetic that only
devices do, without a GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cpp_ext.extension import HOST_FILES, SOURCES, build

HERE = Path(__file__).parent / "cuda_on_host"
LAUNCH = re.compile(r"(\w+(?:<[\w, ]+>)?)<<<(.*?), (\w+), 0,\s*queue>>>\((\w+)\);", re.DOTALL)
DEVICES = """#include "device.h"
namespace moue {
std::vector<std::string> cuda_devices() { return {"the host"}; }
void check_cuda(int) {}
}  // namespace moue
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_the_cuda_files_do_what_the_plain_loops_do(tmp_path):
    (tmp_path / "device.cpp").write_text(DEVICES)
    for name, launches in (("skip_sum", 1), ("compose", 3), ("preprocess", 2)):
        text, count = LAUNCH.subn(
            r"launch(\2, \3, [&] { \1(\4); });", (SOURCES / f"{name}.cu").read_text()
        )
        assert count == launches
        (tmp_path / f"{name}_cuda.cpp").write_text(text)
    options = ["-std=c++20", f"-I{HERE}", "-D__CUDA_ARCH__=900", "-include", "cuda_runtime.h"]
    core = build(tmp_path, [*HOST_FILES, *tmp_path.glob("*.cpp")], options)
    compare = [sys.executable, "-m", "tests.cpp_ext.cuda_on_host.compare", str(core)]
    subprocess.run(compare, check=True, cwd=SOURCES.parent)
