"""Every kernel on the GPU gives what the same arithmetic gives on the host."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.gpu import prepared
from moue.bundle import load_bundle
from moue.kernels import device as kernels
from moue.runtimes.frame_loop import FrameLoop
from tests.kernels.test_kernels import maps_of, squares

drawn = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
lengths = st.integers(1, 300)
# From a half to the next, where either may round another way.
A_STEP = {"rtol": 2**-10, "atol": 2e-5}


class There:
    """Arrays copied to the GPU; freed together."""

    def __init__(self, gpu):
        self.gpu, self.addresses = gpu, []

    def __call__(self, array):
        array = np.ascontiguousarray(array)
        self.addresses.append(self.gpu.allocate(array.nbytes))
        self.gpu.upload(self.addresses[-1], array)
        return self.addresses[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.gpu.synchronize()
        for address in self.addresses:
            self.gpu.free(address)

    def back(self, address, like):
        self.gpu.copy(like.ctypes.data, address, like.nbytes)
        self.gpu.synchronize()
        return like


@pytest.fixture
def there(gpu):
    with There(gpu) as there:
        yield there


def both(gpu, there, kernel, arrays, out, **numbers):
    """What a kernel writes to `out` on the host and on the GPU."""
    host, device = out.copy(), there(out)
    here = {name: array.ctypes.data for name, array in arrays.items()}
    kernel(**here, out=host.ctypes.data, stream=None, **numbers)
    addresses = {name: there(array) for name, array in arrays.items()}
    kernel(**addresses, out=device, stream=gpu.stream, **numbers)
    return host, there.back(device, np.empty_like(out))


@pytest.mark.parametrize("sizes", [[3072, 10240, 32768, 81920], [128, 384], [56, 264, 8]])
@pytest.mark.parametrize("frames", [1, 8])
@pytest.mark.parametrize("share", [0, 0.2, 1])
def test_skip_sum(gpu, there, sizes, frames, share):
    rng, n, total = np.random.default_rng(0), 51, sum(sizes)
    actions = rng.random((frames, n)) * (rng.random((frames, n)) < share)
    arrays = {
        "base": rng.normal(size=total).astype(np.float16),
        "residual": rng.normal(size=(n, total)).astype(np.float16),
        "actions": actions.astype(np.float32),
    }
    arrays["residual"][~actions.any(0)] = np.nan
    out = np.zeros(frames * total, np.float16)
    host, device = both(gpu, there, kernels.skip_sum, arrays, out, frames=frames, n=n, sizes=sizes)
    np.testing.assert_allclose(device.astype("f4"), host.astype("f4"), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("height", "width", "side"), [(1080, 1920, 700), (333, 221, 300)])
def test_preprocess(gpu, there, height, width, side):
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    out = np.zeros((3, 256, 256), np.float16)
    host, device = both(
        gpu,
        there,
        kernels.preprocess,
        {"photo": photo},
        out,
        height=height,
        width=width,
        pixel=3,
        to_photo=[[side, 20, -40], [-20, side, 60]],
        size=256,
    )
    np.testing.assert_allclose(device.astype("f4"), host.astype("f4"), **A_STEP)


def four_bytes(picture):
    return np.concatenate([picture, picture[..., :1]], axis=2)


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (333, 221)])
@pytest.mark.parametrize("pixel", [3, 4])
@pytest.mark.parametrize("moves", [True, False])
def test_compose(gpu, there, height, width, pixel, moves):
    rng, frames, n, size = np.random.default_rng(0), 3, 51, 256
    photo = rng.integers(0, 256, (height, width, pixel), np.uint8)
    half, mouth = np.float16, maps_of(rng, size)[-1]
    arrays = {
        "flow": rng.normal(0, 0.05, (frames, 2, size, size)).astype(half),
        "mask": rng.random((frames, 1, size, size)).astype(half),
        "light": rng.normal(0.7, 0.5, (frames, 3, size, size)).astype(half),
        "place": rng.normal(0, 0.4, (frames, 2, *mouth.nodes(size))).astype(half),
        "rest_flow": rng.normal(0, 0.05, (2, size, size)).astype(half),
        "rest_mask": rng.random((size, size)).astype(half),
        "actions": np.full((frames, n), moves, np.float32),
        "cells": np.zeros((frames, size + 2, size + 2, kernels.CELL_BYTES), np.uint8),
        "source": photo,
        "picture": four_bytes(mouth.picture),
    }
    side = 0.7 * height
    square = kernels.SquareRows.of(
        [[1 / side, 0.0002, -0.2], [-0.0002, 1 / side, -0.1]], height, width, size, mouth
    )
    out = np.repeat(photo[None, :, :, :3], frames, axis=0)
    host, device = both(
        gpu,
        there,
        lambda **given: kernels.compose(square, **given),
        {**arrays, "rows": square.rows},
        out,
        source_stride=0,
        pixel=pixel,
        frames=frames,
        n=n,
        colour=0.3,
    )
    assert np.abs(device.astype(int) - host).max() <= 1
    if not moves:
        np.testing.assert_array_equal(device, out)


@drawn
@given(
    seeds,
    st.lists(st.sampled_from([8, 56, 264, 128, 2048]), min_size=1, max_size=4),
    st.integers(1, 512),
    st.integers(1, 9),
    st.sampled_from([0, 0.1, 1]),
)
def test_skip_sum_of_any_shape(gpu, rng, sizes, n, frames, share):
    total = sum(sizes)
    actions = rng.random((frames, n)) * (rng.random((frames, n)) < share)
    arrays = {
        "base": rng.normal(size=total).astype(np.float16),
        "residual": rng.normal(size=(n, total)).astype(np.float16),
        "actions": actions.astype(np.float32),
    }
    arrays["residual"][~actions.any(0)] = np.nan
    out = np.zeros(frames * total, np.float16)
    numbers = {"frames": frames, "n": n, "sizes": sizes}
    with There(gpu) as there:
        host, device = both(gpu, there, kernels.skip_sum, arrays, out, **numbers)
    np.testing.assert_allclose(device.astype("f4"), host.astype("f4"), rtol=2e-3, atol=2e-2)


@drawn
@given(seeds, lengths, lengths, st.integers(4, 64), st.sampled_from([3, 4]), st.data())
def test_squares_in_and_over_the_edge_of_any_photo(gpu, rng, height, width, size, pixel, data):
    photo = rng.integers(0, 256, (height, width, pixel), np.uint8)
    to_photo, to_crop = data.draw(squares(height, width))
    frames = data.draw(st.integers(1, 3))
    half, mouth = np.float16, maps_of(rng, size)[-1]
    arrays = {
        "flow": rng.normal(0, 0.1, (frames, 2, size, size)).astype(half),
        "mask": rng.normal(0.5, 0.5, (frames, 1, size, size)).astype(half),
        "light": rng.normal(0.5, 0.5, (frames, 3, size, size)).astype(half),
        "place": rng.normal(0, 0.4, (frames, 2, *mouth.nodes(size))).astype(half),
        "rest_flow": rng.normal(0, 0.1, (2, size, size)).astype(half),
        "rest_mask": rng.random((size, size)).astype(half),
        "actions": np.ones((frames, 2), np.float32),
        "cells": np.zeros((frames, size + 2, size + 2, kernels.CELL_BYTES), np.uint8),
        "source": photo,
        "picture": four_bytes(mouth.picture),
    }
    arrays["actions"][-1] = data.draw(st.sampled_from([0, 1]))
    square = kernels.SquareRows.of(to_crop, height, width, size, mouth)
    out = np.repeat(rng.integers(0, 256, (1, height, width, 3), np.uint8), frames, axis=0)
    with There(gpu) as there:
        host, device = both(
            gpu,
            there,
            lambda **given: kernels.compose(square, **given),
            {**arrays, "rows": square.rows},
            out,
            source_stride=0,
            pixel=pixel,
            frames=frames,
            n=2,
            colour=data.draw(st.sampled_from([0, 1])),
        )
        assert np.abs(device.astype(int) - host).max() <= 1
        host, device = both(
            gpu,
            there,
            kernels.preprocess,
            {"photo": photo},
            np.zeros((3, size, size), np.float16),
            height=height,
            width=width,
            pixel=pixel,
            to_photo=to_photo,
            size=size,
        )
        np.testing.assert_allclose(device.astype("f4"), host.astype("f4"), **A_STEP)


class Silent:
    """A decoder that leaves its outputs as they are."""

    recordable = True

    def enqueue(self, inputs, outputs, frames):
        pass


@pytest.mark.parametrize("batch", [1, 3])
def test_a_frame_loop_around_a_silent_decoder(gpu, tiny_bundle, batch):
    """All that moue itself gives to the stream, first as it is and then recorded."""
    bundle = load_bundle(tiny_bundle)
    portrait = prepared(bundle, 90, 121)
    loop = FrameLoop(gpu, Silent(), bundle, portrait.photo, 2 * portrait.faces, batch)
    actions = np.full((batch, len(bundle.actions)), 0.5, np.float32)
    eager, *replayed = list(loop.frames([actions] * 4))[::batch]
    resident = list(loop.frames_on_device([0 * actions]))
    loop.close()
    assert len(resident) == batch
    for frame in replayed:
        np.testing.assert_array_equal(frame, eager)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_compute_sanitizer_finds_nothing(gpu, tool):
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed")
    command = [sanitizer, f"--tool={tool}", "--error-exitcode=9", sys.executable, "-m", "pytest"]
    ran = subprocess.run(
        [*command, "-q", "-x", "-k", "not sanitizer and not 1080", __file__],
        check=False,
        capture_output=True,
        text=True,
    )
    if "Device not supported" in ran.stdout:
        pytest.skip("compute-sanitizer does not support this device")
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert "ERROR SUMMARY: 0 errors" in ran.stdout or "0 hazards" in ran.stdout
