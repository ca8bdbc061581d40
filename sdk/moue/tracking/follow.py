"""One face, followed from frame to frame with MediaPipe's face mesh.

The mesh looks at a window around the face and not at the whole picture: a face far from the camera
is as good as a near one, and other people in view do not come into question. When the face is lost,
the detector looks for it where it was; after a while, for the largest one.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moue.actions import FACE_ACTIONS
from moue.crop import detect, import_mediapipe
from moue.errors import BundleError, UsageError, one_line, reason_of
from moue.files import Closing
from moue.reading import read_within
from moue.streams import quiet_stderr
from moue.tracking.mesh import POINTS, Mesh

WINDOW = 3.0  # sides of the face
INSIDE = 0.2  # of the window's side: how far the face may come from its centre
SIZES = (0.2, 0.5)  # of the window's side: how small and large the face may become
JUMP = 0.8  # sides of the face: further away it is another face
FORGET = 2.0  # s after which a lost face may come back as anyone's
DETECTION_CONFIDENCE = 0.5
MAX_SCORES_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Measured:
    """What one frame shows of the face.

    Attributes:
        landmarks: float32 [478, 3]; x, y in the frame's pixels, z on the scale of x.
        scores: float32 [51] over `moue.actions.FACE_ACTIONS`, from a model that gives them.
    """

    landmarks: Mesh
    scores: NDArray[np.float32] | None = None


class Mesher(Protocol):
    """Finds the face mesh in a window, in the window's own [0, 1]; remembers where it was."""

    def __call__(self, window: NDArray[np.uint8]) -> Measured | None: ...

    def close(self) -> None: ...


class BundledMesher:
    """The face mesh inside MediaPipe's wheel; it gives no scores."""

    def __init__(self) -> None:
        (face_mesh,) = import_mediapipe("python.solutions.face_mesh")
        with quiet_stderr():
            self._mesh = face_mesh.FaceMesh(max_num_faces=1, refine_landmarks=True)

    def __call__(self, window: NDArray[np.uint8]) -> Measured | None:
        found = self._mesh.process(window).multi_face_landmarks
        return Measured(_points(found[0].landmark)) if found else None

    def close(self) -> None:
        self._mesh.close()


