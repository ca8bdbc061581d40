"""What is sent, what of it is played, and the limits both forms share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS, action_vector, by_side, unknown_action, weight_within
from moue.errors import ActionError
from moue.tracking import Pose

MAX_BYTES = 16_384  # of one line or packet; a full one has 2,000
OTHERS = ("tongueOut", "_neutral")  # ARKit's and MediaPipe's names for what moue does not move


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


def received(weights: Mapping[str, Any], confidence: Any) -> Received:
    """What was sent, by name: one without its side stands for both, unknown ones are passed over.

    Raises:
        ValueError: a weight or the confidence is no number or out of range, or all names are unknown.
    """
    try:
        known = {name: weight for name, weight in by_side(weights).items() if name in ACTIONS}
        others = [name for name in weights if name not in OTHERS]
        if others and not known:
            raise unknown_action(others[0], ACTIONS)
        return Received(action_vector(known, ACTIONS), weight_within(confidence, "confidence"))
    except ActionError as error:
        raise ValueError(str(error)) from None
