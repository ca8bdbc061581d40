from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moue import mix
from moue.video import read_frames


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_clip(animate, tmp_path):
    ran = animate("--expression", "happy", "--fps", "30000/1001", "-o", tmp_path / "out.mp4")
    assert ran == (0, "", f"{tmp_path}/out.mp4: 60 frames, 512×512, 2.002 s\n")
    video = read_frames(tmp_path / "out.mp4")
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


def test_a_curve_file(animate, tmp_path):
    curve = {"fps": 12, "actions": ["jawOpen"], "values": [[0.0], [0.5], [1.0]]}
    (tmp_path / "curve.json").write_text(json.dumps(curve))
    ran = animate("--curve", tmp_path / "curve.json", "-o", tmp_path / "out.gif")
    assert ran == (0, "", f"{tmp_path}/out.gif: 3 frames, 512×512, 0.25 s\n")


@pytest.mark.parametrize(("face", "moved"), [("1", 1), ("2", 1), ("all", 2), ("largest", 1)])
def test_one_face_of_two_or_both(moue, tiny_bundle, portrait_photo, tmp_path, face, moved):
    two = np.hstack([portrait_photo, portrait_photo])
    Image.fromarray(two).save(tmp_path / "two.png", compress_level=1)
    options = ["--bundle", tiny_bundle, "--expression", "happy", "--face", face]
    assert moue("animate", tmp_path / "two.png", *options, "-o", tmp_path / "out.png").code == 0
    halves = np.hsplit(picture(tmp_path / "out.png") != two, 2)
    assert sum(half.any() for half in halves) == moved


def test_verbose_says_what_is_chosen(animate, tmp_path):
    ran = animate("--expression", "happy", "-v", "-o", tmp_path / "out.png")
    assert "moue: onnxruntime on cpu" in ran.err
