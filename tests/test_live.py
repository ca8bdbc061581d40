from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moue.actions import ACTIONS
from moue.live import Live, prepare
from moue.performers import Moment
from moue.video import VideoReader
from moue.video.outlets import Recording

JAW = ACTIONS.index("jawOpen")


class Puppet:
    """A performer that opens its mouth more with every moment, and stops after so many."""

    losses = 0
    mirror = False

    def __init__(self, moments: int) -> None:
        self.left = moments
        self.calibrated = 0

    @property
    def ended(self) -> bool:
        return self.left <= 0

    def next(self, timeout: float) -> Moment | None:
        self.left -= 1
        if self.left % 3 == 0:
            return None
        weights = np.zeros(len(ACTIONS), np.float32)
        weights[JAW] = 1 / (1 + self.left)
        return Moment(time.monotonic() - 0.02, weights, 1.0, fresh=True)

    def calibrate(self) -> bool:
        self.calibrated += 1
        return False


class Screen:
    """Keeps what it is shown, and presses a key after each frame."""

    def __init__(self, keys: str = "") -> None:
        self.keys = list(keys)
        self.closed = False
        self.frames: list[np.ndarray] = []
        self.texts: list[list[str]] = []

    def show(self, frame, text=()):
        self.frames.append(frame)
        self.texts.append(list(text))
        return self.keys.pop(0) if self.keys else ""


@pytest.fixture(scope="module")
def small(animator, portrait_photo):
    return prepare(animator, portrait_photo, 128, "largest")


def test_every_moment_becomes_its_frame(animator, small):
    screen = Screen()
    session = Live(animator, [small], Puppet(30), screen).run()
    assert session.frames == 20
    assert len(screen.frames) == 30, "drawn, and keys taken, where nothing new has come too"
    assert np.array_equal(screen.frames[-1], animator.frame(small, {"jawOpen": 0.5}))
    assert session.latency.shape == (20,)
    assert (session.latency >= 0.02).all()
    assert "20 frames in" in str(session)
    assert "capture to output" in str(session)


def test_keys(animator, small, portrait_photo, caplog):
    other = prepare(animator, portrait_photo[:, ::-1], 128, "largest")
    puppet, screen = Puppet(1000), Screen("nxmx xoxoq")
    stage = Live(animator, [small, other], puppet, screen)
    stage.run()
    assert len(screen.frames) == 10
    assert puppet.calibrated == 1
    assert "no face has been seen" in caplog.text
    assert puppet.mirror
    still = [np.abs(frame.astype(int) - other.photo).mean() for frame in screen.frames]
    assert max(still[5:]) < 10 < min(still[:5]), "the other portrait"
    assert screen.texts[1] != []
    assert screen.texts[7] == []
    assert "mirror" in screen.texts[4][0]


def test_a_window_shows_the_photo_and_takes_keys_before_anything_has_come(animator, small):
    class Nobody(Puppet):
        def next(self, timeout: float) -> Moment | None:
            return None

    screen = Screen("xxq")
    session = Live(animator, [small], Nobody(1), screen).run(seconds=60)
    assert session.frames == 0
    assert len(screen.frames) == 3
    assert all(np.array_equal(frame, small.photo) for frame in screen.frames)
    assert "no face" in screen.texts[0][0]


def test_a_closed_window_or_the_time_ends_it(animator, small):
    screen = Screen()
    screen.closed = True
    assert Live(animator, [small], Puppet(1000), screen).run().frames == 0
    session = Live(animator, [small], Puppet(10**9)).run(seconds=0.2)
    assert 0.2 <= session.seconds < 1
    assert session.frames > 0


def test_a_recording_of_nothing_is_said(animator, small, tmp_path, caplog):
    stage = Live(animator, [small], Puppet(1), recording=Recording(tmp_path / "out.mp4"))
    assert stage.run().frames == 0
    assert stage.lost_recording
    assert "no frame has come" in caplog.text
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_it_well(animator, small, tmp_path):
    class Interrupted(Puppet):
        def next(self, timeout: float) -> Moment | None:
            if self.left == 1:
                raise KeyboardInterrupt
            return super().next(timeout)

    recording = Recording(tmp_path / "out.mp4")
    session = Live(animator, [small], Interrupted(10), recording=recording).run()
    assert session.frames == 6
    assert len(list(VideoReader(tmp_path / "out.mp4"))) > 0


def test_recordings_are_begun_and_ended_by_key(animator, small, tmp_path, caplog):
    screen = Screen("xrxrxx")
    recording = Recording(tmp_path / "out.mp4")
    Live(animator, [small], Puppet(60), screen, recording).run()
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out-2.mp4"}
    assert "REC" in screen.texts[0][0]
    assert "REC" not in screen.texts[2][0]


def test_a_recording_by_key_replaces_nothing(animator, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("moue.mp4").write_bytes(b"mine")
    Live(animator, [small], Puppet(60), Screen("rxxrrxx")).run()
    assert {path.name for path in tmp_path.iterdir()} == {"moue.mp4", "moue-2.mp4", "moue-3.mp4"}
    assert Path("moue.mp4").read_bytes() == b"mine"


def test_a_recording_that_fails_is_said_and_the_show_goes_on(animator, small, tmp_path, caplog):
    recording = Recording(tmp_path / "out.mp4")
    first = np.zeros((2, 2, 3), np.uint8)  # of another size than the frames to come
    recording.add(first, time.monotonic() - 0.5)
    stage = Live(animator, [small], Puppet(60), recording=recording)
    assert stage.run().frames == 40
    assert stage.lost_recording
    assert caplog.text.count("the recording is lost") == 1


def test_portraits_are_made_as_large_as_live_needs(animator, portrait_photo):
    assert prepare(animator, portrait_photo, 200, 1).photo.shape == (200, 200, 3)
    assert prepare(animator, portrait_photo, 720, 1).photo.shape == (512, 512, 3)
    wide = np.hstack([portrait_photo, portrait_photo[:, :99]])
    small = prepare(animator, wide, 200, 1).photo
    assert small.shape == (200, 239, 3)
    with Image.fromarray(wide) as image:
        means = np.asarray(image.resize((239, 200), Image.Resampling.BOX), int)
    assert np.abs(small - means).mean() < 4, "the same picture"
