"""Who moves the portrait: a face before a camera, or actions from another machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS, in_mirror
from moue.tracking import Tracked, Tracker
from moue.tracking.smoothing import LONGEST_STEP, Presence
from moue.video.feed import Feed
from moue.video.ffmpeg import Frame
from moue.wire import Received

LULL = 0.2  # s without a picture after which the face counts as out of sight


@dataclass(frozen=True)
class Moment:
    """What is to be shown.

    Attributes:
        captured: when its picture was taken or its line came, on `time.monotonic()`'s clock.
        weights: float32 [n] over `moue.actions.ACTIONS`.
        confidence: in [0, 1]; 0 where no one moves the portrait.
        fresh: False where nothing new came and the portrait only goes on easing to rest.
        tracked: all that was seen, where a face was tracked here.
    """

    captured: float
    weights: NDArray[np.float32]
    confidence: float
    fresh: bool
    tracked: Tracked | None = None


class Performer(Protocol):
    """Gives moments until it has ended; never waits longer than it is told to."""

    mirror: bool

    @property
    def ended(self) -> bool: ...

    @property
    def losses(self) -> int: ...

    def next(self, timeout: float) -> Moment | None: ...

    def calibrate(self) -> bool: ...


class FacePerformer:
    """A face before a camera; always its newest picture."""

    def __init__(self, camera: Feed[Frame], tracker: Tracker) -> None:
        self._camera, self._tracker = camera, tracker
        self._number, self._last = -1, 0.0
        self.mirror = self.calibrated = False

    @property
    def ended(self) -> bool:
        return self._camera.ended

    @property
    def losses(self) -> int:
        return self._camera.losses

    def next(self, timeout: float) -> Moment | None:
        fresh = self._camera.newer(self._number, timeout)
        if fresh is not None:
            self._number, self._last = fresh.number, fresh.seconds
            tracked = self._tracker.track(fresh.item, fresh.seconds)
        elif self._number >= 0 and time.monotonic() - self._last > LULL:
            tracked = self._tracker.read(None, time.monotonic())
        else:
            return None
        return Moment(
            tracked.seconds,
            _turned(tracked.weights, self.mirror),
            tracked.confidence,
            fresh is not None,
            tracked,
        )

    def calibrate(self) -> bool:
        self.calibrated = self._tracker.calibrate() or self.calibrated
        return self.calibrated


class RemotePerformer:
    """Actions that arrive; when they stop, the portrait eases to rest."""

    def __init__(self, lines: Feed[Received]) -> None:
        self._lines = lines
        self._presence = Presence(len(ACTIONS))
        self._number, self._last, self._stepped = -1, 0.0, time.monotonic()
        self.mirror = False

    @property
    def ended(self) -> bool:
        return self._lines.ended

    @property
    def losses(self) -> int:
        return self._lines.losses

    def next(self, timeout: float) -> Moment | None:
        fresh = self._lines.newer(self._number, timeout)
        now = time.monotonic()
        if fresh is not None:
            self._number, self._last = fresh.number, fresh.seconds
        elif self._number < 0 or now - self._last <= LULL:
            return None
        step, self._stepped = min(now - self._stepped, LONGEST_STEP), now
        shown = self._presence(None if fresh is None else fresh.item.weights, step)
        return Moment(
            now if fresh is None else fresh.seconds,
            _turned(shown, self.mirror),
            self._presence.confidence * (1.0 if fresh is None else fresh.item.confidence),
            fresh is not None,
        )

    def calibrate(self) -> bool:
        return False  # the sender knows its own face at rest


def _turned(weights: NDArray[np.float32], mirror: bool) -> NDArray[np.float32]:
    return in_mirror(weights) if mirror else weights
