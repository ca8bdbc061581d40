from __future__ import annotations

import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from moue.errors import VideoError
from moue.video import Sound, VideoReader, write_frames

NTSC = Fraction(30000, 1001)
RATE = 44100  # Hz
BEEPS = (0.5, 1.5, 2.5)  # s


def beeping(
    path: Path,
    codec: str,
    rate: int = RATE,
    late: Fraction = Fraction(0),
    silent: tuple[float, float] = (0, 0),
    jump: int = 0,
) -> Path:
    """Three seconds of dark pictures; at each beep one that is bright. `late` starts both later.

    In the seconds that are `silent` there is no sound at all, not even one of silence; from the second
    second on its clock is `jump` seconds late.
    """
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("libx264", rate=NTSC)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        pictures.codec_context.time_base = 1 / NTSC
        sound = out.add_stream(codec, rate=rate)
        sound.layout = "mono"
        for k in range(90):
            bright = any(k == round(beep * NTSC) for beep in BEEPS)
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255 * bright, np.uint8))
            frame.pts, frame.time_base = k + round(late * NTSC), 1 / NTSC
            out.mux(pictures.encode(frame))
        out.mux(pictures.encode(None))
        t = np.arange(3 * rate) / rate
        tone = np.sin(2 * np.pi * 1000 * t) * np.isin(np.floor(t * 20), [20 * b for b in BEEPS])
        resampler = av.AudioResampler(sound.codec_context.format, "mono", rate)
        for start in range(0, len(tone), 1024):
            if silent[0] <= start / rate < silent[1]:
                continue
            part = av.AudioFrame.from_ndarray(
                (tone[None, start : start + 1024] * 30000).astype(np.int16), "s16", "mono"
            )
            part.sample_rate, part.pts = rate, start + round(late * rate)
            part.pts += jump * rate * (start >= 2 * rate)
            part.time_base = Fraction(1, rate)
            for fitting in resampler.resample(part):
                fitting.pts, fitting.time_base = part.pts, part.time_base
                out.mux(sound.encode(fitting))
        out.mux(sound.encode(None))
    return path


def heard(path: Path) -> list[float]:
    """Seconds after the first picture at which beeps begin."""
    start = VideoReader(path).start
    with av.open(str(path)) as container:
        begins, loud, rate = [], [], 1
        for frame in container.decode(audio=0):
            rate = frame.sample_rate
            begins.append(float(frame.pts * frame.time_base))
            level = np.abs(frame.to_ndarray().astype(np.float32)).max(axis=0)
            loud.append(level / (32768 if frame.format.name.startswith("s16") else 1) > 0.2)
        flags = np.concatenate(loud)
        edges = np.flatnonzero(flags & ~np.concatenate([[False], flags[:-1]])) / rate
        onsets = [edge for k, edge in enumerate(edges) if k == 0 or edge - edges[k - 1] > 0.3]
        return [begins[0] - float(start) + onset for onset in onsets]


@pytest.mark.parametrize(
    ("name", "codec", "rate", "late", "kept"),
    [
        ("in.mp4", "aac", RATE, Fraction(0), True),
        ("in.mp4", "aac", RATE, Fraction(3, 2), True),
        ("in.mkv", "libmp3lame", RATE, Fraction(0), True),
        ("in.mkv", "libopus", 48000, Fraction(0), False),
        ("in.mkv", "pcm_s16le", 22050, Fraction(1), False),
    ],
)
def test_beeps_stay_with_their_pictures(tmp_path, name, codec, rate, late, kept):
    source = beeping(tmp_path / name, codec, rate, late)
    video = VideoReader(source)
    with Sound(video.path, video.start) as sound:
        write_frames(video.steady(NTSC), tmp_path / "out.mp4", NTSC, sound)
    out = VideoReader(tmp_path / "out.mp4")
    bright = [k for k, frame in enumerate(out) if frame.mean() > 128]
    assert [k / float(NTSC) for k in bright] == pytest.approx(BEEPS, abs=0.02)
    assert heard(tmp_path / "out.mp4") == pytest.approx(BEEPS, abs=0.03)
    with av.open(str(tmp_path / "out.mp4")) as container:
        name = container.streams.audio[0].codec_context.codec.canonical_name
        assert name == ("mp3" if codec == "libmp3lame" and kept else "aac")


@pytest.mark.parametrize(
    ("codec", "rate"), [("flac", RATE), ("pcm_s16le", 22050), ("pcm_s16le", 48000)]
)
def test_a_pause_takes_its_time(tmp_path, codec, rate):
    source = beeping(tmp_path / "in.mkv", codec, rate, silent=(0.7, 1.3))
    with Sound(source) as sound:
        write_frames(VideoReader(source).steady(30), tmp_path / "out.mp4", 30, sound)
    assert heard(tmp_path / "out.mp4") == pytest.approx(BEEPS, abs=0.03)
    with av.open(str(tmp_path / "out.mp4")) as container:
        *_, last = container.decode(audio=0)
        assert float(last.pts * last.time_base) > 2.95  # none of its end is missing


def test_a_damaged_time_ends_the_sound_alone(tmp_path, caplog):
    source = beeping(tmp_path / "in.mkv", "pcm_s16le", jump=100_000)
    with Sound(source) as sound:
        written = write_frames(VideoReader(source).steady(NTSC), tmp_path / "out.mp4", NTSC, sound)
    assert written.frames == 90
    assert heard(tmp_path / "out.mp4") == pytest.approx(BEEPS[:2], abs=0.03)
    assert "it pauses for more than 120 s" in caplog.text


def test_a_video_that_is_not_there_is_said(tmp_path):
    with pytest.raises(VideoError, match=r"cannot read .*nope\.mp4: No such file"):
        Sound(tmp_path / "nope.mp4")


def test_the_sound_ends_with_the_pictures(tmp_path):
    source = beeping(tmp_path / "in.mp4", "aac")
    with Sound(source) as sound:
        write_frames(np.zeros((30, 32, 32, 3), np.uint8), tmp_path / "out.mp4", NTSC, sound)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(1.0, abs=0.05)


def test_no_sound_is_no_error_and_a_gif_takes_none(tmp_path, smooth):
    silent, out = tmp_path / "silent.mp4", tmp_path / "out.gif"
    write_frames(smooth(3), silent, NTSC)
    for path in (silent, beeping(tmp_path / "in.mp4", "aac")):
        with Sound(path) as sound:
            assert sound.exists == (path != silent)
            assert write_frames(smooth(3), tmp_path / "out.mp4", NTSC, sound).frames == 3
            assert write_frames(smooth(3), out, Fraction(25), sound).frames == 3


def test_damaged_sound_costs_no_picture(tmp_path, caplog):
    source = beeping(tmp_path / "in.mkv", "pcm_s16le")
    data = bytearray(source.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20000] = bytes(20000)
    source.write_bytes(data)
    with Sound(source) as sound:
        written = write_frames(np.zeros((90, 32, 32, 3), np.uint8), tmp_path / "o.mp4", NTSC, sound)
    assert written.frames == 90


def test_memory_does_not_grow(tmp_path):
    source = beeping(tmp_path / "in.mp4", "aac")
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0

    def watched():
        nonlocal most
        for frame in VideoReader(source).steady(NTSC):
            own = frame.view(type("Own", (np.ndarray,), {"__hash__": object.__hash__}))
            alive.add(own)
            most = max(most, len(alive))
            yield own

    with Sound(source) as sound:
        write_frames(watched(), tmp_path / "out.mp4", NTSC, sound)
    assert most <= 4
