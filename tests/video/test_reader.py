from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moue.errors import VideoError
from moue.video import read_frames, write_frames

IDENTITY = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
QUARTER_TURN = np.array([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30], ">i4").tobytes()


@pytest.fixture(scope="module")
def small_mp4(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.mp4"
    write_frames(np.zeros((5, 32, 48, 3), np.uint8), path, Fraction(30))
    return path


def test_reads_as_often_as_asked(smooth, tmp_path):
    write_frames(smooth(4), tmp_path / "out.mp4", Fraction(30))
    video = read_frames(tmp_path / "out.mp4")
    first, second = np.stack(list(video)), np.stack(list(video))
    assert first.shape == (4, 96, 128, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)


def test_turned_as_the_file_asks(smooth, tmp_path):
    path = tmp_path / "out.mp4"
    write_frames(smooth(2), path, Fraction(30))
    upright = next(iter(read_frames(path)))
    data = path.read_bytes()
    track = data.index(b"tkhd")  # the film's own matrix comes before; the track's turns the picture
    path.write_bytes(data[:track] + data[track:].replace(IDENTITY, QUARTER_TURN, 1))
    video = read_frames(path)
    assert video.size == (96, 128)
    assert np.array_equal(next(iter(video)), np.rot90(upright, -1)), "a quarter turn clockwise"


def no_pictures(path):
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.touch(), "cannot read the video"),
        (lambda path: path.write_text("no video\n" * 99), "cannot read the video"),
        (no_pictures, "no pictures"),
    ],
)
def test_what_is_no_video(tmp_path, make, words):
    make(tmp_path / "out.mp4")
    with pytest.raises(VideoError, match=words):
        read_frames(tmp_path / "out.mp4")


def test_a_title_in_another_encoding_does_not_matter(small_mp4, tmp_path):
    data = small_mp4.read_bytes()
    (tmp_path / "latin.mp4").write_bytes(data.replace(b"Lavf", b"\xe9\xe8\xfc\xf1"))
    assert len(list(read_frames(tmp_path / "latin.mp4"))) == 5


def frames_or_refusal(path: Path) -> int | str:
    """How many frames a file that may be damaged gives, or the words it is refused with."""
    try:
        return len(list(read_frames(path)))
    except VideoError as error:
        return str(error)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_video_is_refused_or_ends_early(small_mp4, tmp_path, share):
    whole = small_mp4.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(share * len(whole))])
    outcome = frames_or_refusal(tmp_path / "cut.mp4")
    assert isinstance(outcome, str) or outcome < 5


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1))
def test_a_damaged_video_raises_nothing_but_video_error(small_mp4, changes):
    data = bytearray(small_mp4.read_bytes())
    for place, byte in changes:
        data[place % len(data)] = byte
    damaged = small_mp4.with_name("damaged.mp4")
    damaged.write_bytes(data)
    assert "\n" not in str(frames_or_refusal(damaged))
