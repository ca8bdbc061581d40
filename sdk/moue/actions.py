"""Actions: what a face can be asked to do, and how much.

An action vector `a` is float32 [n], one weight in [0, 1] per action, in [-1, 1] for a turn of the head.
The left of a name is the subject's left; a name without its side stands for both (`sides`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from moue.errors import ActionError, one_line, shown, suggest

_EYE = "eyeBlink eyeLookDown eyeLookIn eyeLookOut eyeLookUp eyeSquint eyeWide"
_REST = """
    jawForward jawLeft jawRight jawOpen
    mouthClose mouthFunnel mouthPucker mouthLeft mouthRight mouthSmileLeft mouthSmileRight
    mouthFrownLeft mouthFrownRight mouthDimpleLeft mouthDimpleRight
    mouthStretchLeft mouthStretchRight mouthRollLower mouthRollUpper
    mouthShrugLower mouthShrugUpper mouthPressLeft mouthPressRight
    mouthLowerDownLeft mouthLowerDownRight mouthUpperUpLeft mouthUpperUpRight
    browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight
    cheekPuff cheekSquintLeft cheekSquintRight noseSneerLeft noseSneerRight
"""
# ARKit's blend shapes in ARKit's order, all but tongueOut.
FACE_ACTIONS: tuple[str, ...] = (
    *(f"{name}Left" for name in _EYE.split()),
    *(f"{name}Right" for name in _EYE.split()),
    *_REST.split(),
)
# How the head turns, signed: at 1 towards the subject's left, up, and towards the left shoulder.
HEAD_TURNS = ("headYaw", "headPitch", "headRoll")
HEAD_TURN = 12.0  # degrees at 1
ACTIONS = (*FACE_ACTIONS, *HEAD_TURNS)
# One thing moved one way or the other: these are not two sides of it.
ASIDE = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")
# Left and right of what has both, by the name without its side.
SIDES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        name.removesuffix("Left"): (name, name.removesuffix("Left") + "Right")
        for name in FACE_ACTIONS
        if name.endswith("Left") and name not in ASIDE
    }
)

Item = TypeVar("Item")


def mirrored(name: str) -> str:
    """The action as a mirror shows it, on the other side; the name itself where it has no side."""
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name


# Where each action's weight stands for a face seen in a mirror, and which weights change their sign.
MIRRORED = [ACTIONS.index(mirrored(name)) for name in ACTIONS]
_SIGNS = np.array([-1 if name in ("headYaw", "headRoll") else 1 for name in ACTIONS], np.float32)


def in_mirror(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights [..., n] over `ACTIONS` of what a mirror shows."""
    return weights[..., MIRRORED] * _SIGNS


def least(name: str) -> float:
    """The least weight an action takes; the most is 1."""
    return -1.0 if name in HEAD_TURNS else 0.0


def turns(actions: Sequence[str]) -> list[dict[str, float]]:
    """Every turn of the head among `actions`, alone and in full, either way."""
    return [{name: way} for name in HEAD_TURNS if name in actions for way in (-1.0, 1.0)]


def lowest(actions: Sequence[str]) -> NDArray[np.float32]:
    """`least` of each, float32 [n]."""
    return np.array([least(name) for name in actions], np.float32)


def sideless(name: str) -> str:
    """The name that stands for an action and its other side, where it has one; else the name itself."""
    both = re.sub("(Left|Right)$", "", name)
    return both if both in SIDES else name


def sides(name: str) -> tuple[str, ...]:
    """What a name stands for: left and right of `mouthSmile`; any other, `jaw` too, for itself."""
    return SIDES.get(name, (name,))


def by_side(table: Mapping[str, Item]) -> dict[str, Item]:
    """The table by `sides` of its names; what a side has under its own name comes first."""
    return {
        side: item
        for name, item in table.items()
        for side in sides(name)
        if side == name or side not in table
    }


def _pose(**weights: float) -> Mapping[str, float]:
    return MappingProxyType(by_side(weights))


