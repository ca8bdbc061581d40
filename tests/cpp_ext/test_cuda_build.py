"""What nvcc made of the kernels: machine code for every architecture that moue builds for."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
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


@pytest.mark.parametrize("by", ["-D", "environment"])
def test_architectures_can_be_named(by, tmp_path, monkeypatch):
    pybind11 = pytest.importorskip("pybind11", reason="configures the extension anew")
    if shutil.which("nvcc") is None or shutil.which("cmake") is None:
        pytest.skip("there is no nvcc, or no cmake")
    given = {
        "SKBUILD_PROJECT_NAME": "moue",
        "SKBUILD_PROJECT_VERSION": "0",
        "CMAKE_EXPORT_COMPILE_COMMANDS": "ON",
        "MOUE_CUDA": "ON",
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.get_cmake_dir(),
    }
    if by == "-D":
        given["CMAKE_CUDA_ARCHITECTURES"] = "87"
    else:
        monkeypatch.setenv("CUDAARCHS", "87")
    options = [f"-D{name}={value}" for name, value in given.items()]
    source = Path(__file__).parents[2]
    subprocess.run(["cmake", "-S", source, "-B", tmp_path, *options], check=True)
    commands = (tmp_path / "compile_commands.json").read_text()
    assert set(re.findall(r"\bsm_(\d+)", commands)) == {"87"}


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
