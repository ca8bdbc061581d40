"""Frames and clips out: the very ones that the animator makes."""

from __future__ import annotations

import json
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

import moue
from moue.actions import ACTIONS
from moue.errors import MoueError
from moue.studio import pictures, stage
from moue.studio.app import clip_curve
from moue.video import VideoReader
from tests.studio.conftest import wait_for


def test_the_model(studio, animator):
    model = studio.ask("GET", "/api/model").json
    assert [each["name"] for each in model["actions"]] == list(ACTIONS)
    by_name = {each["name"]: each for each in model["actions"]}
    assert by_name["headYaw"] == {"name": "headYaw", "region": "head", "min": -1.0, "max": 1.0}
    assert by_name["jawOpen"]["min"] == 0.0
    regions = {each["region"] for each in model["actions"]}
    assert regions == {"eyes", "brows", "mouth", "jaw", "cheeks & nose", "head"}
    assert model["expressions"]["happy"] == dict(animator.expressions["happy"])
    assert (model["runtime"], model["device"]) == ("onnxruntime", "cpu")
    assert repr(animator.runtime) == "onnxruntime on cpu"
    given = str(animator.bundle.folder)
    assert model["bundle"] == {"name": "tiny", "version": "0.1.0", "given": given}


def test_at_rest_a_frame_is_the_photo(studio, key, portrait_photo):
    np.testing.assert_array_equal(studio.still(key), portrait_photo)
    np.testing.assert_array_equal(studio.still(key, "expression=happy&degree=0"), portrait_photo)


def test_a_frame_is_the_animators(studio, key, animator, portrait):
    got = studio.still(key, "expression=happy&degree=0.8&action=jawOpen=0.4&action=headYaw=-0.5")
    weights = moue.mix({"happy": 0.8}, {"jawOpen": 0.4, "headYaw": -0.5}, animator.expressions)
    wanted = animator.frame(portrait, weights)
    np.testing.assert_array_equal(got, wanted)
    assert (wanted != portrait.photo).any()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_formats_and_sizes(studio, key, portrait_photo, kind, tmp_path):
    answer = studio.ask("GET", f"/api/portraits/{key}/frame?side=128&format={kind}")
    assert answer.headers["Content-Type"] == f"image/{kind}"
    assert answer.picture.shape == (128, 128, 3)
    (tmp_path / "frame").write_bytes(answer.body)
    assert moue.verify(tmp_path / "frame").intact
    means = portrait_photo.reshape(128, 4, 128, 4, 3).mean((1, 3))
    assert np.abs(answer.picture - means).mean() < 4


def test_a_format_that_has_no_such_size_says_so(studio, key, monkeypatch):
    monkeypatch.setitem(pictures.LARGEST, "webp", 300)
    answer = studio.ask("GET", f"/api/portraits/{key}/frame?format=webp")
    assert answer.status == 422
    assert "a webp has at most 300 pixels a side, but the photo is 512×512" in answer.json["error"]
    assert studio.ask("GET", f"/api/portraits/{key}/frame?format=webp&side=256").status == 200


def test_pages_of_several_sizes_share_a_portrait(studio, key, monkeypatch):
    made = []
    smaller = stage.smaller
    monkeypatch.setattr(stage, "smaller", lambda *a: made.append(a[1]) or smaller(*a))
    for side in 3 * [96, 200, 128, 160]:
        studio.still(key, f"side={side}")
    assert made == [96, 200, 128, 160]
    for side in range(64, 80):
        studio.still(key, f"side={side}")
    assert len(studio.stage.find(key).small) == stage.SIZES


