"""Where a frame's time goes on the GPU, stage by stage, beside what its memory can do.

    python -m benchmarks.gpu --height 1080 --width 1920

Times are taken with CUDA events. A stage runs many times within one recorded CUDA graph where it
can be recorded, so that neither the host nor the events themselves count. The last line on standard
output is one JSON document; for each batch it has microseconds p50, p95 and p99 of every stage, of
the frame as one CUDA graph and of the frame with its way into pinned memory. Kernels stand beside
the measured copy bandwidth, and beside a copy that moves as many bytes: at batch 1 the whole of a
frame moves less than starting a kernel takes. Without a GPU the document holds the reason.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from moue.bundle import Bundle, load_bundle
from moue.crop import Square
from moue.errors import BundleError, RuntimeUnavailableError
from moue.features import Features
from moue.kernels import cuda_devices
from moue.kernels import device as kernels
from moue.runtimes import device as devices
from moue.runtimes.base import Runtime
from moue.runtimes.frame_loop import FrameLoop, PreparedFace
from moue.runtimes.on_cuda import CudaRuntime
from moue.runtimes.select import select_runtime

COPY_BYTES = 2**28
FACE = 0.6  # of the photo's shorter side
ACTIVE = 9  # actions that are not zero, as in an expression
AT_A_TIME = 20  # runs of a stage in one recording
EXECUTORS = ("tensorrt", "onnxruntime", "pytorch")


class SyntheticFace:
    """Features of no one: their values do not matter for how long a frame takes."""

    def __init__(self, bundle: Bundle, height: int, width: int, face: float = FACE) -> None:
        rng, count, size = np.random.default_rng(0), len(bundle.actions), bundle.input_size
        self.square = Square(width / 2, height / 2, face * min(height, width), 0.05)
        encoded = {}
        for level in bundle.levels:
            shape = (level.channels, level.size, level.size)
            encoded[f"base_{level.size}"] = rng.normal(size=(1, *shape)).astype(np.float32)
            if level.residual:
                terms = rng.normal(size=(count, *shape)).astype(np.float16)
                encoded[f"residual_{level.size}"] = terms
        self.features = Features.of(encoded, bundle.levels)
        self.rest_flow = np.zeros((2, size, size), np.float32)
        self.rest_mask = np.zeros((size, size), np.float32)
        self.mouth = bundle.mouth.for_side(self.square.side)
        self.colour = 1.0


def measure(
    device: Any, loop: FrameLoop, bundle: Bundle, face: PreparedFace, repeats: int
) -> dict[str, Any]:
    """Every stage `repeats` times, and the frame whole."""
    actions = np.zeros((loop.batch, len(bundle.actions)), np.float32)
    actions[:, :ACTIVE] = 0.5
    for _ in loop.frames([actions] * 3):  # settles the engine's shapes, then records the graph
        pass
    bandwidth = copied(device, COPY_BYTES, repeats=20)
    found: dict[str, Any] = {
        "batch": loop.batch,
        "recorded": loop._replay is not None,
        "copy_gb_s": round(bandwidth / 1e9, 1),
    }
    moved = bytes_moved(bundle, loop, face)
    for name, work in loop.stages().items():
        recordable = name != "decoder" or loop.recordable
        found[name] = percentiles(device, work, repeats, AT_A_TIME if recordable else 1)
        if name in moved:
            rate = moved[name] / (found[name]["p50"] * 1e-6)
            same = copied(device, moved[name], repeats, AT_A_TIME)
            found[name] |= {
                "bytes": moved[name],
                "of_copy_bandwidth": round(rate / bandwidth, 3),
                "of_a_copy_of_as_many_bytes": round(rate / same, 3),
            }
    found["frame"] = percentiles(device, loop.run, repeats)
    found["frame_to_host"] = to_host(device, loop, actions, repeats)
    whole = found["frame"]["p50"]
    engine = found["decoder"]["p50"] / found["frame_to_host"]["p50"]
    found["around_the_engine"] = round(max(0.0, 1 - engine), 3)  # the copies too
    found["ms_a_frame"] = round(whole / 1e3 / loop.batch, 4)
    found["fps"] = round(loop.batch * 1e6 / whole, 1)
    return found


def percentiles(
    device: Any, work: Callable[[], None], repeats: int, at_a_time: int = 1
) -> dict[str, float]:
    """Microseconds on the device of one `work`, p50, p95 and p99; recorded `at_a_time` if many."""
    once = work
    work()
    device.synchronize()
    if at_a_time > 1:

        def many() -> None:
            for _ in range(at_a_time):
                once()

        work = device.record(many)
    for _ in range(3):
        work()
    times = [1000 * device.milliseconds(work) / at_a_time for _ in range(repeats)]
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return {"p50": round(p50, 2), "p95": round(p95, 2), "p99": round(p99, 2)}


def to_host(device: Any, loop: FrameLoop, actions: Any, repeats: int) -> dict[str, float]:
    """Microseconds a batch with actions up and frames down, all on one stream."""
    staging, size = loop._pinned.take(), loop.batch * int(np.prod(loop.shape))
    devices.as_numpy(staging.address, actions.shape, "<f4", staging)[...] = actions

    def whole() -> None:
        device.copy(loop._actions, staging.address, actions.nbytes)
        loop.run()
        device.copy(staging.address + actions.nbytes, loop._canvases[-1], size)

    return percentiles(device, whole, repeats)


def copied(device: Any, moved: int, repeats: int, at_a_time: int = 1) -> float:
    """Bytes read and written a second by copies within the device's memory that move so many."""
    size = max(moved // 2, 1)
    source, target = device.allocate(size), device.allocate(size)
    try:
        took = percentiles(device, lambda: device.copy(target, source, size), repeats, at_a_time)
    finally:
        device.synchronize()
        device.free(source)
        device.free(target)
    return moved / (max(took["p50"], 0.01) * 1e-6)


def bytes_moved(bundle: Bundle, loop: FrameLoop, face: PreparedFace) -> Mapping[str, int]:
    """What each kernel reads and writes at least, once from memory."""
    size, (height, width) = bundle.input_size, loop.shape[:2]
    rows = kernels.SquareRows.of(face.square.to_crop(), height, width, size, face.mouth).rows
    pixels = int((rows[:, 1] - rows[:, 0]).sum())
    cells = (size + 2) ** 2
    maps = 2 * (6 * size**2 + 2 * math.prod(face.mouth.nodes(size)))
    images = 4 * (pixels + math.prod(face.mouth.picture.shape[:2]))
    return {
        "skip_sum": 2 * face.features.base.size * (1 + ACTIVE + loop.batch),
        "compose": images + loop.batch * (maps + 2 * kernels.CELL_BYTES * cells + 3 * pixels),
    }


def cropping(device: Any, photo: Any, face: PreparedFace, size: int, repeats: int) -> Any:
    """`preprocess`, as a live source pays it for every picture."""
    height, width = photo.shape[:2]
    source, out = device.allocate(photo.nbytes), device.allocate(6 * size**2)
    device.upload(source, photo)
    side = face.square.side
    try:
        return percentiles(
            device,
            lambda: kernels.preprocess(
                photo=source,
                height=height,
                width=width,
                pixel=3,
                to_photo=face.square.to_photo(),
                size=size,
                out=out,
                half=True,
                stream=device.stream,
            ),
            repeats,
            AT_A_TIME,
        ) | {"bytes": int(3 * side**2 + 6 * size**2)}
    finally:
        device.synchronize()
        device.free(source)
        device.free(out)


def opened(bundle: Bundle, executor: str, device: str) -> Runtime:
    """What executes the graphs: the first that works where `executor` is auto."""
    reasons = []
    for name in EXECUTORS if executor == "auto" else (executor,):
        try:
            if name != "pytorch":
                return select_runtime(bundle, device, name)
            from benchmarks.torch_cuda import TorchRuntime

            return TorchRuntime(bundle, devices.CudaDevice(devices.cuda_index(device)))
        except (RuntimeUnavailableError, BundleError, ImportError) as error:
            reasons.append(f"{name}: {error}")
    raise RuntimeUnavailableError("; ".join(reasons))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="edge")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--executor", default="auto", choices=("auto", *EXECUTORS))
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--face", type=float, default=FACE, help="of the shorter side")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=300)
    given = parser.parse_args(argv)
    bundle = load_bundle(given.bundle)
    size = given.height, given.width
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    face: PreparedFace = SyntheticFace(bundle, *size, given.face)
    try:
        gpus = cuda_devices()
        with opened(bundle, given.executor, given.device) as runtime:
            assert isinstance(runtime, CudaRuntime)
            report: dict[str, Any] = {"gpus": gpus, "executor": runtime.name, "photo": size}
            report |= {"face": given.face, "actions": ACTIVE, "batches": []}
            for batch in given.batch:
                loop = runtime.frame_loop(photo, [face], batch)
                with loop.device.held():
                    found = measure(loop.device, loop, bundle, face, given.repeats)
                    if batch == given.batch[-1]:
                        report["preprocess"] = cropping(
                            loop.device, photo, face, bundle.input_size, given.repeats
                        )
                report["batches"].append(found)
                print(f"batch {batch}: {found['ms_a_frame']} ms a frame", file=sys.stderr)
                loop.close()
    except (RuntimeError, RuntimeUnavailableError) as error:
        print(json.dumps({"gpus": [], "reason": str(error)}))
        return 1
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