# After EMFACS, the facial action coding of emotions.
EXPRESSIONS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "happy": _pose(
            mouthSmile=1, mouthDimple=0.15, jawOpen=0.2, cheekSquint=0.6, eyeSquint=0.1, eyeBlink=0.05,
            browDown=0.15,
        ),
        "sad": _pose(
            browInnerUp=0.8, browDown=0.1, mouthFrown=0.9, mouthShrugLower=0.4,
            eyeLookDown=0.2, eyeBlink=0.15,
        ),
        "surprise": _pose(browInnerUp=0.7, browOuterUp=0.85, eyeWide=1, jawOpen=0.6),
        "angry": _pose(
            browDown=1, eyeSquint=0.5, eyeWide=0.3, noseSneer=0.25,
            mouthPress=0.7, mouthFrown=0.35, mouthShrugLower=0.3,
        ),
        "disgust": _pose(
            noseSneer=0.9, mouthUpperUp=0.6, browDown=0.7, cheekSquint=0.5,
            mouthFrown=0.6, eyeSquint=0.6, mouthShrugLower=0.4,
        ),
        "fear": _pose(
            browInnerUp=0.8, browOuterUp=0.5, browDown=0.3, eyeWide=1,
            mouthStretch=0.9, jawOpen=0.3, mouthLowerDown=0.3,
        ),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Pose:
    """A named action vector, checked once; what `moue.expressions.Expression` is."""

    name: str
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        checked = {
            name: weight_within(value, f"action {shown(name)}", least(name))
            for name, value in self.weights.items()
        }
        object.__setattr__(self, "weights", MappingProxyType(by_side(checked)))

    def __reduce__(self) -> tuple[type[Pose], tuple[str, dict[str, float]]]:
        """So that it can be copied and pickled: a mapping proxy cannot."""
        return type(self), (self.name, dict(self.weights))


Weights: TypeAlias = Pose | Mapping[str, float] | Sequence[float] | NDArray[Any]


def action_vector(weights: Weights, actions: Sequence[str]) -> NDArray[np.float32]:
    """Weights by name, or in the order of `actions`, as one float32 [n], each from `least` to 1.

    A name without its side stands for both, but for a side that is named as well.

    Raises:
        ActionError: naming the action or index that is unknown, not finite or out of range.
    """
    if isinstance(weights, Mapping):
        weights = Pose("", weights)
    if isinstance(weights, Pose):
        return _named_vector(weights.weights, actions)
    if isinstance(weights, str):
        raise ActionError(
            f"weights are numbers by action name, but got {shown(weights)};"
            " moue.expression gives those of an expression by its name"
        )
    try:
        vector = np.asarray(weights)
    except (ValueError, TypeError, OverflowError) as error:
        raise ActionError(
            f"an action vector must be a list of numbers: {one_line(error)}"
        ) from None
    if vector.shape != (len(actions),):
        raise ActionError(
            f"an action vector must have shape ({len(actions)},), one weight per action, "
            f"but got {vector.shape}; a dict of names needs only those that move"
        )
    if vector.dtype.kind not in "fiu":
        for index, value in enumerate(weights):
            weight_within(value, f"action {index} ({actions[index]})", least(actions[index]))
    with np.errstate(over="ignore"):
        vector = vector.astype(np.float32)
    wrong = np.flatnonzero(~((vector >= lowest(actions)) & (vector <= 1)))
    if wrong.size:
        index = int(wrong[0])
        value = float(np.asarray(weights)[index])
        weight_within(value, f"action {index} ({actions[index]})", least(actions[index]))
    return vector + np.float32(0)  # −0 becomes 0


def _named_vector(weights: Mapping[str, float], actions: Sequence[str]) -> NDArray[np.float32]:
    position = {name: index for index, name in enumerate(actions)}
    vector = np.zeros(len(actions), np.float32)
    for name, weight in weights.items():
        if name not in position:
            raise unknown_action(name, actions)
        vector[position[name]] = weight
    return vector


def unknown_action(name: object, actions: Sequence[str]) -> ActionError:
    """What is raised for a name that none of `actions` has; it says which are near."""
    known = [*(both for both in SIDES if set(SIDES[both]) <= set(actions)), *actions]
    return ActionError(
        f"unknown action {shown(name)}{suggest(str(name), known)} (moue actions lists them)"
    )


def weight_within(value: Any, what: str, lowest: float = 0.0) -> float:
    """The value as a float in [lowest, 1], judged after rounding to float32 as the model sees it."""
    if is_number(value):
        if lowest <= value <= 1:
            return float(value) + 0.0
        with np.errstate(over="ignore"), suppress(OverflowError):
            if lowest <= np.float32(value) <= 1:
                return min(1.0, max(lowest, float(value)))
    raise ActionError(f"{what} must be a number in [{lowest:g}, 1], but got {shown(value)}")


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
