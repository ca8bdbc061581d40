"""The image for a Jetson, as far as it can be held to the rest of the project without one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMAGE = (ROOT / ".docker" / "jetson.Dockerfile").read_text("utf-8")


def project() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_it_installs_what_the_project_needs():
    installed = set(re.findall(r'"([a-z][\w.,<>=-]*)"', IMAGE))
    assert set(project()["dependencies"]) <= installed
    assert "cuda-bindings>=12.8,<12.9" in installed  # the last that ask a CUDA 12.6 driver alone


def test_it_copies_what_the_build_reads():
    copied = [
        name
        for line in re.findall(r"^COPY (.*) \S+$", IMAGE, re.MULTILINE)
        for name in line.split()
    ]
    assert all((ROOT / name).exists() for name in copied)
    wanted = {"CMakeLists.txt", "pyproject.toml", "cpp_ext", "sdk"}
    assert wanted | {project()["readme"], *project()["license-files"]} == set(copied)
