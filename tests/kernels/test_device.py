"""The device's kernels, run on the host, give the numbers of the NumPy references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moue import kernels

if kernels.BACKEND != "core":
    pytest.skip("the device's kernels are part of moue._core", allow_module_level=True)

from moue.kernels import arguments, device
from moue.mouth import Mouth
from tests.kernels.test_kernels import maps_of, photo_of, squares

fuzzed = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
lengths = st.integers(1, 40)
ROUNDED = {"rtol": 2**-11, "atol": 1e-5}  # how far a half is from a float32 that is right to 1e-5


def at(array: np.ndarray) -> int:
    assert array.flags.c_contiguous
    return array.ctypes.data


def with_pixel(photo: np.ndarray, pixel: int) -> np.ndarray:
    filler = np.full((*photo.shape[:2], pixel - 3), 77, np.uint8)
    return np.ascontiguousarray(np.concatenate([photo, filler], axis=2))


def assert_sums(out, base, residual, actions, sizes):
    """What the device made of all levels is what the reference makes of them."""
    expected = np.empty(len(actions) * sum(sizes), np.float32)
    kernels.skip_sum_reference(base.astype(np.float32), residual, actions, sizes, expected)
    np.testing.assert_array_equal(out.ravel(), expected.astype(np.float16))


@fuzzed
@given(seeds, st.integers(1, 4), st.integers(1, 40), st.data())
def test_skip_sum_of_all_levels_is_the_reference_of_each(rng, frames, n, data):
    size = st.integers(1, 32).map(lambda k: 8 * k)
    sizes = data.draw(st.lists(size, min_size=1, max_size=5))
    total, share = sum(sizes), data.draw(st.sampled_from([0, 0.2, 1]))
    base = rng.normal(size=total).astype(np.float16)
    residual = rng.normal(size=(n, total)).astype(np.float16)
    actions = (rng.random((frames, n)) * (rng.random((frames, n)) < share)).astype(np.float32)
    residual[~actions.any(0)] = np.nan  # would show in the sum, were it read
    out = np.full(frames * total, np.nan, np.float16)
    device.skip_sum(
        base=at(base),
        residual=at(residual),
        actions=at(actions),
        out=at(out),
        frames=frames,
        n=n,
        sizes=sizes,
        stream=None,
    )
    assert_sums(out, base, residual, actions, sizes)


@pytest.mark.parametrize("bits", [np.arange(2**16, dtype=np.uint32) << 16, None])
def test_every_sum_is_rounded_as_numpy_rounds(bits):
    """Halves and all that lies around and between them, as the result of a sum."""
    if bits is None:
        rng = np.random.default_rng(0)
        halves = np.arange(0x7BFF, dtype=np.uint16).view(np.float16).astype(np.float32)
        middles = (halves[:-1] + halves[1:]) / 2
        near = [np.nextafter(middles, np.float32(way)) for way in (0, np.inf)]
        values = np.concatenate([halves, middles, *near, [65519, 65520, 1e-8, 3e-8]])
        values = (values * rng.choice([-1, 1], values.shape)).astype(np.float32)
    else:
        values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    base, one = np.zeros(8, np.float16), np.ones((1, 8), np.float16)
    out = np.empty(8, np.float16)
    for value in values[:: max(1, len(values) // 3000)]:
        weight = np.array([[value]], np.float32)
        device.skip_sum(
            base=at(base),
            residual=at(one),
            actions=at(weight),
            out=at(out),
            frames=1,
            n=1,
            sizes=[8],
            stream=None,
        )
        with np.errstate(over="ignore"):
            assert (out == weight[0, 0].astype(np.float16)).all()


@fuzzed
@given(seeds, lengths, lengths, st.integers(1, 17), st.sampled_from([3, 4]), st.data())
def test_preprocess_is_the_reference(rng, height, width, size, pixel, data):
    photo = photo_of(rng, height, width)
    to_photo, _ = data.draw(squares(height, width))
    expected = np.empty((3, size, size), np.float32)
    kernels.preprocess_reference(photo, to_photo, arguments.taps(to_photo, size), expected)
    source = with_pixel(photo, pixel)
    crop = np.full_like(expected, np.nan, np.float16)
    device.preprocess(
        photo=at(source),
        height=height,
        width=width,
        pixel=pixel,
        to_photo=to_photo,
        size=size,
        out=at(crop),
        stream=None,
    )
    np.testing.assert_allclose(crop, expected, **ROUNDED)


def frames_of(rng, size, frames, motion=0.2):
    """Flow, mask, light and place of several frames, and the mouth they are for."""
    *maps, mouth = maps_of(rng, size, motion)
    noise = [rng.normal(0, 0.1, (frames, *part.shape)).astype(np.float32) for part in maps]
    return [part + more for part, more in zip(maps, noise, strict=True)], mouth


def composed(photo, canvas, to_crop, maps, mouth, rest, actions, pixel=3, colour=1.0):
    """The device's frames [T, H, W, 3], on canvases of their own."""
    with np.errstate(over="ignore"):
        halves = [np.ascontiguousarray(array, np.float16) for array in (*maps, *rest)]
    flow, mask, light, place, rest_flow, rest_mask = halves
    frames, size = len(flow), flow.shape[-1]
    height, width = photo.shape[:2]
    source, picture = with_pixel(photo, pixel), with_pixel(mouth.picture, 4)
    out = np.repeat(canvas[None], frames, axis=0)
    cells = np.empty((frames, size + 2, size + 2, device.CELL_BYTES), np.uint8)
    square = device.SquareRows.of(to_crop, height, width, size, mouth)
    device.compose(
        square,
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
        rows=at(square.rows),
        out=at(out),
        frames=frames,
        n=actions.shape[1],
        colour=colour,
        stream=None,
    )
    return out