def test_a_small_frame_moves_as_the_large_one(studio, key):
    def moved(side: int) -> np.ndarray:
        rest, opened = (
            studio.still(key, f"{what}side={side}") for what in ("", "action=jawOpen=1&")
        )
        return opened.astype(float) - rest

    large, small = moved(512).reshape(256, 2, 256, 2, 3).mean((1, 3)), moved(256)
    assert np.abs(small - large).mean() < np.abs(large).mean() / 4


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("action=jawOpen=nan", "'jawOpen' must be a number in [0, 1], but got nan"),
        ("action=jawOpen=inf", "'jawOpen' must be"),
        ("action=jawOpen=1e30", "'jawOpen' must be"),
        ("action=jawOpen=-0.1", "'jawOpen' must be"),
        ("action=headYaw=-1.1", "'headYaw' must be a number in [-1, 1]"),
        ("action=jawopen=1", "unknown action 'jawopen'; did you mean jawOpen"),
        ("action=jawOpen", "must be NAME=NUMBER"),
        ("action=jawOpen=wide", "must be NAME=NUMBER"),
        ("expression=hapy", "did you mean happy"),
        ("expression=happy&degree=nan", "degree of happy must be"),
        ("expression=happy&degree=2", "degree of happy must be"),
        ("degree=much", "degree: "),
        ("format=bmp", "format must be png or jpeg or webp"),
        ("side=63", "side: "),
        ("side=999999", "side: "),
    ],
)
def test_nonsense_is_named_and_changes_nothing(studio, key, query, words):
    before = studio.still(key, "action=jawOpen=0.5")
    status, line = studio.refusal("GET", f"/api/portraits/{key}/frame?{query}")
    assert (status, words in line) == (422, True), line
    np.testing.assert_array_equal(studio.still(key, "action=jawOpen=0.5"), before)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "length"),
    [
        ({"expression": "happy", "seconds": 0.5, "fps": 10}, 5),
        ({"mix": {"sad": 0.5}, "curve": "pulse", "seconds": 0.4, "fps": 20, "format": "gif"}, 8),
        ({"actions": {"headRoll": -1}, "seconds": 1, "fps": 5, "format": "webp"}, 5),
        (
            {"curve": {"fps": "30000/1001", "actions": ["jawOpen"], "values": [[0], [0.5], [1]]}},
            3,
        ),
    ],
)
def test_clips(studio, key, temporary, wanted, length):
    answer = studio.ask("POST", f"/api/portraits/{key}/clip", wanted)
    kind = wanted.get("format", "mp4")
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Disposition"] == f'attachment; filename="moue.{kind}"'
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert list(temporary.iterdir()) == []
    path = temporary / f"clip.{kind}"
    path.write_bytes(answer.body)
    if kind == "webp":  # PyAV writes it and does not read it
        with Image.open(path) as clip:
            frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(clip)]
    else:
        frames = list(VideoReader(path))
    assert len(frames) == length
    assert frames[0].shape == (512, 512, 3)
    assert np.abs(frames[-1].astype(int) - frames[length // 2].astype(int)).mean() > 0.1


@pytest.mark.parametrize(
    ("wanted", "status", "words"),
    [
        (b"", 400, "in JSON"),
        (b"[1]", 400, "in JSON"),
        (b"[" * 100_000, 400, "in JSON"),
        ({"expression": "hapy"}, 422, "did you mean happy"),
        ({"actions": {"jawOpen": float("nan")}}, 422, "'jawOpen' must be"),
        ({"actions": {"jaw": 1}}, 422, "unknown action 'jaw'"),
        ({"mix": ["happy"]}, 422, "must be numbers by name"),
        ({"expression": ["happy"]}, 422, "expression must be a name, but got ['happy']"),
        ({"expression": "happy" * 5000}, 422, "name more than there can be"),
        ({"actions": {f"jaw{k}": 1 for k in range(5000)}}, 422, "name more than there can be"),
        ({"expression": "happy", "curve": "fall"}, 422, "curve must be rise or pulse"),
        ({"expression": "happy", "seconds": 61}, 422, "at most 60 s of 60 frames"),
        ({"expression": "happy", "seconds": 10**400}, 422, "at most 60 s"),
        ({"expression": "happy", "seconds": float("nan")}, 422, "at most 60 s"),
        ({"expression": "happy", "seconds": "2"}, 422, "seconds must be a number"),
        ({"expression": "happy", "fps": 61}, 422, "at most 60 s of 60 frames"),
        ({"expression": "happy", "fps": 0}, 422, "fps must be"),
        ({"expression": "happy", "fps": 60, "format": "gif"}, 422, "at most 50 frames a second"),
        ({"expression": "happy", "format": "../mp4"}, 422, "format must be mp4 or gif or webp"),
        ({"curve": {"fps": 30, "actions": ["jawOpen"]}}, 422, "values is missing"),
        ({"curve": {"fps": 1, "actions": [], "values": [[]] * 61}}, 422, "at most 60 s"),
        ({"curve": {"fps": 1, "actions": [], "values": [[]] * 3601}}, 422, "at most 3600 frames"),
        ({"curve": {"fps": 30, "actions": ["no"], "values": [[0]]}}, 422, "unknown action 'no'"),
        ({"curve": {"fps": 30, "actions": ["jawOpen"], "values": [[2]]}}, 422, "'jawOpen' must be"),
    ],
)
def test_clips_that_are_none(studio, key, temporary, wanted, status, words):
    got, line = studio.refusal("POST", f"/api/portraits/{key}/clip", wanted)
    assert (got, words in line) == (status, True), line
    assert list(temporary.iterdir()) == []


def test_no_depth_is_unforeseen(studio, key):
    """What can just be read is just too deep for what looks at it from further down the stack."""
    path, statuses = f"/api/portraits/{key}/clip", set()
    for depth in range(860, 1000, 4):
        body = b'{"expression": "happy", "degree": ' + b"[" * depth + b"]" * depth + b"}"
        statuses.add(studio.refusal("POST", path, body)[0])
    assert statuses <= {400, 422}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
FIELDS = ("expression", "degree", "mix", "actions", "curve", "seconds", "fps")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_whatever_is_asked_for_is_a_curve_or_an_error(opened, wanted):
    try:
        assert len(clip_curve(json.loads(json.dumps(wanted)), opened.stage)) <= 3600
    except MoueError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_two_clips_at_once_and_none_that_nobody_waits_for(studio, key, temporary):
    body = json.dumps({"expression": "happy", "seconds": 60, "fps": 60, "format": "webp"})
    path, length = f"/api/portraits/{key}/clip", f"Content-Length: {len(body)}"
    waiting = [studio.begin("POST", path, length) for _ in range(2)]
    try:
        for connection in waiting:
            connection.sendall(body.encode())
        wait_for(lambda: len(list(temporary.iterdir())) == 2)
        status, line = studio.refusal("POST", path, {"expression": "happy"})
        assert (status, "2 clips are being made already" in line) == (429, True)
        assert studio.still(key, "action=jawOpen=1").shape == (512, 512, 3)  # others are served
    finally:
        for connection in waiting:
            connection.close()
    wait_for(lambda: not list(temporary.iterdir()))
