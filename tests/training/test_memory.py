"""Memory that is kept stays with the process; without, it goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELD = """
import sys
from pathlib import Path
from training.memory import keep_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

if sys.argv[1] == "kept":
    keep_memory()
before = resident()
large = b"1" * (1 << 28)
grown = resident() - before
del large
print((resident() - before) / grown)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to")
def test_what_is_freed_is_kept():
    kept, given_back = (
        float(subprocess.check_output([sys.executable, "-c", HELD, how], cwd=ROOT))
        for how in ("kept", "given back")
    )
    assert kept > 0.9
    assert given_back < 0.1
