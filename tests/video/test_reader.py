from __future__ import annotations

import os
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moue.errors import CurveError, VideoError
from moue.video import VideoReader, write_frames
from moue.video.reader import steady

IDENTITY = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
QUARTER_TURN = np.array([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30], ">i4").tobytes()


@pytest.fixture(scope="module")
def small_mp4(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.mp4"
    write_frames(np.zeros((5, 32, 48, 3), np.uint8), path, Fraction(30))
    return path


def test_reads_as_often_as_asked(smooth, tmp_path):
    write_frames(smooth(4), tmp_path / "out.mp4", Fraction(30))
    video = VideoReader(tmp_path / "out.mp4")
    first, second = np.stack(list(video)), np.stack(list(video))
    assert first.shape == (4, 96, 128, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)


def test_two_at_a_time_and_one_that_is_left_early(small_mp4):
    def held() -> int:
        """How many times this process has the file open."""
        descriptors = Path("/proc/self/fd").iterdir()
        return sum(os.path.realpath(each) == os.path.realpath(small_mp4) for each in descriptors)

    video = VideoReader(small_mp4)
    pairs = zip(video, video, strict=True)
    assert np.array_equal(*next(pairs))
    assert held() == 2
    assert len(list(pairs)) == 4
    frames = iter(video)
    next(frames)
    assert held() == 1
    frames.close()
    assert held() == 0


def test_turned_as_the_file_asks(smooth, tmp_path):
    path = tmp_path / "out.mp4"
    write_frames(smooth(2), path, Fraction(30))
    upright = next(iter(VideoReader(path)))
    data = path.read_bytes()
    track = data.index(b"tkhd")  # the film's own matrix comes before; the track's turns the picture
    path.write_bytes(data[:track] + data[track:].replace(IDENTITY, QUARTER_TURN, 1))
    video = VideoReader(path)
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
        (lambda path: path.mkdir(), "is not a file"),
        (os.mkfifo, "is not a file"),
        (lambda path: path.touch(), "cannot read the video"),
        (lambda path: path.write_text("no video\n" * 99), "cannot read the video"),
        (no_pictures, "no pictures"),
    ],
)
def test_what_is_no_video(tmp_path, make, words):
    make(tmp_path / "out.mp4")
    with pytest.raises(VideoError, match=words):
        VideoReader(tmp_path / "out.mp4")


def test_a_title_in_another_encoding_does_not_matter(small_mp4, tmp_path):
    data = small_mp4.read_bytes()
    (tmp_path / "latin.mp4").write_bytes(data.replace(b"Lavf", b"\xe9\xe8\xfc\xf1"))
    assert len(list(VideoReader(tmp_path / "latin.mp4"))) == 5


def frames_or_refusal(path: Path) -> int | str:
    """How many frames a file that may be damaged gives, or the words it is refused with."""
    try:
        return len(list(VideoReader(path)))
    except VideoError as error:
        return str(error)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_video_is_refused_or_ends_early(small_mp4, tmp_path, share):
    whole = small_mp4.read_bytes().partition(b"<?xpacket")[0]  # up to the mark, behind all frames
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


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 1, 4, 5], [0, 1, 1, 1, 2, 3]),  # a pause
        ([0, 0.3, 1, 2], [1, 2, 3]),  # too many in one frame's time: the last is shown
        ([0, 0.96, 2.04, 3.01], [0, 1, 2, 3]),  # times that were rounded
    ],
)
def test_frames_at_any_time_become_frames_at_one_rate(times, shown):
    fps = Fraction(30000, 1001)
    frames = [np.full((2, 2, 3), k, np.uint8) for k in range(len(times))]
    timed = [(Fraction(time) / fps, frame) for time, frame in zip(times, frames, strict=True)]
    assert [int(frame[0, 0, 0]) for frame in steady(timed, fps)] == shown


def write_at(path: Path, milliseconds: list[int]) -> None:
    """A video whose frames, each brighter than the last, are shown at any times."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for k, pts in enumerate(milliseconds):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * k, np.uint8))
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def test_a_frame_that_comes_hours_late_does_not_fill_a_disk(tmp_path):
    write_at(tmp_path / "late.mkv", [0, 33, 90_000_000])
    frames = VideoReader(tmp_path / "late.mkv").steady(30)
    next(frames)
    with pytest.raises(VideoError, match="shows one frame for 90000 s, from 0 s on"):
        next(frames)
    write_at(tmp_path / "slides.mkv", [0, 500_000])
    assert sum(1 for _ in VideoReader(tmp_path / "slides.mkv").steady(1)) == 501


def test_a_variable_rate_is_read_at_the_frames_own_times(tmp_path):
    path = tmp_path / "phone.mkv"
    milliseconds = [500, 533, 700, 733, 767, 1100]  # a phone in the dark; the clock starts late
    write_at(path, milliseconds)
    video = VideoReader(path)
    assert video.start == Fraction(1, 2)
    times = [float(seconds) for seconds, _ in video.timed()]
    assert times == pytest.approx([(ms - 500) / 1000 for ms in milliseconds], abs=0.002)
    levels = [round(frame.mean() / 40) for frame in video.steady(30)]
    assert levels == [0, 1, 1, 1, 1, 1, 2, 3, *[4] * 10, 5]
    assert len(list(video.steady("30000/1001"))) == len(levels)
    with pytest.raises(CurveError, match="fps must be"):
        video.steady(0)
