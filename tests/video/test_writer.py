from __future__ import annotations

import io
import os
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from moue.errors import CurveError, OutputError
from moue.video import VideoReader, Written, check_output, check_rate, clip, write_frames

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize("fps", [Fraction(30), NTSC, Fraction(24000, 1001), Fraction(25, 2)])
def test_mp4_comes_back_in_its_colours_and_at_its_rate(smooth, tmp_path, fps):
    written = write_frames(smooth(12), tmp_path / "out.mp4", fps)
    assert written == Written(tmp_path / "out.mp4", 12, (128, 96), float(12 / fps))
    video = VideoReader(tmp_path / "out.mp4")
    assert (video.fps, video.size) == (fps, (128, 96))
    back = np.stack(list(video)).astype(int)
    assert len(back) == 12
    assert np.abs(back - np.stack(list(smooth(12)))).mean() <= 2


@pytest.mark.parametrize(
    ("rate", "fps"), [(30, 30), (29.97, NTSC), ("30000/1001", NTSC), ("25", 25), (12.5, 12.5)]
)
def test_rates_as_they_are_written_elsewhere(smooth, tmp_path, rate, fps):
    written = write_frames(smooth(3), tmp_path / "out.mp4", rate)
    assert written.seconds == float(3 / Fraction(fps))
    assert VideoReader(tmp_path / "out.mp4").fps == fps


@pytest.mark.parametrize("rate", [0, -30, float("nan"), True, None, "fast", "30/0", 1001, [30]])
@pytest.mark.parametrize("name", ["out.mp4", "frames/"])
def test_rates_that_are_none(smooth, tmp_path, name, rate):
    with pytest.raises(CurveError, match="fps must be a number above 0, up to 1000, but got"):
        write_frames(smooth(3), f"{tmp_path}/{name}", rate)
    assert list(tmp_path.iterdir()) == []


def test_mp4_is_what_browsers_play(smooth, tmp_path):
    write_frames(smooth(3), tmp_path / "out.mp4", NTSC)
    with av.open(str(tmp_path / "out.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.color_range) == (
            "h264",
            "yuv420p",
            clip.LIMITED_RANGE,
        )
        assert {codec.colorspace, codec.color_primaries, codec.color_trc} == {clip.BT709}
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index comes first: plays while it loads"


def test_odd_sides_repeat_the_last_row_and_column(smooth, tmp_path):
    written = write_frames(smooth(2, 95, 127), tmp_path / "out.mp4", NTSC)
    assert written.size == (128, 96)
    frame = next(iter(VideoReader(tmp_path / "out.mp4"))).astype(int)
    assert frame.shape == (96, 128, 3)
    assert np.abs(frame[95] - frame[94]).mean() <= 3
    assert np.abs(frame[:, 127] - frame[:, 126]).mean() <= 3


@pytest.mark.parametrize(
    ("name", "rate", "tolerance"), [("out.gif", NTSC, 8), ("out.webp", NTSC, 3)]
)
def test_animation_loops_and_lasts_as_long_as_asked(smooth, tmp_path, name, rate, tolerance):
    write_frames(smooth(30), tmp_path / name, rate)
    with Image.open(tmp_path / name) as image:
        assert image.info["loop"] == 0
        milliseconds = 0
        for k in range(image.n_frames):
            image.seek(k)
            image.load()
            milliseconds += image.info["duration"]
        assert milliseconds == pytest.approx(30_000 / NTSC, abs=10)
        last = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(last - list(smooth(30))[-1]).mean() <= tolerance


def test_gif_pixels_that_do_not_change_keep_their_colour(smooth, tmp_path):
    write_frames(smooth(10), tmp_path / "out.gif", Fraction(20))
    frames = [frame[32:] for frame in VideoReader(tmp_path / "out.gif")]  # below the moving square
    assert len(frames) == 10
    assert all(np.array_equal(frame, frames[0]) for frame in frames)


def test_what_changes_slowly_does_not_lag(tmp_path):
    """One level a frame, which nobody sees from one to the next."""
    rng = np.random.default_rng(0)
    still = np.kron(rng.integers(60, 120, (9, 7, 3)), np.ones((9, 9, 1)))
    frames = [(still + k).astype(np.uint8) for k in range(60)]
    write_frames(frames, tmp_path / "out.webp", 30)
    with Image.open(tmp_path / "out.webp") as clip:
        shown = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(clip)]
    for frame, wanted in zip(shown, frames, strict=True):
        assert abs(frame.mean() - wanted.mean()) < 1


def test_one_picture(smooth, tmp_path):
    write_frames(smooth(1), tmp_path / "out.PNG", NTSC)
    with Image.open(tmp_path / "out.PNG") as image:
        assert np.array_equal(np.asarray(image), next(smooth(1)))


@pytest.mark.parametrize("before", [None, [], [5], [*range(9)]])
def test_folder_of_pictures_replaces_the_frames_before(smooth, tmp_path, before):
    folder = tmp_path / "frames"
    if before is not None:
        folder.mkdir()
        (folder / ".hidden").touch()
        for k in before:
            write_frames(smooth(1), folder / f"{k:03d}.png", NTSC)
    write_frames(smooth(3), f"{folder}/", NTSC)
    assert sorted(p.name for p in folder.glob("[!.]*")) == ["000.png", "001.png", "002.png"]
    for k, frame in enumerate(smooth(3)):
        with Image.open(folder / f"{k:03d}.png") as image:
            assert np.array_equal(np.asarray(image), frame)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out.webp", "out.png", "new/", "old/"])
