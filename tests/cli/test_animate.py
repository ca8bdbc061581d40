from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moue import face_commands, mix
from moue.video import VideoReader
from tests.cli import assert_one_line


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_clip(animate, tmp_path):
    ran = animate("--expression", "happy", "--fps", "30000/1001", "-o", tmp_path / "out.mp4")
    assert ran == (0, "", f"{tmp_path}/out.mp4: 60 frames, 512×512, 2.002 s\n")
    video = VideoReader(tmp_path / "out.mp4")
    assert (video.fps, video.size, len(list(video))) == (Fraction(30000, 1001), (512, 512), 60)


def test_a_frame_per_degree(animate, tmp_path, portrait_photo):
    ran = animate("--expression", "sad", "--degrees", "0,0.5,1,0", "-o", f"{tmp_path}/new/")
    assert ran == (0, "", f"{tmp_path}/new: 4 frames, 512×512\n")
    frames = [picture(tmp_path / "new" / f"{k:03d}.png") for k in range(4)]
    assert np.array_equal(frames[0], portrait_photo)
    assert np.array_equal(frames[3], portrait_photo)
    assert not np.array_equal(frames[1], frames[2])


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        (["--expression", "happy"], {"happy": 1.0}),
        (["--expression", "happy", "--degrees", ".5"], {"happy": 0.5}),
        (["--mix", "happy=.5,sad=.25"], {"happy": 0.5, "sad": 0.25}),
    ],
)
def test_one_picture(animate, animator, portrait, tmp_path, options, weights):
    ran = animate(*options, "-o", tmp_path / "out.png")
    assert ran == (0, "", f"{tmp_path}/out.png: 1 frame, 512×512\n")
    assert np.array_equal(picture(tmp_path / "out.png"), animator.frame(portrait, mix(weights)))


def test_actions_alone_and_added(animate, animator, portrait, tmp_path):
    animate("--action", "jawOpen=0.4", "--action", "eyeBlinkLeft=1", "-o", tmp_path / "a.png")
    expected = animator.frame(portrait, {"jawOpen": 0.4, "eyeBlinkLeft": 1.0})
    assert np.array_equal(picture(tmp_path / "a.png"), expected)
    animate("--expression", "happy", "--action", "eyeBlinkLeft=1", "-o", tmp_path / "b.png")
    expected = animator.frame(portrait, mix({"happy": 1.0}, {"eyeBlinkLeft": 1.0}))
    assert np.array_equal(picture(tmp_path / "b.png"), expected)


def test_there_and_back(animate, tmp_path, portrait_photo):
    options = ["--expression", "fear", "--curve", "pulse", "--seconds", "0.5", "--fps", "10"]
    assert animate(*options, "-o", f"{tmp_path}/frames/").code == 0
    frames = [picture(path) for path in sorted((tmp_path / "frames").iterdir())]
    assert len(frames) == 5
    assert np.array_equal(frames[0], portrait_photo)
    assert np.array_equal(frames[4], portrait_photo)


def test_as_far_and_as_long_as_is_said(animate, animator, portrait, tmp_path):
    options = ["--expression", "sad", "--seconds", "0.3", "--fps", "10"]
    options += ["--degree", ".5", "--hold", ".2"]
    peak = animator.frame(portrait, mix({"sad": 0.5}))
    for curve, held in (("rise", [2, 3, 4]), ("pulse", [1, 2, 3])):
        folder = tmp_path / curve
        assert animate(*options, "--curve", curve, "-o", f"{folder}/").code == 0
        frames = [picture(path) for path in sorted(folder.iterdir())]
        assert [np.array_equal(frame, peak) for frame in frames] == [k in held for k in range(5)]
    assert animate("--expression", "sad", "--degree", "0.5", "-o", tmp_path / "out.png").code == 0
    assert np.array_equal(picture(tmp_path / "out.png"), peak)


def test_one_degree_makes_a_picture_but_no_film(animate, tmp_path):
    words = "--expression", "sad", "--degrees", "0.5", "-o"
    assert animate(*words, tmp_path / "out.webp").err.startswith(f"{tmp_path}/out.webp: 1 frame, ")
    ran = animate(*words, tmp_path / "out.mp4")
    assert_one_line(ran, 2, "one degree is one frame, over before it is seen; end -o with .png")
    assert not (tmp_path / "out.mp4").exists()


