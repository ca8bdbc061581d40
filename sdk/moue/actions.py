"""Actions, expressions and action curves: what a face is asked to do, and when.

An action vector `a` is float32 [n], one weight in [0, 1] per action, in [-1, 1] for a turn of the head;
an expression is a named vector; a curve is float32 [T, n] with a frame rate. The left of a name is the
subject's left; a name without its side stands for both (`sides`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moue.errors import ActionError, CurveError, one_line, reason_of, shown, suggest

MAX_FRAMES = 1_000_000  # frames in one curve: nine hours at 30 a second
MAX_FPS = 1000  # frames a second
MAX_CURVE_BYTES = 64 * 2**20  # bytes of a JSON curve, and of the frames that keys may come to
MAX_KEYS = 100_000  # in one curve
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
class Expression:
    """A named action vector; raises ActionError for a weight that is no number or out of range.

    Attributes:
        name: what it is called.
        weights: weight by action, from `least` to 1, at degree 1; an action left out weighs 0. A
            name given without its side, such as `mouthSmile`, is here as two.
    """

    name: str
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        checked = {name: _weight_of(name, value) for name, value in self.weights.items()}
        object.__setattr__(self, "weights", MappingProxyType(by_side(checked)))

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

    def rise(
        self, seconds: float = 2.0, fps: Rate = 30, degree: float = 1.0, hold: float = 0.0
    ) -> ActionCurve:
        """From rest to a degree in equal steps: `a_t = degree · (t − 1) / (T − 1)`, t = 1 … T.

        Args:
            seconds: how long it rises.
            fps: frames a second.
            degree: where it ends, in [0, 1].
            hold: for how many seconds more it stays there.
        """
        frames, held = _frame_counts(seconds, hold, fps, least=1)
        ramp = np.linspace(0.0, 1.0, frames) if frames > 1 else np.ones(1)
        return self._along(np.append(ramp, np.ones(held)), degree, fps)

    def pulse(
        self, seconds: float = 2.0, fps: Rate = 30, degree: float = 1.0, hold: float = 0.0
    ) -> ActionCurve:
        """From rest to a degree and back, in equal steps; at least three frames.

        Args:
            seconds: how long it moves.
            fps: frames a second.
            degree: its peak, in [0, 1].
            hold: for how many seconds more, in the middle, it stays there.
        """
        frames, held = _frame_counts(seconds, hold, fps, least=3)
        steps = np.minimum(np.arange(frames), np.arange(frames)[::-1])
        ramp = np.insert(steps / steps.max(), frames // 2, np.ones(held))
        return self._along(ramp, degree, fps)

    def _along(self, ramp: NDArray[np.float64], degree: float, fps: Rate) -> ActionCurve:
        return self.degrees((_degree(degree, "degree") * ramp).tolist(), fps)


Weights: TypeAlias = Expression | Mapping[str, float] | Sequence[float] | NDArray[Any]
Rate: TypeAlias = int | float | str | Fraction


def action_vector(weights: Weights, actions: Sequence[str]) -> NDArray[np.float32]:
    """Weights by name, or in the order of `actions`, as one float32 [n], each from `least` to 1.

    A name without its side stands for both, but for a side that is named as well.

    Raises:
        ActionError: naming the action or index that is unknown, not finite or out of range.
    """
    if isinstance(weights, Mapping):
        weights = Expression("", weights)
    if isinstance(weights, Expression):
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


def _named_vector(expression: Expression, actions: Sequence[str]) -> NDArray[np.float32]:
    position = _positions(actions)
    vector = np.zeros(len(actions), np.float32)
    for name, weight in expression.weights.items():
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


def _positions(actions: Sequence[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(actions)}


@dataclass(frozen=True, eq=False, init=False)
class ActionCurve:
    """What a face does over time; immutable. Raises CurveError for a value that is out of range.

    Attributes:
        actions: n different action names; one given without its side is here as two.
        values: float32 [T, n], each from `least` to 1, read-only.
        fps: frames a second, exact: 29.97 is 30000/1001.
    """

    actions: tuple[str, ...]
    values: NDArray[np.float32] = field(repr=False)
    fps: Fraction

    def __init__(self, actions: Sequence[str], values: ArrayLike, fps: Rate = 30) -> None:
        actions = tuple(actions)
        if not all(isinstance(name, str) for name in actions) or len(set(actions)) != len(actions):
            raise CurveError(
                f"a curve's actions must be different names, but got {shown(list(actions))}"
            )
        array, columns = _curve_values(values, actions), by_side(_positions(actions))
        if tuple(columns) != actions:
            array = array[:, list(columns.values())]
        array.setflags(write=False)
        object.__setattr__(self, "actions", tuple(columns))
        object.__setattr__(self, "values", array)
        object.__setattr__(self, "fps", parse_fps(fps))

    def __len__(self) -> int:
        """How many frames it has."""
        return len(self.values)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return float(len(self) / self.fps)

    def to_json(self) -> str:
        """`{"fps": "30000/1001", "actions": ["jawOpen", …], "values": [[…], …]}`, no bit lost."""
        fps = self.fps.numerator if self.fps.denominator == 1 else str(self.fps)
        rows = [[float(str(value)) for value in row] for row in self.values]
        return json.dumps({"fps": fps, "actions": list(self.actions), "values": rows})

    @staticmethod
    def from_keys(keys: Sequence[Mapping[str, float]], fps: Rate = 30) -> ActionCurve:
        """A curve from pose to pose, linear in between.

        Example:
            >>> ActionCurve.from_keys([{"at": 0}, {"at": 0.5, "mouthSmile": 0.8}, {"at": 2}])

        Args:
            keys: of each the second it is `at`, later than the one before, and a weight for every
                action of moue's that is not 0 then. What comes before the first is as the first.
            fps: frames a second; frame k is what stands at k / fps seconds, up to the last key.

        Raises:
            CurveError: naming the key that makes no sense, or that there are too many.
        """
        rate = parse_fps(fps)
        times, poses = _read_keys(keys, float((MAX_FRAMES - 1) / rate))
        moved = np.flatnonzero(poses.any(axis=0))
        frames = 1 + ceil(round(times[-1] * float(rate), 6))
        if frames * moved.size * poses.itemsize > MAX_CURVE_BYTES:
            raise CurveError(
                f"these keys come to {frames} frames of {moved.size} actions, more than"
                f" {MAX_CURVE_BYTES // 2**20} MB; split the curve"
            )
        seconds = np.arange(frames) / float(rate)
        values = np.empty((frames, moved.size), np.float32)
        for column, action in enumerate(moved):
            values[:, column] = np.interp(seconds, times, poses[:, action])
        return ActionCurve(tuple(ACTIONS[action] for action in moved), values, rate)

    @staticmethod
    def from_json(source: str | os.PathLike[str] | bytes) -> ActionCurve:
        """A curve from a JSON file, or from JSON itself: bytes, or a string that opens a brace.

        It has a row a frame, as `to_json` writes it, or keys, as `from_keys` takes them:
        `{"fps": 30, "keys": [{"at": 0}, {"at": 0.5, "mouthSmile": 0.8}, {"at": 2}]}`.

        Raises:
            CurveError: it cannot be read, is no curve, or asks for what makes no sense.
        """
        if isinstance(source, str) and source.lstrip().startswith("{"):
            source = source.encode(errors="replace")
        data = source if isinstance(source, bytes) else _read_curve(Path(source))
        try:
            curve = strict_json(data)
        except ValueError as error:
            raise CurveError(
                f"a curve must be JSON, but it does not parse: {one_line(error)}"
            ) from None
        wanted = (
            'a curve must hold {"fps": 30, "actions": ["jawOpen", …], "values": [[0, …], …]}'
            ' or {"fps": 30, "keys": [{"at": 0, "jawOpen": 0.4}, …]}'
        )
        if not isinstance(curve, dict):
            raise CurveError(f"{wanted}, but it holds a {type(curve).__name__}")
        form = ("keys",) if "keys" in curve else ("actions", "values")
        if missing := {"fps", *form} - curve.keys():
            raise CurveError(f"{wanted}, but {' and '.join(sorted(missing))} is missing")
        if not all(isinstance(curve[name], list) for name in form):
            raise CurveError(f"{wanted}, but its {' or '.join(form)} are not a list")
        if form == ("actions", "values"):
            return ActionCurve(**{name: curve[name] for name in ("actions", "values", "fps")})
        if also := {"actions", "values"} & curve.keys():
            raise CurveError(f"{wanted}, but it holds keys and {' and '.join(sorted(also))}")
        return ActionCurve.from_keys(curve["keys"], curve["fps"])


def _read_curve(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CURVE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise CurveError(f"cannot read the curve {path}: {reason_of(error)}") from None
    if len(data) > MAX_CURVE_BYTES:
        raise CurveError(f"{path} is larger than {MAX_CURVE_BYTES // 2**20} MB; split the curve")
    return data


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
    return curve


def _read_keys(
    keys: Sequence[Mapping[str, Any]], longest: float
) -> tuple[list[float], NDArray[np.float32]]:
    """The seconds at which K keys are, `longest` at most, and their poses [K, n] over `ACTIONS`."""
    if not 1 <= len(keys) <= MAX_KEYS:
        raise CurveError(f"a curve must have 1 … {MAX_KEYS} keys, but got {len(keys)}")
    times: list[float] = []
    poses = np.empty((len(keys), len(ACTIONS)), np.float32)
    for index, key in enumerate(keys):
        if not isinstance(key, Mapping) or "at" not in key:
            raise CurveError(f'key {index} must be {{"at": seconds, "jawOpen": 0.4, …}}')
        weights = dict(key)
        at = weights.pop("at")
        if not (_is_number(at) and 0 <= at <= longest):
            raise CurveError(
                f"key {index} must be at a second in [0, {longest:.6g}], but is at {shown(at)}"
            )
        if times and at <= times[-1]:
            raise CurveError(
                f"key {index} must be later than the one before, at {times[-1]:g} s,"
                f" but is at {shown(at)}"
            )
        times.append(float(at))
        try:
            poses[index] = action_vector(weights, ACTIONS)
        except ActionError as error:
            raise CurveError(f"key {index}: {error}") from None
    return times, poses


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
        raise CurveError(f"fps must be a number above 0, up to {MAX_FPS}, but got {shown(rate)}")
    return fps


def _frame_counts(seconds: float, hold: float, fps: Rate, least: int) -> tuple[int, int]:
    """Frames of a movement, `least` at least, and those for which its peak is held."""
    rate = parse_fps(fps)
    longest = float(MAX_FRAMES / rate)
    if not (isinstance(seconds, Real) and 0 < seconds * rate <= MAX_FRAMES):
        raise CurveError(
            f"seconds must be above 0 and at most {longest:.0f}, but got {shown(seconds)}"
        )
    if not (isinstance(hold, Real) and 0 <= hold * rate <= MAX_FRAMES - seconds * rate):
        raise CurveError(
            f"hold must be at least 0 s, and with seconds at most {longest:.0f},"
            f" but got {shown(hold)}"
        )
    return max(least, round(float(seconds) * rate)), round(float(hold) * rate)


def _degree(value: Any, what: str) -> float:
    try:
        return _weight(value, what)
    except ActionError as error:
        raise CurveError(str(error)) from None


def _weight_of(name: str, value: Any) -> float:
    return _weight(value, f"action {shown(name)}", least(name))


def _weight(value: Any, what: str, lowest: float = 0.0) -> float:
    """The value as a float in [lowest, 1], judged after rounding to float32 as the model sees it."""
    if _is_number(value):
        if lowest <= value <= 1:
            return float(value) + 0.0
        with np.errstate(over="ignore"), suppress(OverflowError):
            if lowest <= np.float32(value) <= 1:
                return min(1.0, max(lowest, float(value)))
    raise ActionError(f"{what} must be a number in [{lowest:g}, 1], but got {shown(value)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


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
