"""A face in view → actions, with the head's pose.

>>> with Tracker() as tracker:
...     for seconds, frame in frames:
...         print(tracker.track(frame, seconds).weights)

`follow` finds the face mesh, `mesh` takes the pose out, `neutral` finds the face at rest,
`regressor` reads the actions off the difference, `smoothing` calms them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS, FACE_ACTIONS, HEAD_TURN, by_side, lowest, unknown_action
from moue.errors import ActionError
from moue.files import Closing
from moue.tracking.follow import Follower, Measured
from moue.tracking.mesh import Mesh, Pose, lay, place
from moue.tracking.neutral import SEARCH, Calibration, Neutral
from moue.tracking.regressor import load_regressor
from moue.tracking.smoothing import LONGEST_STEP, OneEuro, Presence

__all__ = [
    "SEARCH",
    "Measured",
    "Neutral",
    "Pose",
    "Tracked",
    "Tracker",
    "Tuning",
    "quietest",
    "shown_at",
]

_LEAST = lowest(ACTIONS)
QUIET_PART = 0.04  # of an action's range: what stays below it is noise


@dataclass(frozen=True)
class Tuning:
    """How strongly measured actions are played: (raw − low) · gain / (1 − low), up to 1.

    A turn of the head is played so to either side.

    Attributes:
        gain: by action name, one without its side standing for both; "all" stands for those not
            named. 1 plays what is measured.
        low: by action name, in [0, 1): what stays below it plays as rest.
    """

    gain: Mapping[str, float] = field(default_factory=dict)
    low: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for table, most in ((self.gain, 10.0), (self.low, 0.99)):
            for name, value in by_side(table).items():
                if name != "all" and name not in ACTIONS:
                    raise unknown_action(name, ACTIONS)
                if not 0 <= value <= most:
                    raise ActionError(f"{name} must be in [0, {most:g}], but got {value}")
        object.__setattr__(self, "gain", by_side(self.gain))
        object.__setattr__(self, "low", by_side(self.low))

    def apply(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [n] as measured → as played, each from its least to 1."""
        gain = _by_action(self.gain, 1.0)
        low = _by_action(self.low, QUIET_PART)
        played = np.clip((np.abs(raw) - low) * gain / (1 - low), 0, 1) * np.sign(raw)
        return np.asarray(np.maximum(played, _LEAST), np.float32)


@dataclass(frozen=True)
class Tracked:
    """What one frame comes to.

    Attributes:
        seconds: when the frame was taken.
        weights: float32 [n] over `moue.actions.ACTIONS`; at rest without a face.
        confidence: in [0, 1]; 1 while the face is followed, falling to 0 once it is lost.
        pose: how the head is turned; None where no face was seen.
        landmarks: float32 [478, 3], the frame's pixels; None where no face was seen.
    """

    seconds: float
    weights: NDArray[np.float32]
    confidence: float
    pose: Pose | None
    landmarks: Mesh | None


