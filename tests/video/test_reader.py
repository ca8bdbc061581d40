from __future__ import annotations

import os
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st

from moue.errors import CurveError, VideoError
from moue.video import VideoReader, write_frames
from moue.video.reader import steady


def display_matrix(a: int, b: int, c: int, d: int) -> bytes:
    """As an mp4 has it: pixel (x, y) is shown at (a x + c y, b x + d y), and the offset that fits."""
    fixed = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    return np.array(fixed, ">i4").tobytes()


IDENTITY = display_matrix(1, 0, 0, 1)
TURNS = [
    *((a, 0, 0, d) for a in (1, -1) for d in (1, -1)),
    *((0, b, c, 0) for b in (1, -1) for c in (1, -1)),
]  # by quarters, mirrored or not


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


@pytest.mark.parametrize("turn", TURNS)
def test_turned_and_mirrored_as_the_file_asks(smooth, tmp_path, turn):
    path = tmp_path / "out.mp4"
    write_frames(smooth(2), path, Fraction(30))
    stored = next(iter(VideoReader(path)))
    data = path.read_bytes()
    track = data.index(b"tkhd")  # the film's own matrix comes before; the track's turns the picture
    path.write_bytes(data[:track] + data[track:].replace(IDENTITY, display_matrix(*turn), 1))
    video = VideoReader(path)
    shown = next(iter(video))
    assert video.size == ((128, 96) if turn[0] else (96, 128)) == shown.shape[1::-1]
    y, x = np.mgrid[: stored.shape[0], : stored.shape[1]]
    a, b, c, d = turn
    across, down = a * x + c * y, b * x + d * y
    assert np.array_equal(shown[down - down.min(), across - across.min()], stored)


@pytest.mark.parametrize("make", [Path, str], ids=["path", "string"])
def test_a_name_with_a_colon_is_no_protocol(small_mp4, tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    Path("2026-11-28T14:22:05.mp4").write_bytes(small_mp4.read_bytes())
    assert len(list(VideoReader(make("2026-11-28T14:22:05.mp4")))) == 5
    Path("14:22").mkdir()
    write_frames(VideoReader("2026-11-28T14:22:05.mp4"), make("14:22/out.mp4"), 30)
    assert len(list(VideoReader(make("14:22/out.mp4")))) == 5


def test_a_rate_that_the_file_does_not_say_is_counted(tmp_path):
    path, times = tmp_path / "browser.webm", [33 * k + 7 * k * k % 20 for k in range(40)]  # ms
    with av.open(str(path), "w") as container:
        codec = container.add_stream("libvpx").codec_context
        codec.width, codec.height, codec.pix_fmt = 48, 32, "yuv420p"
        codec.time_base, codec.framerate = Fraction(1, 1000), Fraction(0)
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 5 * k, np.uint8))
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(codec.encode(frame))
        container.mux(codec.encode(None))
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate is None
    assert VideoReader(path).fps == pytest.approx(39_000 / times[-1], abs=1e-4)


def test_the_rate_of_a_gif_is_that_of_all_its_frames(smooth, tmp_path):
    write_frames(smooth(31), tmp_path / "out.gif", Fraction(30))  # each 3 or 4 hundredths long
    assert VideoReader(tmp_path / "out.gif").fps == 30


def cover_alone(path):
    """A song with a picture on its cover."""
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = 48, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8))
        container.mux(cover.encode(picture.reformat(format="yuvj420p")))
        container.mux(cover.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        silence.rate = 8000
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))


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
        (cover_alone, "holds a still picture, and no video"),
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
