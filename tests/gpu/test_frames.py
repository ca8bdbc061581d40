"""The whole device path on the GPU against the CPU runtime, by whatever executes the graphs there."""

from __future__ import annotations

import gc
import logging
from types import SimpleNamespace

import numpy as np
import pytest

import moue
from tests.gpu.conftest import FACE

LEVELS = 2  # of 255
MOST = (
    4  # of them, in one byte of a million: at a sharp edge, half precision moves a pixel that far
)


def assert_alike(frame, expected):
    apart = np.abs(frame.astype(int) - expected)
    assert apart.max() <= MOST
    assert (apart > LEVELS).mean() <= 1e-6


@pytest.fixture
def loop(runtime, portrait):
    def make(batch=1):
        loops.append(runtime.frame_loop(portrait.photo, portrait.faces, batch))
        return loops[-1]

    loops = []
    yield make
    for made in loops:
        made.close()


def batches(animator, count, batch, seed=0):
    """Actions as in an expression, strong and weak."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        actions = rng.random((batch, len(animator.actions)), np.float32)
        yield actions * (rng.random(actions.shape) < 0.15)


def test_features_are_the_cpus(runtime, animator):
    size = animator.bundle.input_size
    photo = np.random.default_rng(0).random((1, 3, size, size), np.float32)
    found = runtime.encode(photo)
    for name, array in animator.runtime.encode(photo).items():
        largest = np.abs(array.astype(np.float32)).max()
        np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-2 * largest)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_frames_are_the_cpus(animator, portrait, loop, batch):
    found = loop(batch).frames(batches(animator, 4, batch))
    rows = np.concatenate(list(batches(animator, 4, batch)))
    moved = 0
    for frame, row in zip(found, rows, strict=True):
        expected = animator.frame(portrait, row)
        assert_alike(frame, expected)
        moved += int((expected != portrait.photo).any())
    assert moved > len(rows) // 2


def test_a_frame_at_rest_is_the_photo(animator, portrait, loop):
    rest = np.zeros((2, len(animator.actions)), np.float32)
    for frame in loop(2).frames([rest] * 3):
        np.testing.assert_array_equal(frame, portrait.photo)


def test_a_replayed_graph_gives_the_same_frames(runtime, animator, loop, caplog):
    made = loop(2)
    actions = next(batches(animator, 1, 2))
    with caplog.at_level(logging.WARNING, logger="moue"):
        eager, *replayed = [frame for frame in made.frames([actions] * 4)][::2]
    if not made.decoder.recordable:
        pytest.skip(f"{runtime.name}'s work is not recorded")
    assert caplog.messages == []
    assert made._replay is not None
    for frame in replayed:
        np.testing.assert_array_equal(frame, eager)


def test_ten_thousand_frames_leave_nothing_behind(gpu, animator, loop):
    made = loop(10)
    for _ in made.frames(batches(animator, 10, 10)):
        pass
    before = gpu.memory_used()
    for _ in made.frames(batches(animator, 1000, 10)):
        pass
    assert gpu.memory_used() - before < 2**20


def test_portraits_that_go_leave_nothing_behind(gpu, runtime, animator, portrait):
    used = []
    for _ in range(12):
        made = runtime.frame_loop(portrait.photo, portrait.faces, 4)
        for _ in made.frames(batches(animator, 3, 4)):
            pass
        made.close()
        gc.collect()
        used.append(gpu.memory_used())
    assert used[-1] - used[3] < 2**21


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_others_take_frames_as_they_are(animator, loop, library):
    if library == "torch":
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("this PyTorch was built without CUDA")
        take = [torch.from_dlpack, lambda frame: torch.as_tensor(frame, device="cuda")]
        back = lambda array: array.cpu().numpy()  # noqa: E731
    else:
        cupy = pytest.importorskip("cupy")
        take, back = [cupy.asarray, cupy.from_dlpack], cupy.asnumpy
    made = loop()
    (actions,) = batches(animator, 1, 1)
    (expected,) = made.frames([actions])
    (frame,) = made.frames_on_device([actions])
    for way in take:
        np.testing.assert_array_equal(back(way(frame)), expected)


@pytest.mark.parametrize("pixel", [3, 4])
def test_others_pictures_are_encoded_where_they_are(runtime, photo, pixel):
    torch = pytest.importorskip("torch")
    filler = np.zeros((*photo.shape[:2], pixel - 3), np.uint8)
    there = torch.from_numpy(np.concatenate([photo, filler], axis=2))
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch was built without CUDA")
    found = runtime.encode_on_device(there.cuda(), FACE.square.to_photo())
    size = runtime.bundle.input_size
    crop = moue.kernels.preprocess(photo, FACE.square.to_photo(), size)
    for name, array in runtime.encode(crop[None]).items():
        largest = np.abs(array.astype(np.float32)).max()
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-2 * largest)


@pytest.mark.parametrize("protocol", ["DLPack", "interface"])
def test_pictures_that_are_still_being_made_are_waited_for(runtime, photo, protocol):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch was built without CUDA")
    ready = torch.from_numpy(photo.copy()).cuda()
    there = torch.zeros_like(ready)
    expected = runtime.encode_on_device(ready, FACE.square.to_photo())
    given = there
    if protocol == "interface":
        interface = there.__cuda_array_interface__
        given = SimpleNamespace(shape=there.shape, __cuda_array_interface__=interface)
    torch.cuda.synchronize()
    torch.cuda._sleep(10**9)  # half a second or so
    there.copy_(ready)
    found = runtime.encode_on_device(given, FACE.square.to_photo())
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_frames_that_are_let_go_of_are_still_read(animator, loop):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch was built without CUDA")
    rows = list(batches(animator, 6, 1))
    copies = []
    for frame in loop().frames_on_device(rows):
        torch.cuda._sleep(10**8)
        copies.append(torch.from_dlpack(frame).clone())  # under way when the frame goes
        del frame
    for copy, expected in zip(copies, loop().frames(rows), strict=True):
        np.testing.assert_array_equal(copy.cpu().numpy(), expected)


@pytest.mark.parametrize("batch", [1, 4])
def test_the_animator_makes_them(runtime, animator, photo, monkeypatch, batch):
    """From the photo on: encoded there, at rest there, in frames and left there."""
    monkeypatch.setattr("moue.animator.select_runtime", lambda *_: runtime)
    there = moue.Animator(animator.bundle)
    portrait, expected = there.prepare(photo, FACE), animator.prepare(photo, FACE)
    curve = moue.expression("surprise").rise(seconds=0.3, fps=30)
    frames = list(there.frames(portrait, curve, batch))
    wanted = list(animator.frames(expected, curve))
    resident = list(there.frames_on_device(portrait, curve, batch))
    assert len(frames) == len(wanted) == len(resident) == len(curve)
    for frame, other in zip(frames, wanted, strict=True):
        assert_alike(frame, other)
    np.testing.assert_array_equal(frames[0], photo)
    for loops in there._loops.values():
        for loop in loops.values():
            loop.close()
