"""Calm without lag: the One-Euro filter, and an ease to rest and back when the face is lost."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

STILL_CUTOFF = 1.5  # Hz, of what hardly moves: calm
SPEED_CUTOFF = 5.0  # Hz more for each unit a second: what moves fast passes through
DERIVATIVE_CUTOFF = 6.0  # Hz, of the speed itself
LONGEST_STEP = 0.25  # s; frames further apart are taken as this far

HOLD = 0.15  # s that a face may be missing before it eases to rest
FALL = 0.2  # s, time constant of that ease
RETURN = 0.3  # s in which a face that is found takes over


class OneEuro:
    """The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012) on a vector of actions.

    Its lag follows the speed of each action: see `lag`.
    """

    def __init__(self) -> None:
        self._value: Vector | None = None
        self._speed: Vector | float = 0.0

    @staticmethod
    def lag(speed: float) -> float:
        """Seconds by which the output trails an action that changes by `speed` a second."""
        return 1 / (2 * math.pi * (STILL_CUTOFF + SPEED_CUTOFF * abs(speed)))

    def __call__(self, value: Vector, step: float) -> Vector:
        """The filtered value; `step` is in seconds since the value before."""
        if self._value is None or step <= 0:
            self._value = value if self._value is None else self._value
            return self._value
        fresh = (value - self._value) / step
        self._speed = self._speed + _share(DERIVATIVE_CUTOFF, step) * (fresh - self._speed)
        share = _share(STILL_CUTOFF + SPEED_CUTOFF * np.abs(self._speed), step)
        self._value = np.asarray(self._value + share * (value - self._value), np.float32)
        return self._value

    def forget(self) -> None:
        """Starts anew with the next value."""
        self._value, self._speed = None, 0.0


def _share(cutoff: NDArray[np.float32] | float, step: float) -> NDArray[np.float32] | float:
    """How much of the way to a new value an exponential filter goes."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))


class Presence:
    """What is shown while a face comes and goes: never a jump.

    Attributes:
        confidence: 1 while the face is followed, falling to 0 after it is lost.
    """

    def __init__(self, size: int) -> None:
        self.confidence = 0.0
        self._shown = np.zeros(size, np.float32)
        self._found = self._missing = 0.0  # s

    def __call__(self, value: Vector | None, step: float) -> Vector:
        """The vector to show, `step` seconds after the one before; None where there is no face."""
        if value is None:
            self._found = 0.0
            self._missing += step
            if self._missing > HOLD:
                fall = math.exp(-min(step, self._missing - HOLD) / FALL)
                self._shown, self.confidence = (
                    self._shown * np.float32(fall),
                    self.confidence * fall,
                )
        else:
            self._missing = 0.0
            self._found += step
            share = min(1.0, self._found / RETURN)
            self._shown = self._shown + np.float32(share) * (value - self._shown)
            self.confidence = max(self.confidence, share)
        return self._shown
