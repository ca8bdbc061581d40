"""The device's frame loop, all of it but the GPU: what a host device makes of it is compared with
the animator's frames."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest

import moue
from moue import kernels
from moue.actions import action_vector
from moue.bundle import BUNDLES
from moue.errors import RuntimeUnavailableError
from tests.host_device import HostDecoder, HostDevice

if kernels.BACKEND != "core":
    pytest.skip("the device's kernels are part of moue._core", allow_module_level=True)

from moue.runtimes.frame_loop import SLOTS, FrameLoop
from moue.runtimes.on_cuda import CudaRuntime, DeviceGraph

LEVELS = 2  # 8-bit, between FP16 on the device and FP32 on the CPU


class HostGraph(DeviceGraph):
    """The decoder, run by the animator's own runtime."""

    recordable = True

    def __init__(self, animator, device, shapes):
        super().__init__(device, shapes)
        self.enqueue = HostDecoder(animator.runtime).enqueue

    def enqueue(self, inputs, outputs, frames):
        raise NotImplementedError


class HostRuntime(CudaRuntime):
    name = "host"

    def __init__(self, animator, device):
        self.animator = animator
        super().__init__(animator.bundle, device)

    def _graph(self, name, shapes):
        return HostGraph(self.animator, self._device, shapes)


@pytest.fixture
def device():
    return HostDevice()


@pytest.fixture
def loop_of(device, animator):
    """loop_of(portrait, batch=…) makes frames of a portrait; closed at the end."""
    loops = []

    def make(portrait, batch=1, recordable=True):
        decoder = HostDecoder(animator.runtime, recordable)
        loops.append(
            FrameLoop(device, decoder, animator.bundle, portrait.photo, portrait.faces, batch)
        )
        return loops[-1]

    yield make
    for loop in loops:
        loop.close()
    device.assert_all_given_back()


def curve(animator, frames, seed=0):
    rng = np.random.default_rng(seed)
    actions = rng.random((frames, len(animator.actions)), np.float32)
    return actions * (rng.random(actions.shape) < 0.2)


def in_batches(actions, size):
    return (actions[at : at + size] for at in range(0, len(actions), size))


