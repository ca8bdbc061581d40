from __future__ import annotations

import copy
import json
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import moue
from moue.actions import ACTIONS
from moue.curves import MAX_FRAMES, ActionCurve
from moue.errors import CurveError, MoueError
from moue.expressions import Expression, expression

NAN, INF = float("nan"), float("inf")
HUGE = pytest.param(10**5000, id="huge")
NAMES = ("jawOpen", "mouthSmileLeft", "eyeBlinkRight")


def test_rise_is_the_papers_ramp() -> None:
    happy = expression("happy")
    curve = happy.rise(seconds=2, fps=30)
    assert len(curve) == 60
    assert curve.seconds == 2
    assert curve.actions == tuple(happy.weights)
    peak = np.array(list(happy.weights.values()), np.float32)
    assert np.array_equal(curve.values[0], 0 * peak)
    assert np.array_equal(curve.values[-1], peak)
    assert np.allclose(curve.values, np.arange(60)[:, None] / 59 * peak, atol=1e-7)
    assert np.array_equal(
        happy.rise(seconds=0.001).values, peak[None]
    )  # a single frame shows the peak


@pytest.mark.parametrize("frames", [3, 4, 5, 60, 61])
def test_pulse_reaches_the_peak_and_returns(frames: int) -> None:
    values = Expression("x", {"jawOpen": 1.0}).pulse(seconds=frames / 30, fps=30).values[:, 0]
    assert len(values) == frames
    assert values[0] == values[-1] == 0
    assert values.max() == 1
    assert np.array_equal(values, values[::-1])
    assert (np.diff(values[: (frames + 1) // 2]) > 0).all()


def test_a_rise_and_a_pulse_to_a_degree_that_is_held() -> None:
    jaw = Expression("x", {"jawOpen": 1})
    rise = jaw.rise(seconds=0.5, fps=10, degree=0.5, hold=0.2)
    assert rise.values[:, 0].tolist() == [0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    for frames, moves in ((5, [0, 0.25]), (6, [0, 0.25, 0.5])):
        pulse = jaw.pulse(seconds=frames / 10, fps=10, degree=0.5, hold=0.3)
        held = [0.5] * (4 if frames == 5 else 3)
        assert pulse.values[:, 0].tolist() == [*moves, *held, *moves[::-1]]
    for make in (jaw.rise, jaw.pulse):
        assert not make(degree=0).values.any()
        assert len(make(hold=0.5)) == 75
        assert make(hold=0).values.tobytes() == make().values.tobytes()


@pytest.mark.parametrize("hold", [-0.1, NAN, INF, MAX_FRAMES / 30, "1", None, HUGE])
def test_wrong_holds(hold: Any) -> None:
    for make in (expression("happy").rise, expression("happy").pulse):
        with pytest.raises(CurveError, match="hold must be at least 0 s, and with seconds at most"):
            make(hold=hold)


@pytest.mark.parametrize("degree", [-0.1, 1.5, NAN, "1", None, HUGE])
def test_wrong_peaks(degree: Any) -> None:
    for make in (expression("happy").rise, expression("happy").pulse):
        with pytest.raises(CurveError, match=r"degree must be a number in \[0, 1\]"):
            make(degree=degree)


def test_degrees_keep_their_order() -> None:
    curve = Expression("x", {"jawOpen": 0.5}).degrees([1, 0, 0.5])
    assert curve.values[:, 0].tolist() == [0.5, 0, 0.25]


@pytest.mark.parametrize(
    ("degrees", "message"),
    [([0, NAN], "degree 1 .*nan"), ([1.5], "degree 0"), ([], "shape"), ([-1], "degree 0")],
)
def test_wrong_degrees(degrees: list[float], message: str) -> None:
    with pytest.raises(CurveError, match=message):
        expression("happy").degrees(degrees)


@pytest.mark.parametrize("seconds", [0, -1, NAN, INF, 1e30, "2", None, HUGE])
def test_wrong_durations(seconds: Any) -> None:
    for make in (expression("happy").rise, expression("happy").pulse):
        with pytest.raises(CurveError, match="seconds must be"):
            make(seconds=seconds)


def test_curves_cannot_be_changed() -> None:
    values = np.zeros((2, 1))
    curve = ActionCurve(("jawOpen",), values)
    values[:] = 1
    assert curve.values.max() == 0
    with pytest.raises(ValueError, match="read-only"):
        curve.values[0] = 1


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=5),
    st.fractions(min_value=Fraction(1, 10), max_value=120, max_denominator=1001),
)
def test_json_gives_the_curve_back(values: list[list[float]], fps: Fraction) -> None:
    curve = ActionCurve(NAMES, np.array(values, np.float32), fps)
    for source in (curve.to_json(), curve.to_json().encode()):
        back = ActionCurve.from_json(source)
        assert (back.actions, back.fps) == (curve.actions, curve.fps)
        assert back.values.tobytes() == curve.values.tobytes()


def test_json_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "curve.json"
    path.write_text('{"fps": "30000/1001", "actions": ["jawOpen"], "values": [[0], [1]]}')
    for source in (path, str(path)):
        assert ActionCurve.from_json(source).fps == Fraction(30000, 1001)
    with pytest.raises(CurveError, match="cannot read the curve"):
        ActionCurve.from_json(tmp_path)
    with pytest.raises(CurveError, match="cannot read the curve"):
        ActionCurve.from_json(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not parse"),
        ("[" * 100_000, "does not parse"),
        ("\xff", "does not parse"),
        ("[]", "holds a list"),
        ('{"fps": 30}', "actions and values is missing"),
        ('{"fps": 30, "fps": 30}', "stands twice"),
        ('{"fps": 0, "actions": ["a"], "values": [[0]]}', "fps must be"),
        ('{"fps": 30, "actions": ["a"], "values": [[NaN]]}', "NaN is not a number"),
        ('{"fps": 30, "actions": ["a"], "values": [[0], [1e999]]}', "frame 1, action 'a'"),
        ('{"fps": 30, "actions": ["a"], "values": [[-1]]}', "frame 0, action 'a'"),
        ('{"fps": 30, "actions": ["a"], "values": [["0"]]}', "must be numbers"),
        ('{"fps": 30, "actions": ["a"], "values": [[null]]}', "must be numbers"),
        ('{"fps": 30, "actions": ["a"], "values": [[0, 0]]}', "shape"),
        ('{"fps": 30, "actions": ["a"], "values": [[0], [0, 0]]}', "1 numbers"),
        ('{"fps": 30, "actions": ["a"], "values": []}', "shape"),
        ('{"fps": 30, "actions": ["a", "a"], "values": [[0, 0]]}', "different names"),
        ('{"fps": 30, "actions": [1], "values": [[0]]}', "different names"),
        ('{"fps": 30, "actions": [[]], "values": [[0]]}', "different names"),
        ('{"fps": 30, "actions": "a", "values": [[0]]}', "not a list"),
        ('{"actions": ["jawOpen"], "values": [[0]]}', "but fps is missing"),
        ('{"fps": "x", "keys": [{"at": 0}]}', "fps must be"),
        ('{"fps": 30, "keys": {"at": 0}}', "its keys are not a list"),
        ('{"fps": 30, "keys": [{"at": 0}], "values": [[0]]}', "but it holds keys and values"),
        ('{"fps": 0, "keys": [{"at": 0}]}', "fps must be"),
        ('{"fps": 30, "keys": []}', "1 … 100000 keys, but got 0"),
        ('{"fps": 30, "keys": [{"at": 0}, {"jawOpen": 1}]}', 'key 1 must be {"at": seconds,'),
        ('{"fps": 30, "keys": [0]}', "key 0 must be {"),
        ('{"fps": 30, "keys": [{"at": NaN}]}', "NaN is not a number"),
        ('{"fps": 30, "keys": [{"at": 1e999}]}', r"key 0 must be at a second in \[0, 33333.3\]"),
        ('{"fps": 30, "keys": [{"at": -1}]}', "but is at -1"),
        ('{"fps": 30, "keys": [{"at": true}]}', "but is at True"),
        ('{"fps": 30, "keys": [{"at": "0"}]}', "but is at '0'"),
        (
            '{"fps": 30, "keys": [{"at": ' + "[" * 900 + "]" * 900 + "}]}",
            "key 0 must be at a second",
        ),
        ('{"fps": 30, "keys": [{"at": 1' + "0" * 4200 + "}]}", "key 0 must be at a second in"),
        ('{"fps": 30, "keys": [{"at": 0}, {"at": 1}, {"at": 1}]}', "key 2 must be later .* at 1 s"),
        ('{"fps": 30, "keys": [{"at": 0, "jaw": 0}]}', "key 0: unknown action 'jaw'"),
        (
            '{"fps": 30, "keys": [{"at": 0}, {"at": 1, "mouthSmil": 1}]}',
            "key 1: unknown action 'mouthSmil'; did you mean mouthSmile",
        ),
        (
            '{"fps": 30, "keys": [{"at": 0, "mouthSmile": 2}]}',
            r"key 0: action 'mouthSmile' must be a number in \[0, 1\], but got 2",
        ),
        ('{"fps": 30, "keys": [{"at": 0, "jawOpen": null}]}', "key 0: action 'jawOpen' must be"),
    ],
)
def test_wrong_json(text: str, message: str) -> None:
    with pytest.raises(CurveError, match=message) as caught:
        ActionCurve.from_json(text.encode("latin-1"))
    assert "\n" not in str(caught.value)


def test_keys_are_joined_by_straight_lines() -> None:
    curve = ActionCurve.from_json(
        """{"fps": 10, "keys": [{"at": 0.0}, {"at": 0.5, "mouthSmile": 0.8},
            {"at": 0.9, "mouthSmile": 0.8, "jawOpen": 0.4, "headYaw": -1}, {"at": 1.1}]}"""
    )
    assert curve.actions == ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "headYaw")
    assert (len(curve), curve.fps) == (12, 10)
    jaw, smile, right, yaw = curve.values.T
    assert np.allclose(jaw, [0, 0, 0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.2, 0], atol=1e-6)
    up = [0, 0.16, 0.32, 0.48, 0.64]
    assert np.allclose(smile, [*up, 0.8, 0.8, 0.8, 0.8, 0.8, 0.4, 0], atol=1e-6)
    assert np.array_equal(right, smile)
    assert np.allclose(yaw, -2.5 * jaw, atol=1e-6)
    assert yaw[9] == -1, "a key that falls on a frame is met exactly"
    again = ActionCurve.from_json(curve.to_json())
    assert again.values.tobytes() == curve.values.tobytes()


