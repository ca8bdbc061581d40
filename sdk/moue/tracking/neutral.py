"""The face at rest: what a person's actions are measured from.

Nobody's face is the average face, and a driver's first frame is seldom neutral. The rest taken here
is the median of the quietest second: the one in which the face moves least, its lips are closed and
the head is held as it mostly was.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moue.actions import FACE_ACTIONS
from moue.errors import UsageError
from moue.files import check_file, whole_file
from moue.tracking.mesh import POINTS, Mesh

QUIET = 1.0  # s, the stretch a rest is taken from
LEAST = 5  # frames in it
SEARCH = 10.0  # s of a performance that are searched for it
BETTER = 0.8  # of the unrest so far: what a stretch must fall below to replace it
TAKE_OVER = 0.4  # s, time constant with which a new rest takes the old one's place
LIPS = (13, 14)  # the inner lips' middle
LIPS_SHARE = 0.3  # cm of unrest for each cm that the lips stand apart
TURN_SHARE = 0.04  # cm of unrest for each degree that the head is away from how it was held so far
MAX_FILE_BYTES = 2**20


@dataclass(frozen=True)
class Neutral:
    """A person at rest.

    Attributes:
        mesh: float32 [478, 3], in the head's frame.
        scores: float32 [51], a model's scores of that face; zeros where none were taken.
        pose: float32 [3], yaw, pitch and roll of the head as it is held, in degrees.
    """

    mesh: Mesh
    scores: NDArray[np.float32]
    pose: NDArray[np.float32]

    @staticmethod
    def of(stretch: Iterable[Neutral]) -> Neutral:
        """The median of several frames, each taken as if it were rest."""
        frames = list(stretch)
        parts = zip(*((frame.mesh, frame.scores, frame.pose) for frame in frames), strict=True)
        return Neutral(*(np.median(part, axis=0).astype(np.float32) for part in parts))

    def towards(self, other: Neutral, step: float) -> Neutral:
        """Part of the way to another rest, as `step` seconds allow."""
        share = np.float32(1 - math.exp(-step / TAKE_OVER))
        return Neutral(
            self.mesh + share * (other.mesh - self.mesh),
            self.scores + share * (other.scores - self.scores),
            self.pose + share * (other.pose - self.pose),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the rest, whole or not at all; OutputError where it cannot."""
        check_file(Path(path))
        with whole_file(Path(path)) as part, part.open("wb") as file:
            np.savez(file, mesh=self.mesh, scores=self.scores, pose=self.pose)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Neutral:
        """A rest that was saved.

        Raises:
            UsageError: the file is missing or holds no rest.
        """
        try:
            with open(path, "rb") as file:
                data = file.read(MAX_FILE_BYTES)
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                if any(part.compress_type != zipfile.ZIP_STORED for part in packed.infolist()):
                    raise ValueError  # small files that unpack into large ones
            with np.load(io.BytesIO(data), allow_pickle=False) as saved:
                mesh, scores = saved["mesh"], saved["scores"]
                pose = saved.get("pose", np.zeros(3, np.float32))
            wanted = ((mesh, (POINTS, 3)), (scores, (len(FACE_ACTIONS),)), (pose, (3,)))
            if any(a.dtype != np.float32 or a.shape != shape for a, shape in wanted):
                raise ValueError
            if not all(np.isfinite(array).all() for array, _ in wanted):
                raise ValueError
        except OSError as error:
            raise UsageError(f"cannot read the neutral face {path}: {error.strerror}") from None
        except Exception:  # noqa: BLE001 - NumPy and zipfile raise a dozen kinds on damaged files
            raise UsageError(
                f"{path} holds no neutral face; moue live saves one with --neutral {path}"
            ) from None
        return Neutral(mesh, scores, pose)


class Calibration:
    """Finds the rest while frames come in; what it has found so far is `best`.

    Args:
        usual: float32 [3], how the head is mostly held, in degrees; None: as it was so far.
    """

    def __init__(self, usual: NDArray[np.float32] | None = None) -> None:
        self._usual = usual
        self._recent: deque[tuple[float, Neutral]] = deque()
        self._poses: list[NDArray[np.float32]] = []  # of all frames searched
        self._unrest = math.inf
        self.best: Neutral | None = None

    def add(self, seconds: float, frame: Neutral, search: bool = True) -> None:
        """One frame, `seconds` on a clock that goes forward; without `search` for `now` alone."""
        self._recent.append((seconds, frame))
        while seconds - self._recent[0][0] > QUIET:
            self._recent.popleft()
        if self.best is None:  # better than nothing, until a second has passed
            self.best = frame
        if search:
            self._poses.append(frame.pose)
        if not search or len(self._recent) < LEAST or seconds - self._recent[0][0] < 0.7 * QUIET:
            return
        unrest = self._measure()
        if unrest < BETTER * self._unrest:
            self._unrest, self.best = unrest, self.now()

    def now(self) -> Neutral | None:
        """The rest as the last second shows it, be it quiet or not."""
        return Neutral.of(frame for _, frame in self._recent) if self._recent else None

    def interrupt(self) -> None:
        """The face was lost: a quiet second must not span the gap."""
        self._recent.clear()

    def _measure(self) -> float:
        """Unrest of the last second, cm: points that move, lips that stand apart, a head that turns."""
        meshes = np.stack([frame.mesh for _, frame in self._recent])
        moving = float(np.sqrt(meshes.var(axis=0).sum(axis=1).mean()))
        upper, lower = meshes[:, LIPS[0]], meshes[:, LIPS[1]]
        apart = float(np.linalg.norm(upper - lower, axis=1).mean())
        poses = np.stack([frame.pose for _, frame in self._recent])
        usual = np.median(self._poses, axis=0) if self._usual is None else self._usual
        away = float(np.linalg.norm(poses - usual, axis=1).mean())
        return moving + LIPS_SHARE * apart + TURN_SHARE * away
