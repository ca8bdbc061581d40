"""Measurements whose ratios decide. Each is one command; its last line on stdout is one JSON document.

What is compared runs in turns within one process, so that whatever else the machine does meets all
alike; times are medians.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.crop import Face, Square
from moue.kernels.cores import usable_cores

PHOTO = (1080, 1920)  # px, height and width
FACE = 512.0  # px, side of the face square


def in_turns(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for k in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if k:
                times[name].append((time.perf_counter() - start) * 1000)
    return {name: float(np.median(taken)) for name, taken in times.items()}


def in_a_row(run: Callable[[], object], times: int) -> Callable[[], object]:
    """So many calls of `run`, as the frames of a clip follow each other."""

    def row() -> None:
        for _ in range(times):
            run()

    return row


def side_by_side(run: Callable[[], object], times: int = 1) -> Callable[[], object]:
    """As many threads as there are cores, each calling `run` so many times; started once."""
    count, row = usable_cores(), in_a_row(run, times)
    pool = ThreadPoolExecutor(count)
    return lambda: list(pool.map(lambda _: row(), range(count)))


def picture(height: int = PHOTO[0], width: int = PHOTO[1]) -> NDArray[np.uint8]:
    """Smooth waves of colour, uint8 RGB [height, width, 3]: no stage minds what a photo shows."""
    y, x = np.mgrid[0:height, 0:width] / 256
    waves = np.stack([np.sin(9 * x + 4 * y), np.cos(7 * y - 5 * x), np.sin(12 * x * y)], axis=-1)
    return np.asarray(127.5 + 100 * waves, np.uint8)


def face_in(photo: NDArray[np.uint8], side: float = FACE) -> Face:
    """A face in its middle, its head a little turned."""
    height, width = photo.shape[:2]
    return Face(Square(width / 2, height / 2, side, 0.05), np.zeros((478, 3), np.float32), 1.0)


def report(name: str, **results: object) -> None:
    """Prints the document."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    machine = {
        "processor": models[0] if models else platform.machine(),
        "cores": usable_cores(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    print(json.dumps({"benchmark": name, **machine, **_rounded(results)}))


def _rounded(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _rounded(value) for name, value in values.items()}
    return round(values, 4) if isinstance(values, float) else values
