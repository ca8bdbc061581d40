"""Where a frame's time goes on the GPU, stage by stage, beside what its memory can do.

    python -m benchmarks.gpu --height 1080 --width 1920

Times are taken with CUDA events, many runs of a stage between two of them and within one recorded
CUDA graph where it can be recorded, so that neither the host nor the events themselves count. Each
run has memory of its own, until more has been touched than the GPU's cache holds. The last line on
standard output is one JSON document; for each batch it has microseconds p50, p95 and p99 of every
stage, of the frame as one CUDA graph, of the frame with its way into pinned memory, and of one such
`alone`, with what starting it takes. Kernels stand beside the measured copy bandwidth, and beside a
copy that moves as many bytes: at batch 1 the whole of a frame moves less than starting a kernel
takes. Without a GPU the document holds the reason.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue import Animator, Portrait
from moue.actions import action_vector
from moue.bundle import Bundle, load_bundle
from moue.crop import Face, Square
from moue.errors import BundleError, RuntimeUnavailableError
from moue.kernels import cuda_devices
from moue.kernels import device as kernels
from moue.runtimes import device as devices
from moue.runtimes.base import Runtime
from moue.runtimes.frame_loop import FrameLoop
from moue.runtimes.on_cuda import CudaRuntime
from moue.runtimes.select import select_runtime

COPY_BYTES = 2**28
FACE = 0.6  # of the photo's shorter side
EXPRESSION = "happy"  # what the face shows, in full
AT_A_TIME = 20  # runs of a stage between two events
WARM = 0.3  # seconds of the same work before it is timed: clocks rise
SPILL = 2  # times what the second cache holds is touched before the same memory is again
MOST_LOOPS = 24
EXECUTORS = ("tensorrt", "onnxruntime", "pytorch")


def painted(height: int, width: int, face: float = FACE) -> tuple[NDArray[np.uint8], Face]:
    """A smooth picture and where its face would be: it moves as smoothly as a photo's."""
    y, x = np.mgrid[:height, :width] / (0.2 * min(height, width))
    waves = 60 * np.sin(np.stack([x, y + x / 2, x - y], -1)) + 30 * np.sin(
        3 * np.stack([y, x, y], -1)
    )
    square = Square(width / 2, height / 2, face * min(height, width), 0.05)
    return (127 + waves).astype(np.uint8), Face(square, np.zeros((478, 3), np.float32), 1.0)


def prepared(bundle: Bundle, height: int, width: int, face: float = FACE) -> Portrait:
    """The same, encoded on the CPU."""
    with Animator(bundle, "cpu") as animator:
        return animator.prepare(*painted(height, width, face))


def measure(
    device: Any, make: Callable[[], FrameLoop], bundle: Bundle, repeats: int
) -> dict[str, Any]:
    """Every stage `repeats` times, and the frame whole; `make` makes one more loop of the portrait."""
    loop = make()
    weights = action_vector(bundle.expressions[EXPRESSION], bundle.actions)
    actions = np.repeat(np.asarray(weights)[None], loop.batch, 0)
    active = int((actions[0] != 0).sum())
    moved = bytes_moved(bundle, loop, active)
    away = SPILL * device.cache_bytes / min(moved.values())
    loops = [loop, *(make() for _ in range(min(math.ceil(away), MOST_LOOPS) - 1))]
    for each in loops:  # settles the engine's shapes, then records the graph
        for _ in each.frames([actions] * 3):
            pass
    before = copied(device, COPY_BYTES, 1, repeats=20)
    found: dict[str, Any] = {
        "batch": loop.batch,
        "recorded": loop._replay is not None,
        "actions": active,
    }
    stages, rates = [each.stages() for each in loops], {}
    for name in stages[0]:
        works = [each[name] for each in stages]
        found[name] = percentiles(device, works, repeats, name != "decoder" or loop.recordable)
        if name in moved:
            found[name]["bytes"] = moved[name]
            same = copied(device, moved[name], len(loops), repeats)
            rates[name] = moved[name] / (found[name]["p50"] * 1e-6)
            found[name]["of_a_copy_of_as_many_bytes"] = round(rates[name] / same, 3)
    bandwidth = max(before, copied(device, COPY_BYTES, 1, repeats=20))
    found["copy_gb_s"] = round(bandwidth / 1e9, 1)
    for name, rate in rates.items():
        found[name]["of_copy_bandwidth"] = round(rate / bandwidth, 3)
    found["frame"] = percentiles(device, [loop.run], repeats, record=False)
    there = to_host(device, loop, actions)
    found["frame_to_host"] = percentiles(device, [there], repeats, record=False)
    found["alone"] = percentiles(device, [there], repeats, record=False, at_a_time=1)
    whole = found["frame"]["p50"]
    engine = found["decoder"]["p50"] / found["frame_to_host"]["p50"]
    found["around_the_engine"] = round(max(0.0, 1 - engine), 3)  # the copies too
    found["ms_a_frame"] = round(whole / 1e3 / loop.batch, 4)
    found["fps"] = round(loop.batch * 1e6 / whole, 1)
    for each in loops:
        each.close()
    return found


