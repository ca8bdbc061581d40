"""What nvcc made of the kernels: machine code for every architecture that moue builds for."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

core = pytest.importorskip("moue._core")

FATBIN = struct.Struct("<IHHQ")  # magic, version, bytes of this header, bytes of what follows
ENTRY = struct.Struct("<H2xIQ12xI")  # kind, bytes of this header, bytes of the code, architecture
MAGIC, MACHINE_CODE = 0xBA55ED50, 2
KERNELS = {"skip_sum", "compose", "preprocess"}


def wanted() -> set[int]:
    """Those in CMakeLists.txt that this nvcc knows."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        assert "CI" not in os.environ, "every check needs nvcc"
        pytest.skip("there is no nvcc")
    known = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True)
    listed = (Path(__file__).parents[2] / "CMakeLists.txt").read_text("utf-8")
    (numbers,) = re.findall(r"foreach\(architecture ([\d ]+)\)", listed)
    return {int(n) for n in numbers.split() if f"sm_{n}" in known.stdout.split()}


def fatbins(data: bytes) -> list[set[int]]:
    """The architectures of each .cu file that a library holds, in files with code for any."""
    found = []
    for match in re.finditer(re.escape(struct.pack("<I", MAGIC)), data):
        _, version, header, size = FATBIN.unpack_from(data, match.start())
        at, end = match.start() + header, match.start() + header + size
        if version != 1 or header != FATBIN.size or end > len(data):
            continue
        architectures = set()
        while at < end:
            kind, header, size, architecture = ENTRY.unpack_from(data, at)
            if kind == MACHINE_CODE:
                architectures.add(architecture)
            at += header + size
        if architectures:
            found.append(architectures)
    return found


def test_every_kernel_is_there_for_every_architecture():
    architectures = wanted()
    assert {75, 80, 86, 87, 89, 90} <= architectures
    assert fatbins(Path(core.__file__).read_bytes()).count(architectures) >= len(KERNELS)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_every_load_and_store_knows_its_memory(kernel, tmp_path):
    """One that does not has to be told apart by the device, each time."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("there is no nvcc")
    sources, made = Path(__file__).parents[2] / "cpp_ext", tmp_path / "kernel.ptx"
    options = ["-std=c++17", "-arch=compute_87", "-ptx", "-I", str(sources), "-o", str(made)]
    subprocess.run([nvcc, *options, str(sources / f"{kernel}.cu")], check=True)
    kinds = set(re.findall(r"\b(?:ld|st)\.(\w+)", made.read_text()))
    assert {"global", "param"} <= kinds <= {"global", "param", "shared", "const"}


def test_the_library_needs_no_driver_to_be_loaded():
    if shutil.which("readelf") is None:
        pytest.skip("there is no readelf")
    listed = subprocess.run(
        ["readelf", "-d", core.__file__], capture_output=True, text=True, check=True
    ).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", listed)
    assert needed
    assert not [name for name in needed if "cuda" in name.lower() or "nvidia" in name.lower()]
