"""Who moves the portrait: a face before a camera, or actions from another machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Generic, Protocol

import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS, in_mirror
from moue.tracking import Pose, Tracker
from moue.tracking.smoothing import LONGEST_STEP, Presence
from moue.video.feed import PATIENCE, Feed, Fresh, Item
from moue.video.ffmpeg import Frame
from moue.wire import Received

LULL = 0.2  # s without a picture after which the face counts as out of sight,
LULL_STEPS = 2.5  # or so many times as long as the last two were apart: some sources are slow


@dataclass(frozen=True)
class Moment:
    """What is to be shown.

    Attributes:
        captured: when its picture was taken or its line came, on `time.monotonic()`'s clock.
        weights: float32 [n] over `moue.actions.ACTIONS`.
        confidence: in [0, 1]; 0 where no one moves the portrait.
        fresh: False where nothing new came and the portrait only goes on easing to rest.
        pose: how the head is turned, where a face was seen here.
    """

    captured: float
    weights: NDArray[np.float32]
    confidence: float
    fresh: bool
    pose: Pose | None = None


class Performer(Protocol):
    """Gives moments until it has ended; never waits longer than it is told to."""

    mirror: bool

    @property
    def ended(self) -> bool: ...

    @property
    def losses(self) -> int: ...

    def next(self, timeout: float) -> Moment | None: ...

    def calibrate(self) -> bool: ...


class Following(Generic[Item]):
    """Takes the newest of a feed, and knows when it has fallen silent."""

    def __init__(self, feed: Feed[Item]) -> None:
        self._feed = feed
        self._number, self._last, self._lull = -1, 0.0, LULL
        self.mirror = False

    @property
    def ended(self) -> bool:
        """Whether all that came has been taken, and nothing more will come."""
        return self._feed.ended and not self._feed.has_newer(self._number)

    @property
    def losses(self) -> int:
        return self._feed.losses

    def _newest(self, timeout: float) -> Fresh[Item] | None:
        fresh = self._feed.newer(self._number, timeout)
        if fresh is not None:
            if self._number >= 0:
                steps = (fresh.seconds - self._last) / (fresh.number - self._number)
                self._lull = min(max(LULL, LULL_STEPS * steps), PATIENCE)
            self._number, self._last = fresh.number, fresh.seconds
        return fresh

    def _silent(self) -> bool:
        return self._number >= 0 and time.monotonic() - self._last > self._lull


class FacePerformer(Following[Frame]):
    """A face before a camera; always its newest picture."""

    def __init__(self, camera: Feed[Frame], tracker: Tracker) -> None:
        super().__init__(camera)
        self._tracker = tracker
        self.calibrated = False

    def next(self, timeout: float) -> Moment | None:
        fresh = self._newest(timeout)
        if fresh is not None:
            tracked = self._tracker.track(fresh.item, fresh.seconds)
        elif self._silent():
            tracked = self._tracker.read(None, time.monotonic())
        else:
            return None
        weights, pose = tracked.weights, tracked.pose
        if self.mirror:
            weights, pose = in_mirror(weights), pose and pose.in_mirror()
        return Moment(tracked.seconds, weights, tracked.confidence, fresh is not None, pose)

    def calibrate(self) -> bool:
        done = self._tracker.calibrate()
        self.calibrated |= done
        return done


class RemotePerformer(Following[Received]):
    """Actions that arrive; when they stop, the portrait eases to rest."""

    def __init__(self, lines: Feed[Received]) -> None:
        super().__init__(lines)
        self._presence = Presence(len(ACTIONS))
        self._stepped = time.monotonic()

    def next(self, timeout: float) -> Moment | None:
        fresh = self._newest(timeout)
        if fresh is None and not self._silent():
            return None
        now = time.monotonic()
        step, self._stepped = min(now - self._stepped, LONGEST_STEP), now
        shown = self._presence(None if fresh is None else fresh.item.weights, step)
        return Moment(
            now if fresh is None else fresh.seconds,
            in_mirror(shown) if self.mirror else shown,
            self._presence.confidence * (1.0 if fresh is None else fresh.item.confidence),
            fresh is not None,
        )

    def calibrate(self) -> bool:
        return False  # the sender knows its own face at rest
