from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from moue.errors import OutputError, RuntimeUnavailableError
from moue.video import VideoReader
from moue.video.outlets import Recording, VirtualCamera, fitted


def test_a_recording_keeps_the_time_at_a_constant_rate(tmp_path):
    recording = Recording(tmp_path / "out.mp4")
    for k, seconds in enumerate([100.0, 100.02, 100.1, 100.5, 101.0]):
        recording.add(np.full((32, 32, 3), 50 * k, np.uint8), seconds)
    written = recording.close()
    assert written is not None
    assert written.frames == 31
    levels = [round(frame.mean() / 50) for frame in VideoReader(tmp_path / "out.mp4")]
    assert [levels.count(k) for k in range(5)] == [1, 2, 12, 15, 1]


def test_a_recording_of_nothing_leaves_nothing(tmp_path):
    assert Recording(tmp_path / "out.mp4").close() is None
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_cannot_be(tmp_path):
    with pytest.raises(OutputError, match="no folder"):
        Recording(tmp_path / "missing" / "out.mp4")
    recording = Recording(tmp_path / "out.mp4")
    recording.add(np.zeros((32, 32, 3), np.uint8), 0.0)
    recording.add(np.zeros((48, 32, 3), np.uint8), 1.0)
    recording.add(np.zeros((48, 32, 3), np.uint8), 2.0)
    with pytest.raises(OutputError, match="as the first"):
        recording.close()
    assert recording.failed
    assert list(tmp_path.iterdir()) == []


def test_a_recording_lost_to_a_fault_that_nobody_foresaw_is_said(tmp_path, monkeypatch):
    def out_of_memory(frames, *_):
        raise MemoryError

    monkeypatch.setattr("moue.video.outlets.write_frames", out_of_memory)
    recording = Recording(tmp_path / "out.mp4")
    recording.add(np.zeros((32, 32, 3), np.uint8), 0.0)
    with pytest.raises(OutputError, match="MemoryError"):
        recording.close()


def test_ctrl_c_does_not_break_a_recording_off(tmp_path, monkeypatch):
    recording = Recording(tmp_path / "out.mp4")
    recording.add(np.zeros((32, 32, 3), np.uint8), 0.0)
    join, pressed = recording._thread.join, [KeyboardInterrupt, KeyboardInterrupt]

    def interrupted() -> None:
        if pressed:
            raise pressed.pop()
        join()

    monkeypatch.setattr(recording._thread, "join", interrupted)
    assert recording.close() is not None
    assert not pressed


def test_an_encoder_that_is_behind_costs_frames_not_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("moue.video.outlets.BACKLOG", 4)
    recording = Recording(tmp_path / "out.mp4")
    for k in range(200):
        recording.add(np.zeros((720, 720, 3), np.uint8), k / 30)
    assert recording.left_out > 0
    assert recording.close() is not None


def test_a_virtual_camera_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(RuntimeUnavailableError, match="pip install pyvirtualcam"):
        VirtualCamera((64, 64))


def test_a_virtual_camera_needs_its_device(monkeypatch):
    def none(*_, **__):
        raise RuntimeError("v4l2loopback backend: no device found")

    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=none))
    with pytest.raises(RuntimeUnavailableError, match="modprobe v4l2loopback"):
        VirtualCamera((64, 64))


def test_a_virtual_camera_gets_rgb(monkeypatch):
    sent = []
    camera = SimpleNamespace(
        device="/dev/video9", send=sent.append, close=lambda: sent.append(None)
    )
    opened = SimpleNamespace(Camera=lambda width, height, fps, print_fps: camera)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", opened)
    out = VirtualCamera((4, 2))
    assert out.device == "/dev/video9"
    frame = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    out.send(frame[:, ::-1])
    out.close()
    assert np.array_equal(sent[0], frame[:, ::-1])
    assert sent[0].flags.c_contiguous
    assert sent[1] is None


def test_another_size_is_fitted_whole():
    wide = np.full((10, 40, 3), 200, np.uint8)
    assert fitted(wide, (40, 10)) is wide
    square = fitted(wide, (20, 20))
    assert square.shape == (20, 20, 3)
    assert (square[8:12, 2:18] == 200).all()
    assert not square[:6].any()
