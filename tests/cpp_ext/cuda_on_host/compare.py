"""Run by test_cuda_on_host.py: the .cu files' kernels against the same arithmetic in plain loops, and
against the NumPy references.

    python -m tests.cpp_ext.cuda_on_host.compare CORE.so

A stream that is not None leads into the .cu files, which CORE.so has as `cuda_runtime.h` makes them.
"""

from __future__ import annotations

import sys

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.cpp_ext.extension import stand_in

stand_in(sys.argv[1])

from moue import kernels  # noqa: E402 - with the module above
from moue.kernels import arguments, device  # noqa: E402
from tests.kernels.test_device import ROUNDED, assert_sums, at, with_pixel  # noqa: E402
from tests.kernels.test_kernels import maps_of, matrices  # noqa: E402

drawn = settings(max_examples=12, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
lengths = st.integers(1, 70)
UNTOUCHED = 113


def both(kernel, out, **arguments):
    """The kernel's results, which must be the same bit for bit."""
    results = []
    for stream in (None, 1):
        results.append(np.full_like(out, UNTOUCHED))
        kernel(**arguments, out=at(results[-1]), stream=stream)
    np.testing.assert_array_equal(*results)
    return results[0]


@drawn
@given(
    seeds,
    st.lists(st.sampled_from([8, 56, 264, 128, 384, 512]), min_size=1, max_size=4),
    st.sampled_from([1, 31, 51, 70, 512]),
    st.integers(1, 6),
    st.sampled_from([0, 0.1, 0.5, 1]),
)
@example(np.random.default_rng(0), [128, 384, 512], 51, 1, 0.3)
@example(np.random.default_rng(0), [128, 384, 512], 51, 6, 0.3)
@example(np.random.default_rng(0), [56, 264, 8], 70, 3, 0.5)
@example(np.random.default_rng(0), [2048], 512, 1, 0.1)
@example(np.random.default_rng(0), [16, 8], 33, 2, 0)
def skip_sums(rng, sizes, n, frames, share) -> None:
    total = sum(sizes)
    base = rng.normal(size=total).astype(np.float16)
    residual = rng.normal(size=(n, total)).astype(np.float16)
    actions = rng.random((frames, n)) * (rng.random((frames, n)) < share)
    actions = actions.astype(np.float32)
    residual[~actions.any(0)] = np.nan  # would show in the sum, were it read
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
    assert_sums(out, base, residual, actions, sizes)


def square(draw, height, width):
    """(to_photo, to_crop) of a square in, over the edge of, or beside the photo."""
    reach = st.floats(-0.4, 1.4)
    cx, cy, side = draw(reach) * width, draw(reach) * height, draw(st.floats(2, 90))
    angle = draw(st.floats(-3.2, 3.2))
    return matrices(cx, cy, side, angle)


@drawn
@given(seeds, lengths, lengths, st.integers(1, 40), st.sampled_from([3, 4]), st.data())
def crops(rng, height, width, size, pixel, data) -> None:
    photo = rng.integers(0, 256, (height, width, pixel), np.uint8)
    to_photo = square(data.draw, height, width)[0]
    out = both(
        device.preprocess,
        np.empty((3, size, size), np.float16),
        photo=at(photo),
        height=height,
        width=width,
        pixel=pixel,
        to_photo=to_photo,
        size=size,
    )
    expected = np.empty((3, size, size), np.float32)
    taps = arguments.taps(to_photo, size)
    kernels.preprocess_reference(photo[..., :3].copy(), to_photo, taps, expected)
    np.testing.assert_allclose(out, expected, **ROUNDED)


@drawn
@given(
    seeds, lengths, lengths, st.integers(4, 40), st.sampled_from([3, 4]), st.booleans(), st.data()
)
def frames(rng, height, width, size, pixel, shifted, data) -> None:
    shift = int(shifted)  # words, or bytes where words would not be aligned
    count = data.draw(st.integers(1, 2))
    source = rng.integers(0, 256, (height, width, pixel), np.uint8)
    mouth = maps_of(rng, size)[-1]
    picture = with_pixel(mouth.picture, 4)
    shapes = [(count, k, size, size) for k in (2, 1, 3)] + [(2, size, size), (size, size)]
    flow, mask, light, rest_flow, rest_mask, place = (
        rng.normal(0.1, 0.3, shape).astype(np.float16)
        for shape in (*shapes, (count, 2, *mouth.nodes(size)))
    )
    actions = np.zeros((count, 200), np.float32)
    actions[0, 190] = 1  # far along: every thread must look; the second frame has none
    cells = np.empty((count, size + 2, size + 2, device.CELL_BYTES), np.uint8)
    to_crop = square(data.draw, height, width)[1]
    where = device.SquareRows.of(to_crop, height, width, size, mouth)
    colour = data.draw(st.sampled_from([0, 0.3, 1]))
    room = np.empty(count * height * width * 3 + 1, np.uint8)
    out = both(
        lambda out, **arguments: device.compose(where, out=out + shift, **arguments),
        room,
        flow=at(flow),
        mask=at(mask),
        light=at(light),
        place=at(place),
        rest_flow=at(rest_flow),
        rest_mask=at(rest_mask),
        picture=at(picture),
        actions=at(actions),
        cells=at(cells),
        source=at(source),
        source_stride=0,
        pixel=pixel,
        rows=at(where.rows),
        frames=count,
        n=200,
        colour=colour,
    )
    inside = np.zeros((height, width), bool)
    for row, (begin, end) in zip(inside, where.rows[:, :2], strict=True):
        row[begin:end] = True
    out = out[shift:][: len(room) - 1].reshape(count, height, width, 3)
    expected = np.full((height, width, 3), UNTOUCHED, np.uint8)
    singles = [part.astype(np.float32) for part in (flow[0], mask[0, 0], light[0], place[0])]
    at_rest = rest_flow.astype(np.float32), rest_mask.astype(np.float32)
    singles[:2] = kernels.since_rest(singles[0], singles[1], *at_rest)
    singles += [mouth.picture, np.array(mouth.window), colour]
    kernels.compose_reference(source[..., :3].copy(), to_crop, *singles, expected)
    assert np.abs(out[0].astype(int) - expected).max() <= 1
    assert (out[:, ~inside] == UNTOUCHED).all()
    np.testing.assert_array_equal(out[1:, inside], source[None, inside, :3][: count - 1])


skip_sums()
crops()
frames()