def test_a_curve_plays_at_another_rate_over_as_many_seconds() -> None:
    keys = '{"keys": [{"at": 0}, {"at": 0.5, "jawOpen": 1}, {"at": 1}]}'
    curve = ActionCurve.from_json(keys)
    assert (curve.fps, len(curve)) == (30, 31)
    half = ActionCurve.from_json(keys, 10)
    assert (half.fps, len(half)) == (10, 11)
    np.testing.assert_allclose(half.values[:, 0], 1 - np.abs(np.arange(11) / 5 - 1), atol=1e-6)
    rows = ActionCurve(("jawOpen", "headYaw"), [[0, -1], [0.3, 0], [0.6, 1], [0.9, 0]], 60)
    played = ActionCurve.from_json(rows.to_json(), "30")
    assert (played.fps, played.actions) == (30, rows.actions)
    np.testing.assert_allclose(played.values, [[0, -1], [0.6, 1]], atol=1e-6)
    twice = rows.resampled(120)
    assert twice.seconds == rows.seconds
    np.testing.assert_allclose(
        twice.values[:, 0], [0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 0.9], atol=1e-6
    )
    np.testing.assert_array_equal(rows.resampled(60).values, rows.values)
    with pytest.raises(CurveError, match="at most 1000000 frames, but"):
        ActionCurve(("jawOpen",), np.zeros((10_000, 1)), "1/100").resampled(60)


