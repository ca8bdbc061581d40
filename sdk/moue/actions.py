"""Actions, expressions and action curves: what a face is asked to do, and when.

An action vector `a` is float32 [n], one weight in [0, 1] per action, in [-1, 1] for a turn of the head;
an expression is a named vector; a curve is float32 [T, n] with a frame rate. The left of a name is the
subject's left.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from moue.errors import ActionError, CurveError, one_line, reason_of, suggest

MAX_FRAMES = 1_000_000  # frames in one curve: nine hours at 30 a second
MAX_FPS = 1000  # frames a second
MAX_CURVE_BYTES = 64 * 2**20  # bytes of a JSON curve
RATE = re.compile(r"\d{1,9}(\.\d{1,9}|/\d{1,9})?")  # no exponents: "1e999999999" takes minutes
NTSC_RATES = (15, 24, 30, 48, 60, 120)  # 29.97 is written for 30000/1001, and so on

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


def sides(name: str) -> tuple[str, ...]:
    """What a name stands for: an action itself; left and right of what has its side left out."""
    return (name,) if name in ACTIONS else (f"{name}Left", f"{name}Right")


def _pose(**weights: float) -> Mapping[str, float]:
    """Weights by action; a name that has a left and a right stands for both."""
    pose: dict[str, float] = {}
    for name, weight in weights.items():
        pose.update(dict.fromkeys(sides(name), weight))
    return MappingProxyType(pose)


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
class Expression:
    """A named action vector; raises ActionError for a weight that is no number or out of range.

    Attributes:
        name: what it is called.
        weights: weight by action, from `least` to 1, at degree 1; an action left out weighs 0.
    """

    name: str
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        checked = {name: _weight_of(name, value) for name, value in self.weights.items()}
        object.__setattr__(self, "weights", MappingProxyType(checked))

    def __reduce__(self) -> tuple[type[Expression], tuple[str, dict[str, float]]]:
        """So that it can be copied and pickled: a mapping proxy cannot."""
        return Expression, (self.name, dict(self.weights))

    def at(self, degree: float) -> dict[str, float]:
        """The weights at one degree in [0, 1]: `a = degree · expression`."""
        degree = _degree(degree, f"the degree of {self.name}" if self.name else "degree")
        return {name: degree * weight for name, weight in self.weights.items()}

    def degrees(self, degrees: Sequence[float], fps: Rate = 30) -> ActionCurve:
        """One frame per degree, in the order given."""
        checked = [_degree(degree, f"degree {index}") for index, degree in enumerate(degrees)]
        values = np.outer(checked, list(self.weights.values())).astype(np.float32)
        return ActionCurve(tuple(self.weights), values, parse_fps(fps))

    def rise(self, seconds: float = 2.0, fps: Rate = 30) -> ActionCurve:
        """From rest to degree 1 in equal steps: `a_t = (t − 1) / (T − 1)`, t = 1 … T."""
        frames = _frame_count(seconds, fps, least=1)
        ramp = np.linspace(0.0, 1.0, frames) if frames > 1 else np.ones(1)
        return self.degrees(ramp.tolist(), fps)

    def pulse(self, seconds: float = 2.0, fps: Rate = 30) -> ActionCurve:
        """From rest to degree 1 and back, in equal steps; at least three frames."""
        frames = _frame_count(seconds, fps, least=3)
        steps = np.minimum(np.arange(frames), np.arange(frames)[::-1])
        return self.degrees((steps / steps.max()).tolist(), fps)


Weights: TypeAlias = Expression | Mapping[str, float] | Sequence[float] | NDArray[Any]
Rate: TypeAlias = int | float | str | Fraction


def action_vector(weights: Weights, actions: Sequence[str]) -> NDArray[np.float32]:
    """Weights by name, or in the order of `actions`, as one float32 [n], each from `least` to 1.

    Raises:
        ActionError: naming the action or index that is unknown, not finite or out of range.
    """
    if isinstance(weights, Expression):
        weights = weights.weights
    if isinstance(weights, Mapping):
        return _named_vector(weights, actions)
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
            _weight(value, f"action {index} ({actions[index]})", least(actions[index]))
    with np.errstate(over="ignore"):
        vector = vector.astype(np.float32)
    wrong = np.flatnonzero(~((vector >= lowest(actions)) & (vector <= 1)))
    if wrong.size:
        index = int(wrong[0])
        value = float(np.asarray(weights)[index])
        _weight(value, f"action {index} ({actions[index]})", least(actions[index]))
    return vector + np.float32(0)  # −0 becomes 0


def _named_vector(weights: Mapping[str, float], actions: Sequence[str]) -> NDArray[np.float32]:
    position = {name: index for index, name in enumerate(actions)}
    vector = np.zeros(len(actions), np.float32)
    for name, value in weights.items():
        if name not in position:
            raise ActionError(f"unknown action {name!r}{suggest(str(name), actions)}")
        vector[position[name]] = _weight_of(name, value)
    return vector


@dataclass(frozen=True, eq=False)
class ActionCurve:
    """What a face does over time; immutable. Raises CurveError for a value that is out of range.

    Attributes:
        actions: n different action names.
        values: float32 [T, n], each from `least` to 1, read-only.
        fps: frames a second, exact: 29.97 is 30000/1001.
    """

    actions: tuple[str, ...]
    values: NDArray[np.float32] = field(repr=False)
    fps: Fraction = Fraction(30)

    def __post_init__(self) -> None:
        actions = tuple(self.actions)
        if not all(isinstance(name, str) for name in actions) or len(set(actions)) != len(actions):
            raise CurveError(
                f"a curve's actions must be different names, but got {_shown(list(actions))}"
            )
        object.__setattr__(self, "actions", actions)
        object.__setattr__(self, "values", _curve_values(self.values, actions))
        object.__setattr__(self, "fps", parse_fps(self.fps))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def seconds(self) -> float:
        return float(len(self) / self.fps)

    def to_json(self) -> str:
        """`{"fps": "30000/1001", "actions": ["jawOpen", …], "values": [[…], …]}`, no bit lost."""
        fps = self.fps.numerator if self.fps.denominator == 1 else str(self.fps)
        rows = [[float(str(value)) for value in row] for row in self.values]
        return json.dumps({"fps": fps, "actions": list(self.actions), "values": rows})

    @staticmethod
    def from_json(source: str | os.PathLike[str] | bytes) -> ActionCurve:
        """A curve from a JSON file, or from JSON itself: bytes, or a string that opens a brace."""
        if isinstance(source, str) and source.lstrip().startswith("{"):
            source = source.encode()
        data = source if isinstance(source, bytes) else _read_curve(Path(source))
        try:
            curve = strict_json(data)
        except ValueError as error:
            raise CurveError(
                f"a curve must be JSON, but it does not parse: {one_line(error)}"
            ) from None
        wanted = 'a curve must hold {"fps": 30, "actions": ["jawOpen", …], "values": [[0, …], …]}'
        if not isinstance(curve, dict):
            raise CurveError(f"{wanted}, but it holds a {type(curve).__name__}")
        if missing := {"fps", "actions", "values"} - curve.keys():
            raise CurveError(f"{wanted}, but {' and '.join(sorted(missing))} is missing")
        if not (isinstance(curve["actions"], list) and isinstance(curve["values"], list)):
            raise CurveError(f"{wanted}, but its actions or values are not a list")
        return ActionCurve(**{name: curve[name] for name in ("actions", "values", "fps")})


def _read_curve(path: Path) -> bytes:
    try:
        if path.is_file() and path.stat().st_size > MAX_CURVE_BYTES:
            raise CurveError(
                f"{path} is larger than {MAX_CURVE_BYTES // 2**20} MB; split the curve"
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise CurveError(f"cannot read the curve {path}: {reason_of(error)}") from None


def _curve_values(values: Any, actions: tuple[str, ...]) -> NDArray[np.float32]:
    try:
        array = np.array(values)
    except (ValueError, TypeError, OverflowError):
        raise CurveError(f"a curve's rows must each hold {len(actions)} numbers") from None
    if array.ndim != 2 or array.shape[1] != len(actions) or not 1 <= len(array) <= MAX_FRAMES:
        raise CurveError(
            f"a curve's values must have shape [T, {len(actions)}], T = 1 … {MAX_FRAMES}, "
            f"but got {list(array.shape)}"
        )
    if array.dtype.kind not in "fiu" and array.size:
        raise CurveError(f"a curve's values must be numbers, but got {array.dtype.name}")
    with np.errstate(over="ignore"):
        curve = array.astype(np.float32) + np.float32(0)
    wrong = np.argwhere(~((curve >= lowest(actions)) & (curve <= 1)))
    if wrong.size:
        frame, index = wrong[0]
        raise CurveError(
            f"frame {frame}, action {actions[index]!r} must be in [{least(actions[index]):g}, 1], "
            f"but got {array[frame, index]}"
        )
    curve.setflags(write=False)
    return curve


def parse_fps(rate: Rate) -> Fraction:
    """A frame rate as the fraction it means: 30, "30000/1001", and 29.97 for 30000/1001.

    Raises:
        CurveError: for anything but a number above 0 and up to 1000.
    """
    try:
        if isinstance(rate, bool):
            raise TypeError
        if isinstance(rate, str) and not RATE.fullmatch(rate):
            raise ValueError
        fps = Fraction(repr(float(rate)) if isinstance(rate, (float, np.floating)) else rate)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        fps = Fraction(0)
    for whole in NTSC_RATES:
        ntsc = Fraction(whole * 1000, 1001)
        fps = ntsc if 0 < abs(fps - ntsc) < Fraction(1, 200) else fps
    fps = fps.limit_denominator(1001)
    if not 0 < fps <= MAX_FPS:
        raise CurveError(f"fps must be a number above 0, up to {MAX_FPS}, but got {_shown(rate)}")
    return fps


def _frame_count(seconds: float, fps: Rate, least: int) -> int:
    rate = parse_fps(fps)
    if not (isinstance(seconds, Real) and isfinite(seconds) and 0 < seconds * rate <= MAX_FRAMES):
        raise CurveError(
            f"seconds must be above 0 and at most {float(MAX_FRAMES / rate):.0f}, "
            f"but got {_shown(seconds)}"
        )
    return max(least, round(float(seconds) * rate))


def _degree(value: Any, what: str) -> float:
    try:
        return _weight(value, what)
    except ActionError as error:
        raise CurveError(str(error)) from None


def _weight_of(name: str, value: Any) -> float:
    return _weight(value, f"action {name!r}", least(name))


def _weight(value: Any, what: str, lowest: float = 0.0) -> float:
    """The value as a float in [lowest, 1], judged after rounding to float32 as the model sees it."""
    if isinstance(value, Real) and not isinstance(value, bool):
        with np.errstate(over="ignore"):
            try:
                if lowest <= np.float32(value) <= 1:
                    return min(1.0, max(lowest, float(value))) + 0.0
            except OverflowError:
                pass
    raise ActionError(f"{what} must be a number in [{lowest:g}, 1], but got {_shown(value)}")


def _shown(value: Any) -> str:
    try:
        return repr(value)[:80]
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a number of thousands of digits"


def strict_json(data: bytes) -> Any:
    """JSON as the standard has it: UTF-8, no NaN, no key twice. Raises ValueError."""

    def pairs(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        items = list(items)
        if len({key for key, _ in items}) != len(items):
            raise ValueError("a key stands twice")
        return dict(items)

    def constant(text: str) -> Any:
        raise ValueError(f"{text} is not a number")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