@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_what_was_there(smooth, tmp_path, name, failure):
    (tmp_path / "old").mkdir()
    write_frames(smooth(1), tmp_path / "old" / "000.png", NTSC)
    for file in ("out.mp4", "out.gif", "out.webp", "out.png"):
        (tmp_path / file).write_bytes(b"old")
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}

    def failing():
        yield from smooth(1 if name == "out.png" else 4)
        raise failure("on purpose")

    with pytest.raises(OutputError if failure is OSError else failure):
        write_frames(failing(), f"{tmp_path}/{name}", NTSC)
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out.webp", "frames/"])
def test_frames_are_let_go_as_they_are_written(smooth, tmp_path, name, monkeypatch):
    monkeypatch.setattr(clip, "PALETTE_READ_AHEAD", 0)
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0

    def watched():
        nonlocal most
        for frame in smooth(40):
            copy = frame.view(type("Watched", (np.ndarray,), {"__hash__": object.__hash__}))
            alive.add(copy)
            most = max(most, len(alive))
            yield copy

    write_frames(watched(), f"{tmp_path}/{name}", NTSC)
    assert most <= 4


def unlike(smooth):
    return [next(smooth(1)), next(smooth(1, 48, 64))]


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (lambda smooth: [], "no frames"),
        (unlike, r"frame 1 must be \[96, 128, 3\] as the first"),
        (lambda smooth: [next(smooth(1)).astype(np.float32)], "frame 0 must be uint8"),
        (lambda smooth: [next(smooth(1))[..., 0]], r"frame 0 must be uint8 \[H, W, 3\]"),
    ],
)
@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out.png", "frames/"])
def test_frames_that_make_no_clip(smooth, tmp_path, name, frames, words):
    with pytest.raises(OutputError, match=words):
        write_frames(frames(smooth), f"{tmp_path}/{name}", NTSC)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.avi", "end it with .mp4"),
        ("", "end it with / to write 000.png"),
        ("folder", "end it with / to write 000.png"),
        ("folder.mp4", "is a folder"),
        ("file.mp4/x/out.png", "no folder"),
        ("missing/out.mp4", "no folder .*missing; make it first"),
        ("missing/frames/", "no folder .*missing; make it first"),
        ("file.mp4/", "is a file"),
        ("file.mp4/out.png", "no folder"),
        ("foreign/", "holds 'letter.txt'"),
        ("pipe.mp4", "not a regular file"),
    ],
)
def test_outputs_that_cannot_be(tmp_path, name, words):
    for folder in ("folder", "folder.mp4", "foreign"):
        (tmp_path / folder).mkdir()
    (tmp_path / "foreign" / "letter.txt").touch()
    (tmp_path / "file.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=words):
        check_output(f"{tmp_path}/{name}" if name else tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "fps", "words"),
    [("out.gif", 60, "at most 50 frames a second"), ("out.mp4", 241, "at most 240")],
)
def test_rates_no_player_shows(tmp_path, name, fps, words):
    with pytest.raises(OutputError, match=words):
        check_rate(check_output(tmp_path / name), Fraction(fps))


def test_a_pyav_without_the_encoder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(OutputError, match="no libx264 encoder"):
        check_output(tmp_path / "out.mp4")


def test_sides_no_clip_can_have(tmp_path):
    wide = np.zeros((2, 16386, 3), np.uint8)
    with pytest.raises(OutputError, match="at most 16384 px a side, but got 16386×2"):
        write_frames([wide], tmp_path / "out.mp4", NTSC)
    assert list(tmp_path.iterdir()) == []


def test_the_file_obeys_the_umask(smooth, tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    write_frames(smooth(1), Path(tmp_path / "out.mp4"), NTSC)
    assert (tmp_path / "out.mp4").stat().st_mode == plain.stat().st_mode


def test_a_name_without_a_suffix_is_a_folder(tmp_path):
    assert check_output(tmp_path / "frames").kind == "folder"
    assert check_output(tmp_path, stills=True).kind == "folder"
    with pytest.raises(OutputError, match="end it with /"):
        check_output(tmp_path)


@pytest.mark.parametrize("path", [io.BytesIO(), b"out.mp4", None, 3])
def test_frames_go_to_a_file_by_its_name(smooth, path):
    with pytest.raises(OutputError, match=r"by its name, but got .*TemporaryDirectory"):
        write_frames(smooth(1), path, NTSC)


def test_pictures_of_others_are_not_replaced(smooth, tmp_path):
    mine = tmp_path / "000.png"
    Image.fromarray(next(smooth(1))).save(mine)
    before = mine.read_bytes()
    with pytest.raises(OutputError, match=r"holds '000\.png', which is not one of moue's frames"):
        write_frames(smooth(2), f"{tmp_path}/", NTSC)
    assert mine.read_bytes() == before
    assert list(tmp_path.iterdir()) == [mine]


def test_frames_do_not_go_to_standard_output(smooth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"go to a file; name one that ends in \.mp4"):
        write_frames(smooth(2), "-", NTSC)
    assert not list(tmp_path.iterdir())
