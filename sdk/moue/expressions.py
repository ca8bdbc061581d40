"""Expressions: named action vectors, the curves along them, mixtures; and those the user saved.

A saved expression is a file, `$XDG_CONFIG_HOME/moue/expressions/NAME.json` (`~/.config` where that
is not set), with a weight by action: `{"mouthSmile": 0.6, "eyeBlinkLeft": 1.0}`.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.actions import (
    ACTIONS,
    EXPRESSIONS,
    SIDES,
    Pose,
    Weights,
    action_vector,
    least,
    weight_within,
)
from moue.curves import MAX_FRAMES, ActionCurve
from moue.errors import ActionError, CurveError, OutputError, reason_of, shown, suggest
from moue.files import check_file, disk_failures, user_folder, whole_file
from moue.rates import Rate, parse_fps
from moue.reading import read_within, strict_json

NAME = re.compile(r"[^\W\d_][\w-]{0,47}")  # no path, no `=` or `,` of the command line's lists
MAX_BYTES = 2**16  # of a file
MAX_ACTIONS = 512  # in a file

log = logging.getLogger("moue")


@dataclass(frozen=True)
class Expression(Pose):
    """A named action vector; raises ActionError for a weight that is no number or out of range.

    Attributes:
        name: what it is called.
        weights: weight by action, from `least` to 1, at degree 1; an action left out weighs 0. A
            name given without its side, such as `mouthSmile`, is here as two.
    """

    def at(self, degree: float) -> dict[str, float]:
        """The weights at one degree in [0, 1]: `a = degree · expression`."""
        degree = _degree(degree, f"the degree of {self.name}" if self.name else "degree")
        return {name: degree * weight for name, weight in self.weights.items()}

    def degrees(self, degrees: Sequence[float], fps: Rate = 30) -> ActionCurve:
        """One frame per degree, in the order given."""
        known = [_degree(degree, f"degree {index}") for index, degree in enumerate(degrees)]
        values = np.outer(known, list(self.weights.values())).astype(np.float32)
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


def expression(name: str, table: Mapping[str, Mapping[str, float]] = EXPRESSIONS) -> Expression:
    """The expression of that name, out of `table` or else among those the user saved.

    Args:
        name: `happy sad surprise angry disgust fear`, or what it was saved as.
        table: weights by action, by name, such as a bundle's `expressions`.

    Raises:
        ActionError: there is none, or its file is damaged.
    """
    if name in table:
        return Expression(name, table[name])
    files = _files()
    if name in files:
        return _read(files[name])
    known = [*table, *files]
    raise ActionError(
        f"unknown expression {name!r}{suggest(str(name), known)} (known: {', '.join(known)})"
    )


def mix(
    expressions: Mapping[str, float],
    actions: Mapping[str, float] | None = None,
    table: Mapping[str, Mapping[str, float]] = EXPRESSIONS,
) -> Expression:
    """A weighted sum of expressions, single actions added on top, each sum kept in range.

    Args:
        expressions: degree in [0, 1] by expression name.
        actions: weight by action name; one without its side stands for both.
        table: where the expressions are looked up before those the user saved.

    Raises:
        ActionError: as `expression` and `Expression`, and for what is no table.
    """
    if not isinstance(expressions, Mapping):
        raise ActionError(f"mix takes degrees by expression name, but got {shown(expressions)}")
    total: dict[str, float] = {}
    parts = [expression(name, table).at(degree) for name, degree in expressions.items()]
    for part in (*parts, Expression("", actions or {}).weights):
        for action, weight in part.items():
            total[action] = total.get(action, 0.0) + weight
    kept = {action: min(1.0, max(least(action), weight)) for action, weight in total.items()}
    return Expression("+".join([*expressions, *(actions or {})]), kept)


def save_expression(name: str, weights: Weights, actions: Sequence[str] = ACTIONS) -> Path:
    """Keeps an expression for this user, in place of one saved under that name before.

    Args:
        name: letters, digits, `-` and `_`, beginning with a letter; up to 48.
        weights: weight by action name, an expression, or float [n] as in `actions`.
        actions: the n action names there are.

    Returns:
        The file it was written to.

    Raises:
        ActionError: the name is wrong or taken by moue itself, or a weight is wrong.
        OutputError: the file cannot be written.
    """
    _check_name(name, actions)
    vector = action_vector(weights, actions)
    kept = {
        action: float(str(weight)) for action, weight in zip(actions, vector, strict=True) if weight
    }
    if not kept:
        raise ActionError(f"an expression moves something, but every weight of {name!r} is 0")
    path = _folder() / f"{name}.json"
    with disk_failures(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    check_file(path)
    with whole_file(path) as part:
        part.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return path


def saved_expressions() -> dict[str, Expression]:
    """Those the user saved, by name; a file that cannot be used is logged and left out."""
    found = {}
    for name, path in _files().items():
        try:
            found[name] = _read(path)
        except ActionError as error:
            log.warning("%s", error)
    return found


def with_saved(table: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Weights by expression: those of `table`, then those the user saved under other names."""
    saved = saved_expressions()
    return {**table, **{name: saved[name].weights for name in saved if name not in table}}


def remove_expression(name: str) -> None:
    """Removes a saved expression; ActionError where there is none, OutputError where it stays."""
    files = _files()
    if name not in files:
        raise ActionError(
            f"no saved expression is named {name!r}{suggest(str(name), files)}"
            f" (saved: {', '.join(files) or 'none'})"
        )
    with disk_failures(files[name]):
        files[name].unlink()


def _folder() -> Path:
    return user_folder("XDG_CONFIG_HOME", "~/.config") / "expressions"


def _files() -> dict[str, Path]:
    """The saved files by name, in order; whatever else lies in the folder is passed over."""
    try:
        folder = _folder()
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError, OutputError):
        return {}
    except OSError as error:
        log.warning("the saved expressions in %s cannot be read: %s", folder, error.strerror)
        return {}
    paths = [folder / name for name in names if name.endswith(".json")]
    return {path.stem: path for path in paths if NAME.fullmatch(path.stem)}


def _read(path: Path) -> Expression:
    try:
        if not path.is_file():
            raise ValueError("it is not a file")
        weights = strict_json(read_within(path, MAX_BYTES))
        if not isinstance(weights, dict) or not 1 <= len(weights) <= MAX_ACTIONS:
            raise ValueError('it must hold {"jawOpen": 0.4, …}')
        return Expression(path.stem, weights)
    except (OSError, ValueError, ActionError) as error:
        raise ActionError(
            f"the saved expression {path} cannot be used: {reason_of(error)}; mend it or remove it"
        ) from None


def _check_name(name: str, actions: Sequence[str]) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ActionError(
            "an expression's name must be up to 48 letters, digits, - or _, beginning with a"
            f" letter, but got {str(name)[:80]!r}"
        )
    taken = {word.lower(): word for word in (*actions, *SIDES, *EXPRESSIONS, "neutral")}
    if word := taken.get(name.lower()):
        raise ActionError(f"{word!r} is a name of moue's own; save the expression under another")


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
        return weight_within(value, what)
    except ActionError as error:
        raise CurveError(str(error)) from None
