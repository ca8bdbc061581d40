"""Action curves: what a face is asked to do, frame by frame; float32 [T, n] with a frame rate."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moue.actions import ACTIONS, action_vector, by_side, is_number, least, lowest
from moue.errors import ActionError, CurveError, one_line, reason_of, shown
from moue.rates import Rate, parse_fps
from moue.reading import read_within, strict_json

MAX_FRAMES = 1_000_000  # frames in one curve: nine hours at 30 a second
MAX_CURVE_BYTES = 64 * 2**20  # bytes of a JSON curve, and of the frames that keys may come to
MAX_KEYS = 100_000  # in one curve


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
        array = _curve_values(values, actions)
        columns = by_side({name: index for index, name in enumerate(actions)})
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

    def resampled(self, fps: Rate) -> ActionCurve:
        """The same over as many seconds at another rate, linear from frame to frame.

        Raises:
            CurveError: no rate, or one at which there are too many frames.
        """
        rate = parse_fps(fps)
        frames = max(1, round(len(self) * rate / self.fps))
        if frames > MAX_FRAMES:
            raise CurveError(
                f"a curve has at most {MAX_FRAMES} frames, but {frames} were asked for"
            )
        at = np.arange(frames) * float(self.fps / rate)
        columns = [np.interp(at, np.arange(len(self)), column) for column in self.values.T]
        return ActionCurve(self.actions, np.reshape(columns, (-1, frames)).T, rate)

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
    def from_json(source: str | os.PathLike[str] | bytes, fps: Rate | None = None) -> ActionCurve:
        """A curve from a JSON file, or from JSON itself: bytes, or a string that opens a brace.

        It has a row a frame, as `to_json` writes it, or keys, as `from_keys` takes them:
        `{"fps": 30, "keys": [{"at": 0}, {"at": 0.5, "mouthSmile": 0.8}, {"at": 2}]}`, at 30 frames a
        second where they name no rate. `fps` plays either at another, over as many seconds.

        Raises:
            CurveError: it cannot be read, is no curve, or asks for what makes no sense.
        """
        if isinstance(source, str) and source.lstrip().startswith("{"):
            source = source.encode(errors="replace")
        data = source if isinstance(source, bytes) else _read(Path(source))
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
        needed = {*form} if form == ("keys",) else {"fps", *form}
        if missing := needed - curve.keys():
            raise CurveError(f"{wanted}, but {' and '.join(sorted(missing))} is missing")
        if not all(isinstance(curve[name], list) for name in form):
            raise CurveError(f"{wanted}, but its {' or '.join(form)} are not a list")
        if form == ("actions", "values"):
            made = ActionCurve(**{name: curve[name] for name in ("actions", "values", "fps")})
            return made if fps is None else made.resampled(fps)
        if also := {"actions", "values"} & curve.keys():
            raise CurveError(f"{wanted}, but it holds keys and {' and '.join(sorted(also))}")
        own = parse_fps(curve.get("fps", 30))  # wrong ones are told of, though not played
        return ActionCurve.from_keys(curve["keys"], own if fps is None else fps)


def _read(path: Path) -> bytes:
    try:
        return read_within(path, MAX_CURVE_BYTES)
    except OSError as error:
        raise CurveError(f"cannot read the curve {path}: {reason_of(error)}") from None
    except ValueError as error:
        raise CurveError(
            f"cannot read the curve {path}: {error}; write it as keys, or in several curves"
        ) from None


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
        if not (is_number(at) and 0 <= at <= longest):
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
