"""Frames over and over: memory, descriptors and threads stay as they are. `make soak` takes an hour."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("MOUE_SOAK", "10"))

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="counts as Linux does"
)


def soak(bundle: Path, seconds: float, *leak: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "tests.faults.soak", str(bundle), str(seconds), *leak]
    # One arena: what each thread's would keep for later, and where, differs from run to run.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    said = subprocess.check_output(words, cwd=ROOT, env=environment, text=True)
    print(said)
    return json.loads(said)


def test_nothing_grows(tiny_bundle):
    assert soak(tiny_bundle, SECONDS)["wrong"] == []


def test_what_leaks_is_found(tiny_bundle):
    assert soak(tiny_bundle, 3, "leak")["wrong"] == ["memory", "descriptors", "threads"]