class Tracker(Closing):
    """Follows one face through one performance, and reads its actions; for one thread at a time.

    Args:
        scores: a `face_landmarker.task`, whose scores are taken as the actions; None reads them off
            the mesh that comes with MediaPipe.
        neutral: the person at rest; None finds the rest in the first ten seconds.
        tuning: how strongly actions are played.

    Raises:
        RuntimeUnavailableError: MediaPipe cannot be used.
        BundleError: `scores` or the tracker's own weights cannot be read.
    """

    def __init__(
        self,
        scores: str | os.PathLike[str] | None = None,
        neutral: Neutral | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        self._regressor = load_regressor()
        self._follower = Follower(scores)
        self._tuning = tuning or Tuning()
        self._calibration = Calibration()
        self._given = neutral
        self._neutral = neutral
        self._filter = OneEuro()
        self._presence = Presence(len(ACTIONS))
        self._before: float | None = None
        self._first: float | None = None

    @property
    def neutral(self) -> Neutral | None:
        """The rest that actions are measured from at present; None before any face was seen."""
        return self._neutral

    def start_from(self, rest: Neutral) -> None:
        """Measures from this rest, from the next frame on."""
        self._given = self._neutral = rest

    def calibrate(self) -> bool:
        """Takes the last second as rest; False where no face has been seen in it."""
        shown = self._calibration.now()
        self._given = shown or self._given
        return shown is not None

    def track(self, frame: NDArray[np.uint8], seconds: float) -> Tracked:
        """The next frame's actions.

        Args:
            frame: uint8 RGB [H, W, 3].
            seconds: when it was taken, on any clock that only goes forward.

        Raises:
            UsageError: the frame is none, or the tracker was closed.
        """
        return self.read(self.measure(frame, seconds), seconds)

    def measure(self, frame: NDArray[np.uint8], seconds: float) -> Measured | None:
        """The first half of `track`: where the face is."""
        return self._follower(frame, seconds)

    def read(self, measured: Measured | None, seconds: float) -> Tracked:
        """The second half of `track`: what the face does."""
        step = 0.0 if self._before is None else min(seconds - self._before, LONGEST_STEP)
        self._before = seconds
        if measured is None:
            self._calibration.interrupt()
            self._filter.forget()
            shown = self._presence(None, step)
            return Tracked(seconds, shown, self._presence.confidence, None, None)
        face = as_rest(measured)
        pose = Pose(*face.pose.tolist())
        raw = self._raw(face, seconds, step)
        weights = self._tuning.apply(self._filter(raw, step))
        shown = self._presence(weights, step)
        return Tracked(seconds, shown, self._presence.confidence, pose, measured.landmarks)

    def close(self) -> None:
        """Gives back what MediaPipe holds; no frame can be tracked afterwards."""
        self._follower.close()

    def _raw(self, face: Neutral, seconds: float, step: float) -> NDArray[np.float32]:
        """float32 [n]: actions of a face and its head, measured from the rest as it is known by now."""
        self._first = seconds if self._first is None else self._first
        search = self._given is None and seconds - self._first <= SEARCH
        self._calibration.add(seconds, face, search)
        wanted = self._given or self._calibration.best or face
        self._neutral = self._neutral.towards(wanted, step) if self._neutral else wanted
        if face.scores.any():
            rest = self._neutral.scores
            shown = (face.scores - rest) / np.maximum(1 - rest, 0.2)
        else:
            shown = self._regressor(self._neutral.mesh, lay(face.mesh, self._neutral.mesh)[0])
        turned = (face.pose - self._neutral.pose) / HEAD_TURN
        return np.asarray(np.concatenate([shown, turned]), np.float32)


def as_rest(measured: Measured) -> Neutral:
    """A measured face, as a rest might be."""
    mesh, pose = place(measured.landmarks, load_regressor().mean)
    none = np.zeros(len(FACE_ACTIONS), np.float32)
    scores = none if measured.scores is None else measured.scores
    return Neutral(mesh, scores, np.array([pose.yaw, pose.pitch, pose.roll], np.float32))


def quietest(frames: Iterable[tuple[float, Measured | None]]) -> Neutral | None:
    """The rest that the quietest second of some frames (seconds, measured) shows, if any does."""
    faces = [(at, None if seen is None else as_rest(seen)) for at, seen in frames]
    poses = [face.pose for _, face in faces if face is not None]
    usual = np.median(poses, axis=0).astype(np.float32) if poses else None
    calibration = Calibration(usual)
    for seconds, face in faces:
        if face is None:
            calibration.interrupt()
        else:
            calibration.add(seconds, face)
    return calibration.best


def shown_at(frames: Iterable[Measured | None]) -> Neutral | None:
    """The face that some frames show, taken as rest."""
    faces = [as_rest(measured) for measured in frames if measured is not None]
    return Neutral.of(faces) if faces else None


def _by_action(table: Mapping[str, float], default: float) -> NDArray[np.float32]:
    usual = table.get("all", default)
    return np.array([table.get(name, usual) for name in ACTIONS], np.float32)
