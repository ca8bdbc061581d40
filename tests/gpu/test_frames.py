"""The whole device path on the GPU against the CPU runtime."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import moue
from moue.errors import RuntimeUnavailableError
from moue.runtimes.frame_loop import FrameLoop
from moue.runtimes.select import select_runtime
from tests.gpu.decoders import CpuDecoder, StillDecoder

LEVELS = 2


@pytest.fixture
def loop(gpu, animator, portrait):
    def make(decoder, batch=1):
        loops.append(
            FrameLoop(gpu, decoder, animator.bundle, portrait.photo, portrait.faces, batch)
        )
        return loops[-1]

    loops = []
    yield make
    for made in loops:
        made.close()


def batches(animator, count, batch, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        actions = rng.random((batch, len(animator.actions)), np.float32)
        yield actions * (rng.random(actions.shape) < 0.1)


@pytest.mark.parametrize("batch", [1, 3])
def test_frames_are_the_cpus(gpu, animator, portrait, loop, batch):
    found = loop(CpuDecoder(gpu, animator.runtime), batch).frames(batches(animator, 3, batch))
    rows = np.concatenate(list(batches(animator, 3, batch)))
    for frame, row in zip(found, rows, strict=True):
        expected = animator.frame(portrait, row)
        assert np.abs(frame.astype(int) - expected).max() <= LEVELS


def test_a_replayed_graph_gives_the_same_frames(animator, loop):
    """The maps are whatever memory held: what matters is that they are the same in both runs."""
    made = loop(StillDecoder(), 2)
    actions = next(batches(animator, 1, 2))
    eager, *replayed = [frame for frame in made.frames([actions] * 3)][::2]
    assert made._replay is not None
    for frame in replayed:
        np.testing.assert_array_equal(frame, eager)


def test_ten_thousand_frames_leave_nothing_behind(gpu, animator, loop):
    made = loop(StillDecoder(), 10)
    for _ in made.frames(batches(animator, 10, 10)):
        pass
    before = gpu.memory_used()
    for _ in made.frames(batches(animator, 1000, 10)):
        pass
    assert gpu.memory_used() - before < 2**20


def test_cupy_takes_frames_as_they_are(animator, loop):
    cupy = pytest.importorskip("cupy")
    made = loop(StillDecoder())
    (actions,) = batches(animator, 1, 1)
    (expected,) = made.frames([actions])
    (frame,) = made.frames_on_device([actions])
    for taken in (cupy.asarray(frame), cupy.from_dlpack(frame)):
        np.testing.assert_array_equal(cupy.asnumpy(taken), expected)


@pytest.fixture(scope="module")
def tensorrt(gpu, tiny_bundle):
    try:
        runtime = select_runtime(moue.bundle.load_bundle(tiny_bundle), "cuda", "tensorrt")
    except RuntimeUnavailableError as reason:
        pytest.skip(f"no TensorRT for this GPU: {reason}")
    with runtime:
        yield runtime


@pytest.mark.parametrize("batch", [1, 8, 20])
def test_tensorrt_gives_the_cpus_frames(tensorrt, animator, portrait, batch):
    made = tensorrt.frame_loop(portrait.photo, portrait.faces, batch)
    rows = np.concatenate(list(batches(animator, 3, batch)))
    for frame, row in zip(made.frames(batches(animator, 3, batch)), rows, strict=True):
        expected = animator.frame(portrait, row)
        assert np.abs(frame.astype(int) - expected).max() <= LEVELS
    made.close()
    gc.collect()