def percentiles(
    device: Any,
    works: Sequence[Callable[[], None]],
    repeats: int,
    record: bool = True,
    at_a_time: int | None = None,
) -> dict[str, float]:
    """Microseconds on the device of one of `works`, p50, p95 and p99, taken in turn.

    So many at a time between two events, of one recording if it can be, that what the host and the
    events take hardly counts.
    """
    times = math.ceil((at_a_time or AT_A_TIME) / len(works)) * len(works)
    for work in works:
        work()
    device.synchronize()

    def many() -> None:
        for k in range(times):
            works[k % len(works)]()

    run = device.record(many) if record else many
    until = time.monotonic() + WARM
    run()
    while time.monotonic() < until:
        device.milliseconds(run)
    taken = [1000 * device.milliseconds(run) / times for _ in range(repeats)]
    p50, p95, p99 = np.percentile(taken, [50, 95, 99])
    return {"p50": round(p50, 2), "p95": round(p95, 2), "p99": round(p99, 2)}


def to_host(device: Any, loop: FrameLoop, actions: Any) -> Callable[[], None]:
    """A batch with actions up and frames down, all on one stream."""
    staging, frames = loop._staging.take(), loop._pinned.take()
    devices.as_numpy(staging.address, actions.shape, "<f4", staging)[...] = actions

    def whole() -> None:
        device.copy(loop._actions, staging.address, actions.nbytes)
        loop.run()
        device.copy(frames.address, loop._canvases[-1], loop.batch * loop._frame_bytes)

    return whole


def copied(device: Any, moved: int, places: int, repeats: int) -> float:
    """Bytes read and written a second by copies that move so many each, between places in turn."""
    size = max(moved // 2, 1)
    pairs = [(device.allocate(size), device.allocate(size)) for _ in range(places)]
    works = [partial(device.copy, target, source, size) for source, target in pairs]
    try:
        took = percentiles(device, works, repeats)
    finally:
        device.synchronize()
        for address in chain.from_iterable(pairs):
            device.free(address)
    return moved / (max(took["p50"], 0.01) * 1e-6)


def bytes_moved(bundle: Bundle, loop: FrameLoop, active: int) -> Mapping[str, int]:
    """What each kernel reads and writes at least, once from memory, where so many actions are not 0."""
    face, size = loop._faces[0], bundle.input_size
    rows, mouth = face._square.rows, face._square.mouth
    pixels = int((rows[:, 1] - rows[:, 0]).sum())
    cells = (size + 2) ** 2
    maps = 2 * (6 * size**2 + 2 * math.prod(mouth.nodes(size)))
    images = 4 * (pixels + math.prod(mouth.picture.shape[:2]))
    return {
        "skip_sum": 2 * sum(face._sizes) * (1 + active + loop.batch),
        "compose": images + loop.batch * (maps + 2 * kernels.CELL_BYTES * cells + 3 * pixels),
    }


def cropping(device: Any, photo: Any, square: Square, size: int, repeats: int) -> Any:
    """`preprocess`, as a live source pays it for every picture."""
    height, width = photo.shape[:2]
    source, out = device.allocate(photo.nbytes), device.allocate(6 * size**2)
    device.upload(source, photo)
    work = partial(
        kernels.preprocess,
        photo=source,
        height=height,
        width=width,
        pixel=3,
        to_photo=square.to_photo(),
        size=size,
        out=out,
        stream=device.stream,
    )
    try:
        took = percentiles(device, [work], repeats)
        return took | {"bytes": int(3 * square.side**2 + 6 * size**2)}
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
    try:
        gpus = cuda_devices()
        runtime = opened(bundle, given.executor, given.device)
    except (RuntimeError, RuntimeUnavailableError) as error:
        print(json.dumps({"gpus": [], "reason": str(error)}))
        return 1
    portrait = prepared(bundle, *size, given.face)
    with runtime:
        assert isinstance(runtime, CudaRuntime)
        device = runtime._device
        report: dict[str, Any] = {"gpus": gpus, "executor": runtime.name, "photo": size}
        report |= {"face": given.face, "expression": EXPRESSION, "batches": []}
        with device.held():
            for batch in given.batch:
                make = partial(runtime.frame_loop, portrait.photo, portrait.faces, batch)
                found = measure(device, make, bundle, given.repeats)
                report["batches"].append(found)
                print(f"batch {batch}: {found['ms_a_frame']} ms a frame", file=sys.stderr)
            square = portrait.faces[0].square
            report["preprocess"] = cropping(
                device, portrait.photo, square, bundle.input_size, given.repeats
            )
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
