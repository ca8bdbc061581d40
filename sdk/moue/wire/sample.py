"""What is sent, what of it is played, and the limits both forms share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.actions import least
from moue.errors import shown
from moue.tracking import Pose

MAX_BYTES = 16_384  # of one line or packet; a full one has 2,000


@dataclass(frozen=True)
class Sample:
    """What one frame of a driver comes to.

    Attributes:
        weights: float32 [n] over `moue.actions.ACTIONS`.
        confidence: in [0, 1].
        pose: how the head is turned; None without a face.
        frame: which.
        time: when it was taken, seconds since 1970 UTC.
    """

    weights: NDArray[np.float32]
    confidence: float
    pose: Pose | None
    frame: int
    time: float


@dataclass(frozen=True)
class Received:
    """What a receiver plays: weights float32 [n] over `moue.actions.ACTIONS`, and confidence."""

    weights: NDArray[np.float32]
    confidence: float


def weight(value: Any, name: str) -> float:
    """The value, if it is a number from the action's least to 1; ValueError for anything else."""
    low = least(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= 1:
        raise ValueError(f"{name} must be a number in [{low:g}, 1], but got {shown(value)}")
    return float(value)
