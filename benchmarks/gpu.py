"""Where a frame's time goes on the GPU, stage by stage, beside what its memory can do.

    python -m benchmarks.gpu --height 1080 --width 1920

Times are taken with CUDA events. The last line on standard output is one JSON document: microseconds
p50, p95 and p99 by stage and for the whole frame as one CUDA graph; for the kernels the bytes they
must move, and the share of the measured copy bandwidth that comes to. Without a GPU it holds the
reason.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from moue.bundle import Bundle, load_bundle
from moue.crop import Square
from moue.errors import RuntimeUnavailableError
from moue.kernels import cuda_devices
from moue.kernels.device import CELL_BYTES, SquareRows
from moue.runtimes.frame_loop import FrameLoop, PreparedFace
from moue.runtimes.tensorrt import TensorRtRuntime

COPY_BYTES = 2**28
FACE = 0.6  # of the photo's shorter side
ACTIVE = 8  # actions that are not zero, as in an expression


class SyntheticFace:
    """Features of no one: their values do not matter for how long a frame takes."""

    def __init__(self, bundle: Bundle, height: int, width: int) -> None:
        rng, count, size = np.random.default_rng(0), len(bundle.actions), bundle.input_size
        self.square = Square(width / 2, height / 2, FACE * min(height, width), 0.05)
        self.base, self.residual = {}, {}
        for level in bundle.levels:
            shape = (level.channels, level.size, level.size)
            self.base[level.size] = rng.normal(size=shape).astype(np.float32)
            if level.residual:
                self.residual[level.size] = rng.normal(size=(count, *shape)).astype(np.float32)
        self.rest_flow = np.zeros((2, size, size), np.float32)
        self.rest_mask = np.zeros((size, size), np.float32)


def measure(device: Any, loop: FrameLoop, bundle: Bundle, repeats: int) -> dict[str, Any]:
    """Every stage `repeats` times, and the frame whole."""
    actions = np.zeros((loop.batch, len(bundle.actions)), np.float32)
    actions[:, :ACTIVE] = 0.5
    for _ in loop.frames([actions] * 3):  # settles the engine's shapes, then records the graph
        pass
    report: dict[str, Any] = {"copy_gb_s": round(copy_bandwidth(device) / 1e9, 1)}
    moved = bytes_moved(bundle, loop)
    for name, work in loop.stages().items():
        report[name] = percentiles(device, work, repeats)
        if name in moved:
            rate = moved[name] / (report[name]["p50"] * 1e3)  # bytes a nanosecond: GB/s
            report[name] |= {
                "bytes": moved[name],
                "of_copy_bandwidth": round(rate / report["copy_gb_s"], 3),
            }
    report["frame"] = percentiles(device, loop.run, repeats)
    whole, engine = report["frame"]["p50"], report["decoder"]["p50"]
    report["around_the_engine"] = round(max(whole - engine, 0) / whole, 3)
    report["fps"] = round(loop.batch * 1e6 / whole, 1)
    return report


def percentiles(device: Any, work: Callable[[], None], repeats: int) -> dict[str, float]:
    """Microseconds on the device, p50, p95 and p99."""
    for _ in range(3):
        work()
    times = [1000 * device.milliseconds(work) for _ in range(repeats)]
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return {"p50": round(p50, 2), "p95": round(p95, 2), "p99": round(p99, 2)}


def copy_bandwidth(device: Any) -> float:
    """Bytes read and written a second by a copy within the device's memory."""
    source, target = device.allocate(COPY_BYTES), device.allocate(COPY_BYTES)
    try:
        times = [
            device.milliseconds(lambda: device.copy(target, source, COPY_BYTES)) for _ in range(20)
        ]
    finally:
        device.free(source)
        device.free(target)
    return 2 * COPY_BYTES / (float(np.median(times)) * 1e-3)


def bytes_moved(bundle: Bundle, loop: FrameLoop) -> Mapping[str, int]:
    """What each kernel reads and writes at least, once from memory."""
    features = sum(level.channels * level.size**2 for level in bundle.levels if level.residual)
    height, width = loop.shape[:2]
    square = SyntheticFace(bundle, height, width).square
    rows = SquareRows.of(square.to_crop(), height, width, bundle.input_size).rows
    pixels = int((rows[:, 1] - rows[:, 0]).sum())
    cells = (bundle.input_size + 2) ** 2
    maps = 6 * 2 * bundle.input_size**2
    return {
        "skip_sum": 2 * features * (1 + ACTIVE + loop.batch),
        "compose": pixels * 4 + loop.batch * (maps + 2 * CELL_BYTES * cells + 3 * pixels),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="edge")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=500)
    given = parser.parse_args(argv)
    bundle = load_bundle(given.bundle)
    try:
        gpus = cuda_devices()
        with TensorRtRuntime(bundle, given.device) as runtime:
            photo = np.random.default_rng(0).integers(
                0, 256, (given.height, given.width, 3), np.uint8
            )
            face: PreparedFace = SyntheticFace(bundle, given.height, given.width)
            loop = runtime.frame_loop(photo, [face], given.batch)
            report = {"gpus": gpus, "photo": [given.height, given.width], "batch": loop.batch}
            report |= measure(loop.device, loop, bundle, given.repeats)
            loop.close()
    except (RuntimeError, RuntimeUnavailableError) as error:
        print(json.dumps({"gpus": [], "reason": str(error)}))
        return 1
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
