"""From the start of the process to the first frame, and to a whole clip.

    python -m benchmarks.cold --photo photo.jpg

Each run is a process of its own; wall seconds, processor seconds and peak memory are the system's.

A portrait's features are not kept on disk from one process to the next. Reading them would save
the encoder's run, but only for a photo that was animated before, for 30 MB a photo; and what a person's
face comes to has no place in a cache nobody asked for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import report

RUNS = {
    "import": ["-c", "import moue"],
    "first frame": ["-m", "moue", "animate", "{photo}", "--expression", "happy", "-o", "{out}.png"],
    "clip of 2 s": ["-m", "moue", "animate", "{photo}", "--expression", "happy", "-o", "{out}.mp4"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", help="with a face (default: scikit-image's, at 1024²)")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photo = arguments.photo or _astronaut(Path(folder) / "astronaut.png")
        measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in RUNS}
        for _ in range(arguments.rounds):
            for name, words in RUNS.items():
                filled = [word.format(photo=photo, out=Path(folder) / "out") for word in words]
                measured[name].append(_run([sys.executable, *filled]))
    results = {}
    for name, runs in measured.items():
        wall, busy, memory = np.median(np.array(runs), axis=0)
        results[name] = {
            "wall_s": round(wall, 3),
            "cpu_s": round(busy, 3),
            "peak_memory_mb": round(memory, 1),
        }
        print(f"{name:12} {wall:6.2f} s wall {busy:6.2f} s cpu {memory:6.0f} MB", file=sys.stderr)
    report("cold", rounds=arguments.rounds, **results)


def _run(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak megabytes of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6


def _astronaut(path: Path) -> Path:
    from PIL import Image
    from skimage.data import astronaut

    Image.fromarray(np.asarray(astronaut())).resize((1024, 1024)).save(path)
    return path


if __name__ == "__main__":
    main()