def test_a_curve_of_keys(animate, animator, portrait, tmp_path):
    keys = [{"at": 0}, {"at": 0.2, "mouthSmile": 0.5}, {"at": 0.4, "jawOpen": 1}]
    (tmp_path / "keys.json").write_text(json.dumps({"fps": 10, "keys": keys}))
    ran = animate("--curve", tmp_path / "keys.json", "-o", f"{tmp_path}/out/")
    assert ran == (0, "", f"{tmp_path}/out: 5 frames, 512×512\n")
    poses = [{}, {"mouthSmile": 0.25}, {"mouthSmile": 0.5}]
    poses += [{"mouthSmile": 0.25, "jawOpen": 0.5}, {"jawOpen": 1}]
    for k, pose in enumerate(poses):
        assert np.array_equal(
            picture(tmp_path / "out" / f"{k:03d}.png"), animator.frame(portrait, pose)
        )


def test_a_smaller_clip(animate, moue, tiny_bundle, portrait_photo, tmp_path):
    options = "--expression", "sad", "--seconds", ".1", "--size", "200"
    ran = animate(*options, "-o", tmp_path / "out.mp4")
    assert ran == (0, "", f"{tmp_path}/out.mp4: 3 frames, 200×200, 0.1 s\n")
    tall = np.vstack([portrait_photo, portrait_photo[-99:]])
    Image.fromarray(tall).save(tmp_path / "tall.png", compress_level=1)
    rest = ["--bundle", tiny_bundle, "--expression", "sad", "--degree", "0"]
    for size, shape in ((300, (300, 251, 3)), (5000, (611, 512, 3))):
        words = "animate", tmp_path / "tall.png", *rest, "--size", size, "-o", tmp_path / "out.png"
        assert moue(*words).code == 0
        assert picture(tmp_path / "out.png").shape == shape
    assert np.array_equal(picture(tmp_path / "out.png"), tall), "never enlarged"


def test_a_clip_too_large_for_most_players_is_said(animate, tmp_path, monkeypatch):
    words = "--expression", "sad", "--seconds", ".1", "-o"
    monkeypatch.setattr(face_commands, "MOST_BLOCKS", 32 * 32)
    assert animate(*words, tmp_path / "out.mp4").err.count("\n") == 1
    monkeypatch.setattr(face_commands, "MOST_BLOCKS", 32 * 32 - 1)
    said = animate(*words, tmp_path / "out.mp4").err.splitlines()
    assert said[0] == (
        f"moue: {tmp_path}/out.mp4 has 512×512 pixels, more than most hardware plays (H.264 up to"
        " level 5.2): --size 3072 makes it smaller"
    )
    assert len(said) == 2
    for quiet in (["--size", "496", "-o", tmp_path / "out.mp4"], ["-o", tmp_path / "out.gif"]):
        assert animate(*words[:-1], *quiet).err.count("\n") == 1


def test_a_curve_file(animate, tmp_path):
    curve = {"fps": 12, "actions": ["jawOpen"], "values": [[0.0], [0.5], [1.0]]}
    (tmp_path / "curve.json").write_text(json.dumps(curve))
    ran = animate("--curve", tmp_path / "curve.json", "-o", tmp_path / "out.gif")
    assert ran == (0, "", f"{tmp_path}/out.gif: 3 frames, 512×512, 0.25 s\n")


@pytest.mark.parametrize(("face", "moved"), [("1", 1), ("2", 1), ("all", 2), ("largest", 1)])
def test_one_face_of_two_or_both(moue, tiny_bundle, portrait_photo, tmp_path, face, moved):
    two = np.hstack([portrait_photo, portrait_photo])
    Image.fromarray(two).save(tmp_path / "two.png", compress_level=1)
    options = ["--bundle", tiny_bundle, "--expression", "happy", "--face", face, "-v"]
    ran = moue("animate", tmp_path / "two.png", *options, "-o", tmp_path / "out.png")
    assert ran.code == 0
    listed = re.search(r"2 faces, the largest first: 1 at (\d+),\d+; 2 at (\d+),\d+ \(px", ran.err)
    assert listed
    assert abs(int(listed[1]) - int(listed[2])) == pytest.approx(portrait_photo.shape[1], abs=20)
    halves = np.hsplit(picture(tmp_path / "out.png") != two, 2)
    assert sum(half.any() for half in halves) == moved


def test_verbose_says_what_is_chosen(animate, tmp_path):
    ran = animate("--expression", "happy", "-v", "-o", tmp_path / "out.png")
    assert "moue: onnxruntime on cpu" in ran.err
