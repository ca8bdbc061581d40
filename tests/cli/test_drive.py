from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
import pytest

from moue import ActionCurve
from moue.tracking import Tracker
from moue.video import VideoReader
from tests.cli import assert_one_line
from tests.video.test_sound import beeping, heard

NTSC = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def performance(sliding):
    return sliding(16, NTSC)


@pytest.fixture
def drive(moue, tiny_bundle, photo):
    """drive(VIDEO, …) drives the portrait with the tiny bundle."""
    return lambda *argv: moue("drive", photo, *argv, "--bundle", tiny_bundle, "--threads", 1)


def test_drive(drive, moue, animate, performance, photo, tmp_path):
    out, curve = tmp_path / "out.mp4", tmp_path / "a.json"
    ran = drive(performance, "-o", out, "--save-curve", curve)
    assert ran == (0, "", f"{out}: 16 frames, 512×512, 0.5339 s; a face in 16 of 16\n")
    video = VideoReader(out)
    assert (video.fps, len(list(video))) == (NTSC, 16)
    saved = ActionCurve.from_json(curve)
    assert (saved.fps, len(saved), len(saved.actions)) == (NTSC, 16, 54)
    assert animate("--curve", curve, "-o", tmp_path / "again.mp4").code == 0
    for one, other in zip(video, VideoReader(tmp_path / "again.mp4"), strict=True):
        assert np.abs(one.astype(int) - other).mean() < 1


def test_a_smaller_one_of_one_brow_alone(drive, performance, tmp_path):
    out, curve = tmp_path / "out.mp4", tmp_path / "a.json"
    brow = "all=0,browDown=2,browDownRight=0"
    ran = drive(performance, "-o", out, "--size", 128, "--save-curve", curve, "--gain", brow)
    assert ran.err.startswith(f"{out}: 16 frames, 128×128, ")
    saved = ActionCurve.from_json(curve)
    moved = {
        name for name, column in zip(saved.actions, saved.values.T, strict=True) if column.any()
    }
    assert moved == {"browDownLeft"}


def test_the_search_for_rest_can_be_interrupted(drive, performance, monkeypatch, tmp_path):
    def interrupted(self, frame, seconds):
        assert threading.current_thread() is threading.main_thread()
        raise KeyboardInterrupt

    monkeypatch.setattr(Tracker, "measure", interrupted)
    assert drive(performance, "-o", tmp_path / "out.mp4") == (130, "", "moue: error: interrupted\n")
    assert not list(tmp_path.glob("*out*"))


def test_the_sound_comes_along(drive, tmp_path, portrait_photo, monkeypatch):
    source = beeping(tmp_path / "in.mp4", "aac")
    ran = drive(source, "-o", tmp_path / "out.mp4")
    assert_one_line(ran, 1, "no face found in")
    assert not (tmp_path / "out.mp4").exists()
    faces = Tracker.measure

    def seen(self, frame, seconds):
        return faces(self, portrait_photo, seconds)

    monkeypatch.setattr(Tracker, "measure", seen)
    ran = drive(source, "-o", tmp_path / "out.mp4")
    assert "3.003 s with sound; a face in 90 of 90" in ran.err
    assert heard(tmp_path / "out.mp4") == pytest.approx(heard(source), abs=0.03)
    ran = drive(source, "-o", tmp_path / "silent.mp4", "--no-sound", "--fps", "10")
    assert "31 frames" in ran.err
    assert "with sound" not in ran.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["-o", "out.png"], 2, "a performance needs a clip"),
        (["-o", "out.avi"], 1, "end it with .mp4"),
        (["-o", "out.mp4", "--neutral", "none.npz"], 2, "cannot read the neutral face none.npz"),
        (["-o", "out.mp4", "--neutral", "-1"], 2, "first hour"),
        (["-o", "out.mp4", "--neutral", "9999"], 2, "first hour"),
        (["-o", "out.mp4", "--neutral", "7"], 1, "no face is seen at 7 s"),
        (["-o", "out.mp4", "--scores", "none.task"], 1, "cannot read none.task"),
        (["-o", "out.mp4", "--gain", "jawopen=1"], 1, "did you mean jawOpen"),
        (["-o", "out.mp4", "--gain", "jawOpen=100"], 1, "jawOpen must be in [0, 10]"),
        (["-o", "out.mp4", "--gain", "jaw=1"], 1, "unknown action 'jaw'"),
        (["-o", "out.mp4", "--low", "mouthSmile=1"], 1, "mouthSmileLeft must be in [0, 0.99]"),
        (["-o", "out.mp4", "--size", "0"], 2, "must be a number of pixels"),
        (["-o", "out.mp4", "--fps", "500"], 1, "at most 240"),
        (["-o", "out.mp4", "--save-curve", "missing/a.json"], 1, "there is no folder"),
    ],
)
def test_refusals(drive, performance, tmp_path, monkeypatch, options, code, words):
    monkeypatch.chdir(tmp_path)
    assert_one_line(drive(performance, *options), code, words)
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_never_written(moue, drive, performance, photo):
    assert_one_line(drive(performance, "-o", performance), 2, "is what is read")
    kept = photo.read_bytes()
    for path, words in ((photo, "is what is read"), ("out.mp4", "is the clip of -o")):
        ran = drive(performance, "-o", "out.mp4", "--save-curve", path)
        assert_one_line(ran, 2, f"--save-curve {path} {words}")
    assert photo.read_bytes() == kept
    assert_one_line(drive("missing.mp4", "-o", "out.mp4"), 1, "missing.mp4: No such file")