class ScoringMesher:
    """MediaPipe's Face Landmarker, from a `face_landmarker.task`: its scores are ARKit's actions.

    Raises:
        BundleError: the file cannot be read or is no such model.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        landmarker, options, self._image, formats = import_mediapipe(
            "tasks.python.vision.face_landmarker",
            "tasks.python.core.base_options",
            "python._framework_bindings.image",
            "python._framework_bindings.image_frame",
        )
        self._rgb = formats.ImageFormat.SRGB
        model = _scores_model(Path(path))
        try:
            with quiet_stderr():
                self._landmarker = landmarker.FaceLandmarker.create_from_options(
                    landmarker.FaceLandmarkerOptions(
                        options.BaseOptions(model_asset_buffer=model),
                        running_mode=landmarker._RunningMode.VIDEO,
                        output_face_blendshapes=True,
                    )
                )
        except (RuntimeError, ValueError) as error:
            raise BundleError(
                f"{path} must be MediaPipe's face_landmarker.task: {one_line(error)}"
            ) from None
        self._calls = 0

    def __call__(self, window: NDArray[np.uint8]) -> Measured | None:
        self._calls += 1
        picture = self._image.Image(image_format=self._rgb, data=window)
        found = self._landmarker.detect_for_video(picture, self._calls * 33)
        if not found.face_blendshapes:
            return None
        by_name = {each.category_name: each.score for each in found.face_blendshapes[0]}
        scores = np.array([by_name.get(name, 0.0) for name in FACE_ACTIONS], np.float32)
        return Measured(_points(found.face_landmarks[0]), scores)

    def close(self) -> None:
        self._landmarker.close()


class Follower(Closing):
    """Finds a face, the largest at first, and stays with it.

    Args:
        scores: a `face_landmarker.task`; None takes the mesh inside MediaPipe's wheel.
    """

    def __init__(self, scores: str | os.PathLike[str] | None = None) -> None:
        (face_detection,) = import_mediapipe("python.solutions.face_detection")
        self._started = False
        blank = np.zeros((128, 128, 3), np.uint8)
        with quiet_stderr():  # its threads write as they start, and are done once a frame is
            self._mesher: Mesher = BundledMesher() if scores is None else ScoringMesher(scores)
            self._detector = face_detection.FaceDetection(
                model_selection=1, min_detection_confidence=DETECTION_CONFIDENCE
            )
            self._mesher(blank)
            detect(self._detector, blank)
        self._window: tuple[int, int, int] | None = None  # left, top, side in px
        self._last: tuple[float, float, float] | None = None  # centre x, y and side of the face
        self._lost_at: float | None = None  # s
        self._closed = False

    def __call__(self, frame: NDArray[np.uint8], seconds: float) -> Measured | None:
        """Looks at the next frame.

        Args:
            frame: uint8 RGB [H, W, 3].
            seconds: when it was taken, on any clock that only goes forward.

        Raises:
            UsageError: the frame is none, or this was closed.
        """
        if self._closed:
            raise UsageError("the tracker is closed; open another")
        frame = np.asarray(frame)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise UsageError(
                f"a frame must be uint8 RGB [H, W, 3], but got {frame.dtype} {list(frame.shape)}"
            )
        found = self._look(frame, seconds)
        if found is not None:
            self._lost_at = None
        elif self._lost_at is None:
            self._lost_at = seconds
        return found

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._mesher.close()
            self._detector.close()

    def _look(self, frame: NDArray[np.uint8], seconds: float) -> Measured | None:
        if self._lost_at is not None and seconds - self._lost_at > FORGET:
            self._last = None
        if self._window is None:
            self._window = self._find(frame)
        if self._window is None:
            return None
        left, top, side = self._window
        window = cut(frame, left, top, side)
        # The mesh looks where it last saw the face; where that fails, it searches the window.
        with nullcontext() if self._started else quiet_stderr():
            found = self._mesher(window) or self._mesher(window)
        self._started = self._started or found is not None
        if found is None:
            self._window = None
            return None
        landmarks = found.landmarks * np.float32(side)
        landmarks[:, :2] += (left, top)
        face = _extent(landmarks)
        if self._last is not None and _apart(face, self._last) > JUMP:
            self._window = None
            return None
        self._last = face
        x, y, size = face
        off = max(abs(x - left - side / 2), abs(y - top - side / 2)) / side
        if off > INSIDE or not SIZES[0] < size / side < SIZES[1]:
            self._window = _around(x, y, size)
        return Measured(landmarks, found.scores)

    def _find(self, frame: NDArray[np.uint8]) -> tuple[int, int, int] | None:
        boxes = [(x, y, side) for _, x, y, side in detect(self._detector, frame)]
        if (last := self._last) is not None:
            boxes = [box for box in boxes if _apart(box, last) < 2 * JUMP]
            best = min(boxes, key=lambda box: _apart(box, last), default=None)
        else:
            best = max(boxes, key=lambda box: box[2], default=None)
        return None if best is None else _around(*best)


def _around(x: float, y: float, size: float) -> tuple[int, int, int]:
    side = max(64, round(WINDOW * size))
    return round(x - side / 2), round(y - side / 2), side


def _apart(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    """How far two faces are from each other, in sides of the second."""
    return max(abs(a[0] - b[0]), abs(a[1] - b[1])) / max(b[2], 1.0)


def _extent(landmarks: Mesh) -> tuple[float, float, float]:
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    x, y = (low + high) / 2
    return float(x), float(y), float((high - low).max())


def cut(frame: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.uint8]:
    """A square of the frame; beyond its edges they repeat."""
    height, width = frame.shape[:2]
    left, top = min(max(left, 1 - side), width - 1), min(max(top, 1 - side), height - 1)
    inside = frame[max(top, 0) : top + side, max(left, 0) : left + side]
    above, before = max(-top, 0), max(-left, 0)
    below, after = side - above - inside.shape[0], side - before - inside.shape[1]
    return np.pad(inside, ((above, below), (before, after), (0, 0)), mode="edge")


def _points(landmarks: Any) -> Mesh:
    points = np.array([(p.x, p.y, p.z) for p in landmarks], np.float32)
    assert points.shape == (POINTS, 3)
    return points


def _scores_model(path: Path) -> bytes:
    try:
        return read_within(path, MAX_SCORES_BYTES)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"cannot read {path}: {reason_of(error)};"
            " --scores takes MediaPipe's face_landmarker.task"
        ) from None
