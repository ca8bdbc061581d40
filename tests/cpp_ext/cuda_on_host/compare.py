"""Run by test_cuda_on_host.py: the .cu files' kernels against the same arithmetic in plain loops.

    python compare.py CORE.so

A stream that is not None leads into the .cu files, which CORE.so has as `cuda_runtime.h` makes them.
"""

from __future__ import annotations

import importlib.util
import sys

import numpy as np

spec = importlib.util.spec_from_file_location("moue._core", sys.argv[1])
assert spec
assert spec.loader
sys.modules["moue._core"] = core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(core)

from moue.kernels import device  # noqa: E402 - with the module above

rng = np.random.default_rng(0)


def at(array: np.ndarray) -> int:
    return array.ctypes.data


def both(kernel, out, **arguments):
    """The kernel's results, which must be the same; no part of them may be left as it was."""
    results = []
    for stream in (None, 1):
        results.append(np.full_like(out, 113))
        kernel(**arguments, out=at(results[-1]), stream=stream)
    np.testing.assert_array_equal(*results)
    return results[0]


def skip_sums() -> None:
    for sizes, n, frames, share in (
        ([128, 384, 512], 51, 2, 0.3),  # eight at a time
        ([7, 33, 1], 70, 3, 0.5),  # one at a time
        ([2048], 512, 1, 0.1),
        ([16, 8], 33, 2, 0),
    ):
        total = sum(sizes)
        base = rng.normal(size=total).astype(np.float16)
        residual = rng.normal(size=(n, total)).astype(np.float16)
        actions = rng.random((frames, n)) * (rng.random((frames, n)) < share)
        actions = actions.astype(np.float32)
        out = both(
            device.skip_sum,
            np.empty(frames * total, np.float16),
            base=at(base),
            residual=at(residual),
            actions=at(actions),
            frames=frames,
            n=n,
            sizes=sizes,
        )
        assert not (out == 113).any()


def crops() -> None:
    photo = rng.integers(0, 256, (33, 64, 3), np.uint8)
    for size, half in ((17, False), (40, True)):
        out = both(
            device.preprocess,
            np.empty((3, size, size), np.float16 if half else np.float32),
            photo=at(photo),
            height=33,
            width=64,
            pixel=3,
            to_photo=[[30, 9, 10], [-9, 30, 12]],
            size=size,
            half=half,
        )
        assert not (out == 113).any()


def frames() -> None:
    for height, width, size, count, pixel in ((40, 30, 17, 2, 3), (64, 67, 33, 1, 4)):
        source = rng.integers(0, 256, (height, width, pixel), np.uint8)
        flow, mask, colour, rest_flow, rest_mask = (
            rng.normal(0.1, 0.2, shape).astype(np.float16)
            for shape in (
                (count, 2, size, size),
                (count, 1, size, size),
                (count, 3, size, size),
                (2, size, size),
                (size, size),
            )
        )
        actions = np.zeros((count, 200), np.float32)
        actions[0, 190] = 1  # far along: every thread must look; the second frame has none
        cells = np.empty((count, size + 2, size + 2, device.CELL_BYTES), np.uint8)
        to_crop = [[0.03, 0.01, -0.2], [-0.01, 0.03, 0.1]]
        square = device.SquareRows.of(to_crop, height, width, size)
        out = both(
            lambda square=square, **arguments: device.compose(square, **arguments),
            np.empty((count, height, width, 3), np.uint8),
            flow=at(flow),
            mask=at(mask),
            colour=at(colour),
            rest_flow=at(rest_flow),
            rest_mask=at(rest_mask),
            actions=at(actions),
            cells=at(cells),
            source=at(source),
            source_stride=0,
            pixel=pixel,
            rows=at(square.rows),
            frames=count,
            n=200,
        )
        inside = np.zeros((height, width), bool)
        for row, (begin, end) in zip(inside, square.rows[:, :2], strict=True):
            row[begin:end] = True
        assert inside.any()
        assert (out[:, ~inside] == 113).all()
        np.testing.assert_array_equal(out[1:, inside], source[None, inside, :3][: count - 1])


skip_sums()
crops()
frames()
