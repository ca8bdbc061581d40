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
from moue.actions import (
    ACTIONS,
    EXPRESSIONS,
    FACE_ACTIONS,
    ActionCurve,
    Expression,
    action_vector,
    in_mirror,
    parse_fps,
)
from moue.errors import ActionError, CurveError, MoueError
from moue.expressions import expression

NAN, INF = float("nan"), float("inf")
HUGE = pytest.param(10**5000, id="huge")
NAMES = ("jawOpen", "mouthSmileLeft", "eyeBlinkRight")


def test_actions_are_arkits_but_for_the_tongue_and_turns_of_the_head() -> None:
    assert len(FACE_ACTIONS) == len(set(FACE_ACTIONS)) == 51
    assert (*FACE_ACTIONS, "headYaw", "headPitch", "headRoll") == ACTIONS
    assert "tongueOut" not in ACTIONS
    mirrored = {
        name.replace("Left", "Right") if "Left" in name else name.replace("Right", "Left")
        for name in ACTIONS
    }
    assert mirrored == set(ACTIONS)


def test_a_turn_of_the_head_is_signed() -> None:
    turned = {"headYaw": -1, "headRoll": -0.25, "headPitch": 0.5}
    vector = action_vector(turned, ("headYaw", "jawOpen", "headPitch", "headRoll"))
    assert vector.tolist() == [-1, 0, 0.5, -0.25]
    assert Expression("", turned).at(0.5) == {
        "headYaw": -0.5,
        "headRoll": -0.125,
        "headPitch": 0.25,
    }
    curve = ActionCurve(("headYaw",), np.array([[-1], [1]]))
    assert ActionCurve.from_json(curve.to_json()).values.tolist() == [[-1], [1]]
    for name, low in (("headYaw", -1), ("jawOpen", 0)):
        wrong = rf"must be a number in \[{low}, 1\]"
        with pytest.raises(ActionError, match=f"action '{name}' {wrong}"):
            action_vector({name: low - 0.01}, (name,))
        with pytest.raises(ActionError, match=rf"action 0 \({name}\) {wrong}"):
            action_vector([low - 0.01], (name,))
        with pytest.raises(CurveError, match=rf"'{name}' must be in \[{low}, 1\]"):
            ActionCurve((name,), np.array([[low - 0.01]]))


def test_a_mirror_turns_a_head_the_other_way() -> None:
    asked = {"headYaw": 0.5, "headPitch": 0.25, "headRoll": -1, "eyeBlinkLeft": 1}
    seen = {"headYaw": -0.5, "headPitch": 0.25, "headRoll": 1, "eyeBlinkRight": 1}
    vector = action_vector(asked, ACTIONS)
    assert np.array_equal(in_mirror(vector), action_vector(seen, ACTIONS))
    assert np.array_equal(in_mirror(in_mirror(vector)[None])[0], vector)


def test_expressions_use_known_actions_evenly() -> None:
    assert list(EXPRESSIONS) == ["happy", "sad", "surprise", "angry", "disgust", "fear"]
    for weights in EXPRESSIONS.values():
        assert action_vector(weights, ACTIONS).max() <= 1
        for name, weight in weights.items():
            assert weights[name.replace("Left", "Right")] == weight


def test_vector_by_name_by_order_and_by_expression() -> None:
    by_name = action_vector({"eyeBlinkRight": 0.25, "jawOpen": 1}, NAMES)
    assert by_name.dtype == np.float32
    assert by_name.tolist() == [1, 0, 0.25]
    for same in ([1, 0, 0.25], (1, False, 0.25), np.array([1, -0.0, 0.25])):
        assert action_vector(same, NAMES).tobytes() == by_name.tobytes()
    assert action_vector(Expression("x", {"jawOpen": 1}), NAMES).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "bad", [NAN, INF, -INF, 1e30, 1e300, -0.01, 1.001, "0.5", None, 1j, 10**400, HUGE]
)
def test_nonsense_weights_are_refused_by_name_and_by_index(bad: Any) -> None:
    with pytest.raises(ActionError, match="'mouthSmileLeft' must be a number"):
        action_vector({"mouthSmileLeft": bad}, NAMES)
    with pytest.raises(ActionError, match=r"action 1 \(mouthSmileLeft\) must be a number"):
        action_vector([0.0, bad, 0.0], NAMES)
    with pytest.raises(ActionError, match="'jawOpen'"):
        Expression("bad", {"jawOpen": bad})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.1, 0.2], r"shape \(3,\).* got \(2,\)"),
        ([[0.1, 0.2, 0.3]], r"got \(1, 3\)"),
        ([[0.1], 0.2, 0.3], "list of numbers"),
        (0.5, r"got \(\)"),
        ({"jawopen": 1.0}, "unknown action 'jawopen'; did you mean jawOpen"),
        ({"tongueOut": 0.0}, "unknown action 'tongueOut'"),
        ({3: 0.0}, "unknown action 3"),
    ],
)
def test_wrong_vectors(weights: Any, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        action_vector(weights, NAMES)


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


@pytest.mark.parametrize("seconds", [0, -1, NAN, INF, 1e30, "2", None])
def test_wrong_durations(seconds: Any) -> None:
    for make in (expression("happy").rise, expression("happy").pulse):
        with pytest.raises(CurveError, match="seconds must be"):
            make(seconds=seconds)


@pytest.mark.parametrize(
    ("rate", "fps"),
    [
        (30, Fraction(30)),
        (30.0, Fraction(30)),
        ("30", Fraction(30)),
        (29.97, Fraction(30000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        (30000 / 1001, Fraction(30000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (np.float32(25), Fraction(25)),
        (Fraction(24000, 1001), Fraction(24000, 1001)),
    ],
)
def test_frame_rates(rate: Any, fps: Fraction) -> None:
    assert parse_fps(rate) == fps


@pytest.mark.parametrize(
    "rate", [0, -1, NAN, INF, 1e30, "", "x", "1/0", "1e999999999", None, True, [30], 1e-30, HUGE]
)
def test_wrong_frame_rates(rate: Any) -> None:
    with pytest.raises(CurveError, match="fps must be"):
        parse_fps(rate)


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
    ],
)
def test_wrong_json(text: str, message: str) -> None:
    with pytest.raises(CurveError, match=message) as caught:
        ActionCurve.from_json(text.encode("latin-1"))
    assert "\n" not in str(caught.value)


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
