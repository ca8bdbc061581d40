from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moue.actions import ACTIONS, EXPRESSIONS, FACE_ACTIONS, SIDES, action_vector, in_mirror, sides
from moue.curves import ActionCurve
from moue.errors import ActionError, CurveError
from moue.expressions import Expression

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


def test_a_name_without_its_side_stands_for_both() -> None:
    assert len(SIDES) == 18
    assert sides("mouthSmile") == ("mouthSmileLeft", "mouthSmileRight")
    one_thing = {"jawLeft", "jawRight", "mouthLeft", "mouthRight"}
    sided = {name for name in ACTIONS if name.endswith(("Left", "Right"))}
    assert {side for both in SIDES for side in sides(both)} == sided - one_thing
    for itself in ("mouthSmileLeft", "jawOpen", "jaw", "mouth", "head", "Left", "tongueOut"):
        assert sides(itself) == (itself,)

    smile = {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5, "jawOpen": 0.25}
    short = {"mouthSmile": 0.5, "jawOpen": 0.25}
    assert np.array_equal(action_vector(short, ACTIONS), action_vector(smile, ACTIONS))
    assert Expression("x", short).weights == smile
    assert Expression("x", short).degrees([1]).actions == tuple(smile)


def test_a_side_named_by_itself_comes_before_the_name_for_both() -> None:
    both, left = ("mouthSmile", 0.5), ("mouthSmileLeft", 0)
    for pairs in ([both, left], [left, both]):
        assert Expression("x", dict(pairs)).weights == {"mouthSmileLeft": 0, "mouthSmileRight": 0.5}
        names, weights = zip(*pairs, strict=True)
        curve = ActionCurve(names, np.array([weights]))
        assert dict(zip(curve.actions, curve.values[0], strict=True)) == {
            "mouthSmileLeft": 0,
            "mouthSmileRight": 0.5,
        }
        assert not curve.values.flags.writeable


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jaw", "^unknown action 'jaw'.*"),
        ("mouth", "^unknown action 'mouth'.*"),
        ("mouthsmile", "^unknown action 'mouthsmile'; did you mean mouthSmile or "),
        ("xyz", r"^unknown action 'xyz' \(moue actions lists them\)$"),
    ],
)
def test_a_name_that_stands_for_nothing(name: str, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        action_vector({name: 1}, ACTIONS)
    with pytest.raises(
        ActionError, match="unknown action 'mouthSmileRight'; did you mean mouthSmileL"
    ):
        action_vector({"mouthSmile": 1}, NAMES)  # a bundle with one side of it
    with pytest.raises(ActionError, match=r"action 'eyeBlink' must be a number in \[0, 1\]"):
        action_vector({"eyeBlink": -0.5}, ACTIONS)


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
