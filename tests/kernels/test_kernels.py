"""The compiled kernels give the numbers of their NumPy references, whatever they are handed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moue import kernels
from moue.mouth import PLACE_STEP, Mouth

pytestmark = pytest.mark.skipif(kernels.BACKEND != "core", reason="compares moue._core with NumPy")
fuzzed = settings(max_examples=60, deadline=None)

seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
lengths = st.integers(1, 40)


def matrices(cx, cy, side, angle):
    """(to_photo, to_crop) of a face square."""
    c, s = math.cos(angle) * side, math.sin(angle) * side
    to_photo = np.array([[c, -s, cx - (c - s) / 2], [s, c, cy - (s + c) / 2]])
    inverse = np.linalg.inv(to_photo[:, :2])
    return to_photo, np.column_stack([inverse, -inverse @ to_photo[:, 2]])


@st.composite
def squares(draw, height, width):
    """Those of a square anywhere in, over the edge of, or beside the photo."""
    reach = st.floats(-0.5, 1.5)
    cx, cy = draw(reach) * width, draw(reach) * height
    side = draw(st.floats(0.5, 100))
    angle = draw(st.sampled_from([0, math.pi / 2, math.pi / 4]) | st.floats(-math.pi, math.pi))
    return matrices(cx, cy, side, angle)


def photo_of(rng, height, width):
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def maps_of(rng, size, motion=0.2):
    """Flow, mask, light and place of `size` cells a side, and the mouth they are for."""
    rows, columns = rng.integers(1, size // PLACE_STEP + 1, 2)
    tall, wide = PLACE_STEP * rows / size, PLACE_STEP * columns / size
    left, top = rng.random() * (1 - wide), rng.random() * (1 - tall)
    picture = photo_of(rng, *rng.integers(1, 30, 2))
    maps = (
        rng.normal(0, motion, (2, size, size)),
        rng.normal(0.5, 0.5, (size, size)),
        rng.normal(0.7, 0.5, (3, size, size)),
        rng.normal(0, 0.4, (2, rows, columns)),
    )
    mouth = Mouth(picture, (left, top, left + wide, top + tall))
    return *(array.astype(np.float32) for array in maps), mouth


@fuzzed
@given(
    seeds,
    st.integers(1, 9),
    st.integers(1, 9),
    st.lists(st.integers(1, 300) | st.sampled_from([1024, 3000]), min_size=1, max_size=4),
    st.sampled_from([np.float32, np.float16]),
    st.data(),
)
def test_skip_sum_is_the_reference(rng, frames, n, sizes, dtype, data):
    base = rng.normal(size=sum(sizes)).astype(np.float32)
    residual = rng.normal(size=(n, base.size)).astype(dtype)
    share = data.draw(st.sampled_from([0, 0.5, 1]))  # no action, some, every one
    actions = rng.random((frames, n), np.float32) * (rng.random((frames, n)) < share)
    actions = actions.astype(np.float32)
    unused = ~actions.any(0)
    residual[unused] = np.nan  # would show in the sum, were it read
    expected = np.empty(frames * base.size, np.float32)
    kernels.skip_sum_reference(base, residual, actions, sizes, expected)
    total = kernels.skip_sum(base, residual, actions, sizes, threads=data.draw(st.integers(0, 3)))
    np.testing.assert_array_equal(total, expected)


def test_skip_sum_lays_out_levels_one_after_another_and_frames_within_them():
    base, residual = np.array([1, 2, 3], np.float32), np.array([[10, 20, 30]], np.float32)
    actions = np.array([[0], [1]], np.float32)
    total = kernels.skip_sum(base, residual, actions, [1, 2])
    assert total.tolist() == [1, 11, 2, 3, 22, 33]


def test_skip_sum_reads_every_half_float():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)[None]
    base = np.zeros(2**16, np.float32)
    with np.errstate(invalid="ignore"):  # half of the infinities' neighbours are signalling NaN
        total = kernels.skip_sum(base, halves, np.ones((1, 1), np.float32), [base.size])
        np.testing.assert_array_equal(total, halves[0].astype(np.float32))


def test_skip_sum_of_several_blocks_and_threads():
    rng = np.random.default_rng(0)
    sizes = [16 * 65 * 63, 700]
    base = rng.normal(size=sum(sizes)).astype(np.float32)
    residual = rng.normal(size=(5, base.size)).astype(np.float32)
    actions = rng.random((3, 5), np.float32)
    expected = np.empty(3 * base.size, np.float32)
    kernels.skip_sum_reference(base, residual, actions, sizes, expected)
    for threads in (1, 2, 7):
        out = np.full_like(expected, np.nan)
        assert kernels.skip_sum(base, residual, actions, sizes, out, threads=threads) is out
        np.testing.assert_array_equal(out, expected)


@fuzzed
@given(seeds, lengths, lengths, st.integers(1, 17), st.data())
def test_preprocess_is_the_reference(rng, height, width, size, data):
    photo = photo_of(rng, height, width)
    to_photo, _ = data.draw(squares(height, width))
    crop = kernels.preprocess(photo, to_photo, size)
    taps = max(1, math.ceil(np.hypot(*to_photo[:, :2]).max() / size - 1e-6))
    expected = np.empty_like(crop)
    kernels.preprocess_reference(photo, to_photo, taps, expected)
    np.testing.assert_allclose(crop, expected, rtol=0, atol=1e-5)
    assert 0 <= crop.min() <= crop.max() <= 1 + 1e-6


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_preprocess_averages_whole_pixels_exactly(scale):
    photo = photo_of(np.random.default_rng(0), 12, 12)
    side = 12 / scale
    crop = kernels.preprocess(photo, [[12, 0, 0], [0, 12, 0]], int(side))
    boxes = photo.reshape(int(side), scale, int(side), scale, 3).mean((1, 3)) / 255
    np.testing.assert_allclose(crop, boxes.transpose(2, 0, 1), rtol=0, atol=1e-6)


@fuzzed
@given(seeds, lengths, lengths, st.integers(4, 20), st.data())
def test_compose_is_the_reference(rng, height, width, size, data):
    photo, canvas = photo_of(rng, height, width), photo_of(rng, height, width)
    _, to_crop = data.draw(squares(height, width))
    *maps, mouth = maps_of(rng, size, motion=data.draw(st.sampled_from([0.01, 0.2, 5])))
    flow, mask = maps[:2]
    rest = None
    if data.draw(st.booleans()):  # and then all but a part of the square differs little from it
        flow_at_rest, mask_at_rest = maps_of(rng, size)[:2]
        rest = flow_at_rest, mask_at_rest
        nearly = rng.uniform(-0.99, 0.99, (3, size, size))
        little = np.ones((size, size), bool)
        begin, end = np.sort(rng.integers(0, size + 1, (2, 2)), axis=0)
        little[begin[0] : end[0], begin[1] : end[1]] = False
        flow[:, little] = (flow_at_rest + kernels.STILL * nearly[:2])[:, little]
        mask[little] = (mask_at_rest + kernels.FAINT * nearly[2])[little]
        flow, mask = kernels.since_rest(flow, mask, *rest)
        assert not flow[:, little].any()
        assert not mask[little].any()
    expected = canvas.copy()
    window = np.array(mouth.window)
    colour = data.draw(st.sampled_from([0, 0.3, 1]))
    kernels.compose_reference(
        photo, to_crop, flow, mask, *maps[2:], mouth.picture, window, colour, expected
    )
    given = {"photo": photo, "to_crop": to_crop, "rest": rest, "mouth": mouth, "colour": colour}
    given |= dict(zip(("flow", "mask", "light", "place"), maps, strict=True))
    frame = kernels.compose(**given, out=canvas.copy())
    whole = kernels.compose(**given, threads=data.draw(st.integers(0, 3)))
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    u = [row[0] * x + row[1] * y + row[2] for row in to_crop]
    outside = np.any([(v < 0) | (v > 1) for v in u], axis=0)
    np.testing.assert_array_equal(frame[outside], canvas[outside])
    np.testing.assert_array_equal(whole[outside], photo[outside])
    np.testing.assert_array_equal(whole[~outside], frame[~outside])
    assert np.abs(frame.astype(int) - expected).max() <= 1


@fuzzed
@given(seeds, lengths, lengths, st.integers(4, 20), st.data())
def test_compose_of_nothing_is_the_photo(rng, height, width, size, data):
    photo = photo_of(rng, height, width)
    _, to_crop = data.draw(squares(height, width))
    *_, light, place, mouth = maps_of(rng, size)
    still, clear = np.zeros((2, size, size), np.float32), np.zeros((size, size), np.float32)
    frame = kernels.compose(photo, to_crop, still, clear, light, place, mouth)
    np.testing.assert_array_equal(frame, photo)


def test_full_light_shows_the_mouths_picture_as_it_is():
    """Where the square, its window and the picture all have the same pixels, and the mask is 1."""
    rng = np.random.default_rng(0)
    size, (rows, columns) = 32, (4, 6)
    picture = photo_of(rng, PLACE_STEP * rows, PLACE_STEP * columns)
    mouth = Mouth(picture, (0.125, 0.25, 0.125 + 0.75, 0.25 + 0.5))
    v, u = [(np.arange(count) + 0.5) / count - 0.5 for count in (rows, columns)]
    place = np.stack(np.meshgrid(u, v)).astype(np.float32)
    still, full = np.zeros((2, size, size), np.float32), np.ones((size, size), np.float32)
    photo = np.zeros((size, size, 3), np.uint8)
    to_crop = np.eye(2, 3) / size
    frame = kernels.compose(photo, to_crop, still, full, np.stack([full] * 3), place, mouth)
    shown = frame[8:24, 4:28]
    inner = np.s_[2:-2, 2:-2]  # beyond the last nodes' centres the map repeats its edge
    assert np.abs(shown[inner].astype(int) - picture[inner]).max() <= 1
    frame[8:24, 4:28] = 255
    assert (frame == 255).all()  # and light alone around it


def test_paint_without_colour_is_as_bright_as_with_it():
    rng = np.random.default_rng(0)
    size, photo = 16, np.zeros((64, 48, 3), np.uint8)
    *maps, mouth = maps_of(rng, size)
    maps[1][...] = 1
    maps[2] = 0.5 + 0.4 * rng.random((3, size, size), np.float32)
    to_crop = np.array([[1 / 40, 0, -0.1], [0, 1 / 40, -0.2]])
    vivid, half, grey = (
        kernels.compose(photo, to_crop, *maps, mouth, colour=colour) for colour in (1, 0.5, 0)
    )
    assert np.ptp(vivid, axis=2).max() > 50
    assert np.ptp(grey, axis=2).max() == 0
    assert np.abs(grey[..., 0] - vivid @ (0.299, 0.587, 0.114)).max() < 1.01
    assert np.abs(half.astype(float) - (vivid.astype(float) + grey) / 2).max() <= 1


def mouth_lit(mask: float, picture: int) -> np.ndarray:
    """A black photo [16, 16, 3] under white light and one mask; a mouth of one grey in its middle."""
    size, (rows, columns) = 16, (2, 2)
    mouth = Mouth(np.full((4, 4, 3), picture, np.uint8), (0.25, 0.25, 0.75, 0.75))
    maps = np.full((size, size), mask), np.ones((3, size, size)), np.zeros((2, rows, columns))
    still, photo = np.zeros((2, size, size), np.float32), np.zeros((size, size, 3), np.uint8)
    painted = [map.astype(np.float32) for map in maps]
    return kernels.compose(photo, np.eye(2, 3) / size, still, *painted, mouth)


@pytest.mark.parametrize(("thins", "share"), [(0.5, 0), (1, 0), (1.5, 0.5), (2, 1), (8, 1)])
def test_a_thin_mask_shows_light_without_the_mouths_picture(thins, share):
    frame = mouth_lit(thins * kernels.THIN, picture=0)
    assert np.abs(frame[:3] - 255 * thins * kernels.THIN).max() <= 0.5 + 1e-3
    inside = 255 * min(thins, 1) * kernels.THIN
    assert np.abs(frame[5:11, 5:11] - (1 - share) * inside).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        (0.05, 0.05),
        (0.125, 0.125),
        (0.3, 0.125),
        (0.4, 0.3),
        (0.5, 0.5),
        (0.6, 0.7),
        (0.75, 1),
        (1, 1),
    ],
)
def test_the_mouth_has_a_steeper_edge_than_its_mask(mask, shown):
    frame = mouth_lit(mask, picture=255)
    assert np.abs(frame[:3] - 255 * mask).max() <= 0.5 + 1e-3
    assert np.abs(frame[5:11, 5:11] - 255 * shown).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
@pytest.mark.parametrize("which", ["flow", "mask", "light", "place"])
def test_compose_survives_numbers_that_are_none(which, value):
    rng = np.random.default_rng(0)
    photo, size = photo_of(rng, 40, 30), 8
    names = ("flow", "mask", "light", "place", "mouth")
    maps = dict(zip(names, maps_of(rng, size), strict=True))
    maps[which][...] = value
    to_crop = np.array([[1 / 20, 0, -0.2], [0, 1 / 20, -0.4]])
    frame = kernels.compose(photo, to_crop, **maps)
    np.testing.assert_array_equal(frame[:8], photo[:8])


@pytest.mark.parametrize("scale", [1e-150, 1e-12, 1e-6, 1e6, 1e12, 1e150])
@pytest.mark.parametrize("turn", [0, 0.3])
def test_matrices_of_absurd_scale_stay_within_the_photo(scale, turn):
    rng = np.random.default_rng(0)
    photo = photo_of(rng, 33, 21)
    c, s = math.cos(turn) * scale, math.sin(turn) * scale
    to_crop = np.array([[c, -s, 0.5 - (c - s) * 10.5], [s, c, 0.5 - (s + c) * 10.5]])
    frame = kernels.compose(photo, to_crop, *maps_of(rng, 16))
    assert frame.shape == photo.shape


def test_without_the_extension_numpy_does_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    photo = photo_of(rng, 64, 48)
    to_photo, to_crop = matrices(24, 30, 31, 0.3)
    base, residual = rng.random(32, np.float32), rng.random((3, 32), np.float32)
    maps, actions = maps_of(rng, 16), rng.random((2, 3), np.float32)

    def run():
        return (
            kernels.preprocess(photo, to_photo, 16) * 255,
            kernels.skip_sum(base, residual, actions, [12, 20]),
            kernels.compose(photo, to_crop, *maps).astype(float),
        )

    compiled = run()
    monkeypatch.setattr(kernels, "BACKEND", "numpy")
    for one, other, tolerance in zip(compiled, run(), (1e-3, 1e-5, 1), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
    with pytest.raises(RuntimeError, match="cannot be loaded"):
        kernels.cuda_devices()