@fuzzed
@given(seeds, lengths, lengths, st.integers(4, 20), st.sampled_from([3, 4]), st.data())
def test_compose_is_the_reference(rng, height, width, size, pixel, data):
    photo, canvas = photo_of(rng, height, width), photo_of(rng, height, width)
    _, to_crop = data.draw(squares(height, width))
    frames = data.draw(st.integers(1, 3))
    maps, mouth = frames_of(rng, size, frames, motion=0.05)
    maps = [part.astype(np.float16) for part in maps]
    rest = [part.astype(np.float16) for part in maps_of(rng, size, motion=0.05)[:2]]
    actions = np.ones((frames, 2), np.float32)
    colour = data.draw(st.sampled_from([0, 0.3, 1]))
    found = composed(photo, canvas, to_crop, maps, mouth, rest, actions, pixel, colour)
    for frame in range(frames):
        flow, mask, light, place = (part[frame].astype(np.float32) for part in maps)
        expected = canvas.copy()
        kernels.compose_reference(
            photo,
            to_crop,
            *kernels.since_rest(flow, mask, *(part.astype(np.float32) for part in rest)),
            light,
            place,
            mouth.picture,
            np.array(mouth.window),
            colour,
            expected,
        )
        assert np.abs(found[frame].astype(int) - expected).max() <= 1


@fuzzed
@given(seeds, lengths, lengths, st.integers(4, 20), st.data())
def test_a_frame_without_actions_is_the_photo(rng, height, width, size, data):
    photo = photo_of(rng, height, width)
    _, to_crop = data.draw(squares(height, width))
    maps, mouth = frames_of(rng, size, 1)
    rest = maps_of(rng, size)[:2]
    found = composed(photo, photo, to_crop, maps, mouth, rest, np.zeros((1, 40), np.float32), 4)
    np.testing.assert_array_equal(found[0], photo)


@fuzzed
@given(seeds, lengths, lengths, st.integers(4, 20), st.data())
def test_the_rows_pixels_in_the_window_are_those_whose_centres_are(rng, height, width, size, data):
    _, to_crop = data.draw(squares(height, width))
    mouth = maps_of(rng, size)[-1]
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    ux, uy = (row[0] * x + row[1] * y + row[2] for row in to_crop)
    rows = device.SquareRows.of(to_crop, height, width, size, mouth).rows
    for window, begin in (((0, 0, 1, 1), 0), (mouth.window, 4)):
        inside = (ux >= window[0]) & (ux <= window[2]) & (uy >= window[1]) & (uy <= window[3])
        found = (np.arange(width) >= rows[:, [begin]]) & (np.arange(width) < rows[:, [begin + 1]])
        np.testing.assert_array_equal(found, inside)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
@pytest.mark.parametrize("which", range(4), ids=["flow", "mask", "light", "place"])
def test_compose_survives_numbers_that_are_none(which, value):
    rng = np.random.default_rng(0)
    photo, size = photo_of(rng, 40, 30), 8
    maps, mouth = frames_of(rng, size, 1)
    maps[which][...] = value
    to_crop = np.array([[1 / 20, 0, -0.2], [0, 1 / 20, -0.4]])
    rest = np.zeros((2, size, size), np.float32), np.zeros((size, size), np.float32)
    found = composed(photo, photo, to_crop, maps, mouth, rest, np.ones((1, 1), np.float32))
    np.testing.assert_array_equal(found[0, :8], photo[:8])


@pytest.mark.parametrize("scale", [1e-150, 1e-12, 1e-6, 1e6, 1e12, 1e150])
@pytest.mark.parametrize("turn", [0, 0.3])
def test_matrices_of_absurd_scale_stay_within_the_photo(scale, turn):
    rng = np.random.default_rng(0)
    photo = photo_of(rng, 33, 21)
    c, s = math.cos(turn) * scale, math.sin(turn) * scale
    to_crop = np.array([[c, -s, 0.5 - (c - s) * 10.5], [s, c, 0.5 - (s + c) * 10.5]])
    maps, mouth = frames_of(rng, 16, 1)
    rest = maps_of(rng, 16)[:2]
    found = composed(photo, photo, to_crop, maps, mouth, rest, np.ones((1, 1), "f4"))
    assert found.shape == (1, *photo.shape)


