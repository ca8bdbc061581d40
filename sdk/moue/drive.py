"""A whole performance carried from one face to another: whose it is stays behind, a(t) is played."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS
from moue.curves import ActionCurve
from moue.errors import NoFaceError, UsageError
from moue.rates import Rate, parse_fps
from moue.tracking import SEARCH, Measured, Tracked, Tracker, quietest, shown_at
from moue.video import VideoReader

NEAR = 0.25  # s around the second that was named as rest


class Performance:
    """What the face in a video does, frame by frame at a constant rate; iterated once.

    The first ten seconds, or all up to `rest_at`, are looked at before anything is played, for the
    face at rest; of these, only the meshes are kept (6 kB a frame). Memory does not grow with the
    video's length, but for 2 bytes an action and frame where `keep` is asked for.

    Args:
        video: whose face.
        tracker: follows it; one that was given a neutral face does not look for one.
        fps: frames per second, the video's own where it is None; frame k is what the video shows
            at k / fps seconds.
        actions: which of `moue.actions.ACTIONS` are played, in this order.
        rest_at: the second at which the face is at rest; None looks for the quietest.
        keep: remember what was played, for `curve`.

    Raises:
        NoFaceError: at the end of a video in which no face was seen, or at once where none is seen
            at `rest_at`.
        UsageError: it is iterated again; its tracker has gone through the video.
    """

    def __init__(
        self,
        video: VideoReader,
        tracker: Tracker,
        fps: Rate | None = None,
        actions: tuple[str, ...] = ACTIONS,
        rest_at: float | None = None,
        keep: bool = False,
    ) -> None:
        self.video, self.tracker = video, tracker
        self.fps = parse_fps(video.fps if fps is None else fps)
        self.actions = tuple(name for name in actions if name in ACTIONS)
        self.rest_at = rest_at
        self._columns = [ACTIONS.index(name) for name in self.actions]
        self._kept: list[NDArray[np.float16]] | None = [] if keep else None
        self.frames = self.seen = 0
        self._begun = False

    def __iter__(self) -> Generator[dict[str, float], None, None]:
        """Weights by action, for each frame."""
        if self._begun:
            raise UsageError("a performance is iterated once; make another, with another tracker")
        self._begun = True
        for tracked in self._tracked():
            weights = tracked.weights[self._columns]
            self.frames += 1
            self.seen += tracked.landmarks is not None
            if self._kept is not None:
                self._kept.append(weights.astype(np.float16))
            yield dict(zip(self.actions, weights.tolist(), strict=True))
        if not self.seen:
            raise NoFaceError(f"no face found in {self.video.path}; it must show one to be driven")

    def curve(self) -> ActionCurve:
        """What has been played, as `moue animate --curve` takes it."""
        values = np.array(self._kept or [], np.float32).reshape(-1, len(self.actions))
        return ActionCurve(self.actions, np.round(values, 4), self.fps)

    def _tracked(self) -> Iterator[Tracked]:
        measured = self._measured()
        ahead: deque[tuple[float, Measured | None]] = deque()
        if self.tracker.neutral is None:
            enough = SEARCH if self.rest_at is None else self.rest_at + NEAR
            for seconds, face in measured:
                ahead.append((seconds, face))
                if seconds >= enough:
                    break
            self._settle(ahead)
        while ahead:
            seconds, face = ahead.popleft()
            yield self.tracker.read(face, seconds)
        for seconds, face in measured:
            yield self.tracker.read(face, seconds)

    def _settle(self, ahead: Iterable[tuple[float, Measured | None]]) -> None:
        if self.rest_at is None:
            rest = quietest(ahead)
        else:
            rest = shown_at(face for t, face in ahead if abs(t - self.rest_at) <= NEAR)
            if rest is None:
                raise NoFaceError(
                    f"no face is seen at {self.rest_at:g} s of {self.video.path};"
                    " name another second for --neutral, or leave it out"
                )
        if rest is not None:
            self.tracker.start_from(rest)

    def _measured(self) -> Iterator[tuple[float, Measured | None]]:
        for k, frame in enumerate(self.video.steady(self.fps, exact=False)):
            seconds = float(k / self.fps)
            yield seconds, self.tracker.measure(frame, seconds)