def differences(found, expected):
    return [int(np.abs(a.astype(int) - b).max()) for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize(("batch", "frames"), [(1, 3), (2, 5), (4, 3)])
@pytest.mark.parametrize("recordable", [True, False])
def test_frames_are_the_animators(animator, portrait, device, loop_of, batch, frames, recordable):
    actions = curve(animator, frames)
    actions[1] = 0
    expected = [animator.frame(portrait, row) for row in actions]
    loop = loop_of(portrait, batch, recordable)
    found = list(loop.frames(in_batches(actions, batch)))
    assert max(differences(found, expected)) <= LEVELS
    np.testing.assert_array_equal(found[1], portrait.photo)
    assert min(differences([found[0]], [portrait.photo])) > LEVELS
    batches = -(-frames // batch)
    assert device.recorded == (recordable and batches > 1)
    assert device.launched == (batches - 1 if recordable else 0)  # the first settles the shapes


@pytest.mark.skipif(not (BUNDLES / "edge").is_dir(), reason="this checkout ships no bundle")
def test_frames_of_the_shipped_bundle(device, portrait_photo):
    with moue.Animator("edge", "cpu", threads=1) as animator:
        portrait = animator.prepare(portrait_photo)
        poses = [animator.expressions[name] for name in ("happy", "surprise")]
        actions = np.stack([action_vector(pose, animator.actions) for pose in poses])
        decoder = HostDecoder(animator.runtime)
        loop = FrameLoop(device, decoder, animator.bundle, portrait.photo, portrait.faces, 2)
        found = list(loop.frames([actions]))
        expected = [animator.frame(portrait, pose) for pose in poses]
        loop.close()
    assert max(differences(found, expected)) <= LEVELS
    assert np.mean([frame != other for frame, other in zip(found, expected, strict=True)]) < 0.01


def test_a_recording_that_is_spoilt_is_made_again(animator, portrait, device, loop_of, caplog):
    record, tried = device.record, []

    def spoilt_once(work):
        tried.append(work)
        if len(tried) == 1:
            raise RuntimeUnavailableError("CUDA: operation failed due to a previous error")
        return record(work)

    device.record = spoilt_once
    loop = loop_of(portrait)
    for _ in loop.frames(in_batches(curve(animator, 3), 1)):
        pass
    assert (len(tried), device.launched, caplog.messages) == (2, 2, [])
    assert loop.recordable


def test_what_cannot_be_recorded_goes_on_without(animator, portrait, device, loop_of, caplog):
    def refuse(work):
        raise RuntimeUnavailableError("CUDA: operation not permitted when stream is capturing")

    device.record = refuse
    actions = curve(animator, 4)
    expected = [animator.frame(portrait, row) for row in actions]
    found = list(loop_of(portrait).frames(in_batches(actions, 1)))
    assert max(differences(found, expected)) <= LEVELS
    (line,) = caplog.messages
    assert line.startswith("frames are not recorded as a CUDA graph, and take longer: CUDA: opera")


def test_several_faces_are_drawn_one_on_another(animator, portrait, loop_of):
    (face,) = portrait.faces
    square = face.square
    other = face.mouth._replace(picture=255 - face.mouth.picture[::2, ::3])
    turned = replace(square, cx=square.cx + square.side / 3, angle=0.4)
    beside = replace(face, square=turned, mouth=other, colour=0.3)
    third = replace(face, square=replace(square, cx=square.cx - square.side))
    crowd = replace(portrait, faces=(face, beside, third))
    actions = curve(animator, 3, seed=1)
    found = list(loop_of(crowd, 2).frames(in_batches(actions, 2)))
    expected = [animator.frame(crowd, row) for row in actions]
    assert max(differences(found, expected)) <= 2 * LEVELS  # each face adds its own rounding
    one = next(loop_of(portrait).frames([actions[:1]]))
    assert np.abs(found[0].astype(int) - one).max() > LEVELS


def test_kept_frames_do_not_change(animator, portrait, loop_of):
    actions = curve(animator, 4 * SLOTS)
    loop = loop_of(portrait)
    kept = list(loop.frames(in_batches(actions, 1)))
    copies = [frame.copy() for frame in kept]
    for _ in loop.frames(in_batches(curve(animator, 3 * SLOTS, seed=2), 1)):
        pass
    for frame, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(frame, copy)
    assert max(differences(kept, [animator.frame(portrait, row) for row in actions])) <= LEVELS
    assert all(frame.flags.writeable for frame in kept)


def test_memory_does_not_grow_with_the_number_of_frames(animator, portrait, device, loop_of):
    loop = loop_of(portrait)
    seen = set()
    for number, _ in enumerate(loop.frames(in_batches(curve(animator, 40), 1))):
        if number > SLOTS:
            seen.add(len(device.memory))
    assert len(seen) == 1


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_it_reads_no_further_ahead_than_told(animator, portrait, loop_of, ahead):
    read = 0

    def batches():
        nonlocal read
        for row in curve(animator, 6):
            read += 1
            yield row[None]

    for number, _ in enumerate(loop_of(portrait).frames(batches(), ahead), 1):
        assert read == min(number + ahead, 6)


def test_whoever_stops_early_waits_for_what_is_under_way(animator, portrait, device, loop_of):
    frames = loop_of(portrait).frames(in_batches(curve(animator, 5), 1), ahead=2)
    next(frames)
    assert device.waited == [1]
    frames.close()
    assert device.waited == [1, 2, 3]


def test_frames_outlive_the_loop(animator, portrait, device, loop_of):
    loop = loop_of(portrait)
    actions = curve(animator, 1)
    (frame,) = loop.frames([actions])
    copy = frame.copy()
    loop.close()
    np.testing.assert_array_equal(frame, copy)
    del frame
    gc.collect()
    assert not device.memory


def test_frames_can_stay_on_the_device(animator, portrait, device, loop_of):
    actions = curve(animator, 5)
    loop = loop_of(portrait, 2)
    expected = list(loop.frames(in_batches(actions, 2)))
    for frame, other in zip(loop.frames_on_device(in_batches(actions, 2)), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(frame), other)
        np.testing.assert_array_equal(np.from_dlpack(frame), other)
        del frame
    assert device.waited_for_others == 3 * [None]  # whoever still reads a block that came back
    kept = list(loop.frames_on_device(in_batches(actions, 2)))
    for frame, other in zip(kept, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(frame), other)


def test_frames_that_stay_there_take_no_pinned_memory(animator, portrait, device, loop_of):
    pinned = []
    device.allocate_pinned = lambda size: pinned.append(size) or device.allocate(size)
    for _ in loop_of(portrait, 2).frames_on_device(in_batches(curve(animator, 4), 2)):
        pass
    assert set(pinned) == {4 * 2 * len(animator.actions)}


def test_room_that_cannot_grow_is_none(animator, device):
    graph = HostGraph(animator, device, {"photo": ("frames", 4, 4)})
    graph.room("photo", 1)

    def none_left(size):
        raise RuntimeUnavailableError("CUDA: out of memory")

    allocate, device.allocate = device.allocate, none_left
    with pytest.raises(RuntimeUnavailableError, match="out of memory"):
        graph.room("photo", 8)
    device.allocate = allocate
    assert graph.room("photo", 1) in device.memory
    graph.close()
    device.assert_all_given_back()


def test_a_device_without_room_keeps_nothing(animator, portrait, device):
    allocate, sizes = device.allocate, []

    def measured(size):
        sizes.append(size)
        return allocate(size)

    def tight(size):
        if len(device.memory) == room:
            raise RuntimeUnavailableError("CUDA: out of memory")
        return allocate(size)

    given = device, HostDecoder(animator.runtime), animator.bundle, portrait.photo, portrait.faces
    device.allocate = measured
    FrameLoop(*given).close()
    device.allocate = tight
    for room in range(len(sizes)):
        with pytest.raises(RuntimeUnavailableError, match="out of memory"):
            FrameLoop(*given)
        assert not device.memory, room


def test_all_work_is_given_by_whoever_holds_the_lock(animator, portrait, device):
    """So that nothing reaches into what another thread records."""
    unlocked = []

    def watched(name):
        real = getattr(device, name)

        def call(*arguments):
            if not device.lock._is_owned():
                unlocked.append(name)
            return real(*arguments)

        return call

    for name in ("copy", "upload", "synchronize", "wait_for_others", "free"):
        setattr(device, name, watched(name))
    runtime = HostRuntime(animator, device)
    loop = runtime.frame_loop(portrait.photo, portrait.faces, 2)
    for _ in loop.frames(in_batches(curve(animator, 5), 2)):
        pass
    for _ in loop.frames_on_device(in_batches(curve(animator, 5), 2)):
        pass
    loop.close()
    runtime.close()
    assert unlocked == []


def test_levels_that_tensorrt_could_not_address_are_refused(animator, portrait, device):
    (face,) = portrait.faces
    first, *others = face.features.moving
    moving = replace(first, channels=7), *others
    odd = replace(face, features=replace(face.features, moving=moving))
    before = dict(device.memory)
    with pytest.raises(RuntimeUnavailableError, match="levels must be multiples of 128 features"):
        FrameLoop(device, HostDecoder(animator.runtime), animator.bundle, portrait.photo, [odd], 1)
    assert device.memory.keys() == before.keys()