SKIP = {"base": 16, "residual": 16, "actions": 4, "out": 16, "frames": 1, "n": 1, "sizes": [8]}
CROP = {
    "photo": 1,
    "out": 2,
    "height": 1,
    "width": 1,
    "pixel": 3,
    "size": 1,
    "to_photo": np.eye(2, 3),
}
FRAME = dict.fromkeys(["flow", "mask", "light", "place", "rest_flow", "rest_mask"], 2)
FRAME |= {"actions": 4, "cells": 16, "source": 1, "rows": 4, "out": 1, "frames": 1, "n": 1}
FRAME |= {"picture": 4, "source_stride": 0, "pixel": 3, "colour": 1.0}
MOUTH = Mouth(np.zeros((3, 5, 3), np.uint8), (0.25, 0.5, 0.75, 1.0))


def compose(mouth=MOUTH, **arguments):
    device.compose(device.SquareRows.of(np.eye(2, 3), 4, 4, 8, mouth), **arguments)


@pytest.mark.parametrize(
    ("kernel", "arguments", "change", "complaint"),
    [
        (device.skip_sum, SKIP, {"base": 0}, "base must be an address, but got 0"),
        (device.skip_sum, SKIP, {"out": 0}, "out must be an address"),
        (device.skip_sum, SKIP, {"frames": 0}, r"frames must be in 1 \.\.\. 65535, but got 0"),
        (device.skip_sum, SKIP, {"n": 513}, "n must be in 1 ... 512, but got 513"),
        (device.skip_sum, SKIP, {"sizes": []}, r"len\(sizes\) must be"),
        (device.skip_sum, SKIP, {"sizes": [0]}, "sizes must be"),
        (device.skip_sum, SKIP, {"sizes": [8, 7]}, "sizes must be multiples of 8, but got 7"),
        (device.skip_sum, SKIP, {"base": 24}, "base must be at a multiple of 16, but got 24"),
        (device.skip_sum, SKIP, {"residual": 8}, "residual must be at a multiple of 16"),
        (device.skip_sum, SKIP, {"out": 17}, "out must be at a multiple of 16"),
        (device.skip_sum, SKIP, {"actions": 6}, "actions must be at a multiple of 4"),
        (compose, FRAME, {"cells": 8}, "cells must be at a multiple of 16"),
        (compose, FRAME, {"place": 0}, "place must be an address"),
        (compose, FRAME, {"picture": 6}, "picture must be at a multiple of 4, but got 6"),
        (compose, FRAME, {"mouth": MOUTH._replace(window=(0, 0, 1, 0))}, "place_height must be in"),
        (
            compose,
            FRAME,
            {"mouth": MOUTH._replace(picture=np.zeros((0, 5, 3), np.uint8))},
            r"picture_height must be in 1 \.\.\. 1048576, but got 0",
        ),
        (compose, FRAME, {"mouth": MOUTH._replace(window=(0, 1))}, r"window must be \[4\]"),
        (device.preprocess, CROP, {"photo": 0}, "photo must be an address"),
        (device.preprocess, CROP, {"pixel": 4}, "photo must be at a multiple of 4, but got 1"),
        (
            device.preprocess,
            CROP,
            {"height": 2**17, "width": 2**14},
            r"photo must hold less than 2\^32 bytes, but got 6442450944",
        ),
        (device.preprocess, CROP, {"pixel": 5}, "pixel must be in 3 ... 4, but got 5"),
        (device.preprocess, CROP, {"height": 0}, "height must be"),
        (device.preprocess, CROP, {"to_photo": np.eye(2, 3) * 32769}, "to_photo must span at most"),
        (device.preprocess, CROP, {"to_photo": np.zeros((2, 3))}, "to_photo must have an inverse"),
    ],
)
def test_wrong_arguments_are_refused_by_name(kernel, arguments, change, complaint):
    with pytest.raises(ValueError, match=complaint):
        kernel(**{**arguments, **change}, stream=None)


def test_more_rows_than_a_launch_has_are_refused():
    height = 4 * 65535 + 1
    to_crop = [[1, 0, 0], [0, 1 / height, 0]]
    square = device.SquareRows.of(to_crop, height, 1, 8, MOUTH)
    with pytest.raises(
        ValueError, match=r"last_row - first_row must be in 0 \.\.\. 262140, but got"
    ):
        device.compose(square, **FRAME, stream=None)


def test_without_a_driver_a_launch_says_why():
    try:
        kernels.cuda_devices()
    except RuntimeError:
        with pytest.raises(RuntimeError, match=r"driver|CUDA"):
            device.skip_sum(**SKIP, stream=0)
    else:
        pytest.skip("there is a driver")