def test_where_keys_begin_and_end() -> None:
    key = {"at": 0.25, "mouthSmile": 0.5, "mouthSmileRight": 1}
    for keys, frames in (([key], 4), ([{**key, "at": 0}], 1), ([key, {**key, "at": 0.35}], 5)):
        curve = ActionCurve.from_keys(keys, fps=10)
        assert curve.values.tolist() == [[0.5, 1.0]] * frames, "as the first before it, to the last"
    assert len(ActionCurve.from_keys([{"at": 0.1 + 0.2}], fps=10)) == 4, "0.30000000000000004 s"
    assert len(ActionCurve.from_keys([{"at": 1.001}], "29.97")) == 31
    rest = ActionCurve.from_keys([{"at": 0}, {"at": 2}])
    assert (rest.actions, len(rest)) == ((), 61)


def test_a_few_keys_come_to_no_more_frames_than_fit() -> None:
    every = dict.fromkeys(ACTIONS, 1.0)
    hour = 3600.0
    with pytest.raises(CurveError, match="come to 360001 frames of 54 actions, more than 64 MB"):
        ActionCurve.from_keys([{"at": 0}, {"at": hour, **every}], fps=100)
    assert len(ActionCurve.from_keys([{"at": 0}, {"at": hour, "jawOpen": 1}], fps=100)) == 360_001
    many = [{"at": k} for k in range(100_001)]
    with pytest.raises(CurveError, match="1 … 100000 keys, but got 100001"):
        ActionCurve.from_keys(many, fps=1)
    assert len(ActionCurve.from_keys(many[:-1], fps=1)) == 100_000
    with pytest.raises(CurveError, match=r"key 1 must be at a second in \[0, 9999.99\]"):
        ActionCurve.from_keys([{"at": 0}, {"at": MAX_FRAMES / 100}], fps=100)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(json_values, json_values, json_values)
def test_nonsense_json_is_only_ever_refused(fps: Any, actions: Any, values: Any) -> None:
    text = json.dumps({"fps": fps, "actions": actions, "values": values})
    try:
        ActionCurve.from_json(text.encode())
    except MoueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


@given(st.lists(st.dictionaries(st.sampled_from(["at", "jawOpen", "eyeBlink", "x"]), json_values)))
def test_nonsense_keys_are_only_ever_refused(keys: list[Any]) -> None:
    text = json.dumps({"fps": 30, "keys": keys})
    try:
        ActionCurve.from_json(text.encode())
    except MoueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


def test_expressions_and_curves_can_be_copied_pickled_and_compared():
    happy = moue.expression("happy")
    for same in (copy.deepcopy(happy), pickle.loads(pickle.dumps(happy))):
        assert same == happy
    curve = happy.rise(0.2)
    again = pickle.loads(pickle.dumps(curve))
    assert np.array_equal(again.values, curve.values)
    assert curve == curve
    assert curve != again
    assert len({curve, again}) == 2
