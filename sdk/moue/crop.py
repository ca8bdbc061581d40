"""Where the face is: the square the generator looks at, and the way back to the photo.

Photo coordinates are continuous pixels (x right, y down, pixel centres at +0.5). Crop coordinates
run over the face square in [0, 1]². Faces are found with MediaPipe's detector and face mesh.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec, module_from_spec
from itertools import accumulate
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from moue.errors import RuntimeUnavailableError
from moue.photo import Source, read_photo
from moue.streams import quiet_stderr

SQUARE_SCALE = 1.4  # side of the square, in lengths of the face oval's longer extent
SQUARE_SHIFT = 0.06  # of that extent, downwards: an opening jaw needs the room

EYE_CORNERS_RIGHT, EYE_CORNERS_LEFT = (33, 133), (362, 263)  # the subject's right and left eye
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)

Box: TypeAlias = tuple[float, float, float, float]  # score, centre x, centre y, side in pixels

_DETECTION_CONFIDENCE = 0.5
_UPRIGHT = 0.9  # score of the far-sighted detector above which a face hardly lies on its side
_VIEW = 384  # px, twice what that detector looks at
_MESH_MARGINS = (2.0, 1.5, 3.0)  # sides of the region given to the face mesh, in detected boxes
_TILE_OVERLAP = 0.5


@dataclass(frozen=True)
class Square:
    """The face square in photo pixels: centre, side, and the face's roll in radians."""

    cx: float
    cy: float
    side: float
    angle: float

    @classmethod
    def around(cls, landmarks: NDArray[np.float32]) -> Square:
        """The square for one face.

        Args:
            landmarks: float [≥ 468, ≥ 2], face mesh vertices in photo pixels (x, y, …).
        """
        points = np.asarray(landmarks, np.float64)[:, :2]
        eye_right = points[list(EYE_CORNERS_RIGHT)].mean(0)
        eye_left = points[list(EYE_CORNERS_LEFT)].mean(0)
        dx, dy = eye_left - eye_right
        angle = math.atan2(dy, dx)
        cos, sin = math.cos(angle), math.sin(angle)
        upright = points[list(FACE_OVAL)] @ np.array([[cos, -sin], [sin, cos]])
        low, high = upright.min(0), upright.max(0)
        extent = float((high - low).max())
        x, y = (low + high) / 2 + (0.0, SQUARE_SHIFT * extent)
        return cls(
            cos * x - sin * y, sin * x + cos * y, SQUARE_SCALE * extent, angle if extent else 0.0
        )

    def to_photo(self) -> NDArray[np.float64]:
        """float64 [2, 3]: photo pixels = M · (ux, uy, 1) for crop coordinates u in [0, 1]²."""
        cos, sin = self.side * math.cos(self.angle), self.side * math.sin(self.angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        offset = np.array([self.cx, self.cy]) - linear @ (0.5, 0.5)
        return np.column_stack([linear, offset])

    def to_crop(self) -> NDArray[np.float64]:
        """float64 [2, 3]: crop coordinates = M · (px, py, 1), the inverse of `to_photo`."""
        linear = np.linalg.inv(self.to_photo()[:, :2])
        return np.column_stack([linear, -linear @ self.to_photo()[:, 2]])


@dataclass(frozen=True)
class Face:
    """One face found in a photo.

    Attributes:
        square: the region the generator works on.
        landmarks: float32 [478, 3], face mesh and irises: x, y in photo pixels, z (towards the
            camera is negative) on the scale of x.
        score: the detector's confidence in [0, 1].
    """

    square: Square
    landmarks: NDArray[np.float32]
    score: float


def find_faces(photo: Source) -> list[Face]:
    """Finds every face in a photo, largest first; an empty list when there is none.

    Args:
        photo: whatever `read_photo` takes: a path, the bytes of a file, an image or an array.

    Raises:
        PhotoError: the photo cannot be read.
        RuntimeUnavailableError: MediaPipe is not installed or cannot start.
    """
    return faces_in(read_photo(photo))


def faces_in(photo: NDArray[np.uint8]) -> list[Face]:
    """The same of pixels that have been read: uint8 RGB [H, W, 3]."""
    face_detection, face_mesh = import_mediapipe(
        "python.solutions.face_detection", "python.solutions.face_mesh"
    )
    with quiet_stderr(), ExitStack() as opened:

        @cache
        def near() -> Any:  # opened when it is first asked for
            return opened.enter_context(
                face_detection.FaceDetection(_DETECTION_CONFIDENCE, model_selection=0)
            )

        far = opened.enter_context(
            face_detection.FaceDetection(_DETECTION_CONFIDENCE, model_selection=1)
        )
        mesh = opened.enter_context(
            face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True)
        )
        faces: list[Face] = []
        for score, x, y, side in sorted(_boxes(far, near, photo), reverse=True):
            turn = 0 if score >= _UPRIGHT else _turn(near, photo, x, y, side)
            landmarks = _landmarks(mesh, photo, x, y, side, turn)
            if landmarks is None:
                continue
            face = Face(Square.around(landmarks), landmarks, score)
            if not any(_same(face.square, other.square) for other in faces):
                faces.append(face)
    return sorted(faces, key=lambda face: -face.square.side)


def detect(detector: Any, photo: NDArray[np.uint8]) -> list[Box]:
    """Every face box that a MediaPipe detector finds in a photo."""
    height, width = photo.shape[:2]
    boxes = []
    for detection in detector.process(np.ascontiguousarray(photo)).detections or ():
        box = detection.location_data.relative_bounding_box
        boxes.append(
            (
                float(detection.score[0]),
                (box.xmin + box.width / 2) * width,
                (box.ymin + box.height / 2) * height,
                max(box.width * width, box.height * height),
            )
        )
    return boxes


def _boxes(far: Any, near: Callable[[], Any], photo: NDArray[np.uint8]) -> list[Box]:
    """Every face box by the first way that finds any: the usual one, then dearer ones.

    `near` finds the faces that fill a photo or hang over its edge, tiles find the small ones, and
    quarter turns those in a photo that lies on its side.
    """
    boxes = detect(far, photo)
    if boxes:
        return boxes
    small = _shrunk(photo)
    boxes = _detect_turned(near(), *small)
    if not boxes:
        for left, top, edge in _tiles(photo):
            tile = detect(far, photo[top : top + edge, left : left + edge])
            boxes += [(score, x + left, y + top, side) for score, x, y, side in tile]
    for turn in (1, 2, 3):
        boxes = boxes or _detect_turned(far, *small, turn) or _detect_turned(near(), *small, turn)
    return boxes


def _shrunk(photo: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """The photo averaged to at most twice what a detector looks at, and by which factor.

    Averaging stills noise; but a detector sees small faces better in the photo as it is.
    """
    from PIL import Image

    factor = -(-max(photo.shape[:2]) // _VIEW)
    return np.asarray(Image.fromarray(photo).reduce(factor)), factor


def _detect_turned(
    detector: Any, small: NDArray[np.uint8], factor: int, turn: int = 0
) -> list[Box]:
    """The face boxes of a photo in what `_shrunk` made of it, after that many quarter turns."""
    found = detect(detector, np.rot90(small, turn))
    centres = _turned_back(np.array([box[1:3] for box in found]).reshape(-1, 2), turn, small)
    return [
        (box[0], factor * x, factor * y, factor * box[3])
        for box, (x, y) in zip(found, centres.tolist(), strict=True)
    ]


def _tiles(photo: NDArray[np.uint8]) -> Iterator[tuple[int, int, int]]:
    """Overlapping squares (x, y, side), for faces too small for the detector's 192 px view."""
    height, width = photo.shape[:2]
    for side in (min(height, width), min(height, width) // 2):
        if side < 128 or (side == height == width):
            continue
        step = max(1, int(side * (1 - _TILE_OVERLAP)))
        for y in sorted({*range(0, height - side, step), height - side}):
            for x in sorted({*range(0, width - side, step), width - side}):
                yield x, y, side


def _turn(
    near: Callable[[], Any], photo: NDArray[np.uint8], x: float, y: float, side: float
) -> int:
    """The quarter turns, as `numpy.rot90` counts them, after which a face stands most upright.

    MediaPipe's far-sighted detector finds faces that lie or hang upside down, but not how they
    stand; its near-sighted one scores them highest when they stand.
    """
    region = _shrunk(_around(photo, x, y, side * _MESH_MARGINS[0])[0])
    scores = [
        max((box[0] for box in _detect_turned(near(), *region, turn)), default=0.0)
        for turn in range(4)
    ]
    return scores.index(max(scores))


def _landmarks(
    mesh: Any, photo: NDArray[np.uint8], x: float, y: float, side: float, turn: int
) -> NDArray[np.float32] | None:
    """The face mesh at a detected box, or None where there is no face after all."""
    for margin in _MESH_MARGINS:
        region, left, top = _around(photo, x, y, side * margin)
        found = mesh.process(np.ascontiguousarray(np.rot90(region, turn)))
        for face in found.multi_face_landmarks or ():
            points = np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) * len(region)
            points[:, :2] = _turned_back(points[:, :2], turn, region)
            points[:, :2] += (left, top)
            if np.linalg.norm(points[list(FACE_OVAL), :2].mean(0) - (x, y)) < side:
                return points
    return None


def _around(
    photo: NDArray[np.uint8], x: float, y: float, side: float
) -> tuple[NDArray[np.uint8], int, int]:
    """A square of the photo, its edge continued where it ends, and the square's top left corner."""
    height, width = photo.shape[:2]
    half = max(16, round(side / 2))
    left, top = round(x) - half, round(y) - half
    rows = np.clip(np.arange(top, top + 2 * half), 0, height - 1)
    columns = np.clip(np.arange(left, left + 2 * half), 0, width - 1)
    return photo[rows[:, None], columns], left, top


def _turned_back(points: NDArray[Any], turn: int, picture: NDArray[np.uint8]) -> NDArray[Any]:
    """Points [n, 2] (x, y) of a picture turned by `numpy.rot90` where they are in the picture."""
    height, width = picture.shape[:2]
    x, y = points.T
    turned = ((x, y), (width - y, x), (width - x, height - y), (y, height - x))
    return np.stack(turned[turn], axis=1)


def _same(a: Square, b: Square) -> bool:
    return math.hypot(a.cx - b.cx, a.cy - b.cy) < 0.35 * min(a.side, b.side)


_process: int | None = None  # in which MediaPipe runs


def import_mediapipe(*names: str) -> list[Any]:
    """Modules of MediaPipe, such as `python.solutions.face_mesh`, without any package's `__init__`.

    Those would import OpenCV, matplotlib and the Tasks API: 1.5 s, and system libraries (libGL) a
    slim machine lacks. The face modules themselves need none of them. A program that imports
    MediaPipe itself, before or after, has all of it.

    Raises:
        RuntimeUnavailableError: it is not installed or does not start, or this process was forked from
            one that has used it, in which it would end this one.
    """
    global _process
    if _process not in (None, os.getpid()):
        raise RuntimeUnavailableError(
            "this process was forked from one that had looked for faces, which MediaPipe does not"
            " survive; start processes with multiprocessing.get_context('spawn')"
        )
    _process = os.getpid()
    spec = find_spec("mediapipe")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeUnavailableError(
            "MediaPipe is needed to find faces and is not installed: "
            "pip install 'mediapipe>=0.10.18,<=0.10.21' (Python 3.10–3.12)"
        )
    modules = [f"mediapipe.{name}" for name in names]
    try:
        with quiet_stderr(), _BARE.stand_in(spec.submodule_search_locations[0], modules):
            return [importlib.import_module(module) for module in modules]
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"MediaPipe is installed but does not start ({error}): "
            "moue needs mediapipe>=0.10.18,<=0.10.21"
        ) from error


class _BarePackages(MetaPathFinder):
    """Packages whose `__init__` has not run. They stand among the imported ones for a moment only.

    Whoever imports such a package later has its `__init__` run in the same module: what was imported
    from it meanwhile hangs on that already, and Python would not hang it on another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packages: dict[str, ModuleType] = {}

    @contextmanager
    def stand_in(self, root: str, modules: Sequence[str]) -> Iterator[None]:
        """What `modules` are in is bare, unless somebody has imported it or they are there already.

        Args:
            root: folder of the outermost package.
        """
        with self._lock:
            outermost = modules[0].partition(".")[0]
            if outermost in sys.modules or all(module in sys.modules for module in modules):
                yield
                return
            if self not in sys.meta_path:
                sys.meta_path.insert(0, self)
            added = []
            for module in modules:
                for package in accumulate(module.split(".")[:-1], "{}.{}".format):
                    folder = os.path.join(root, *package.split(".")[1:])
                    if package not in sys.modules and os.path.isdir(folder):
                        sys.modules[package] = self._bare(package, folder)
                        added.append(package)
            try:
                yield
            finally:
                for package in added:
                    sys.modules.pop(package, None)

    def _bare(self, package: str, folder: str) -> ModuleType:
        if package not in self._packages:
            spec = ModuleSpec(package, None, is_package=True)
            spec.submodule_search_locations = [folder]
            self._packages[package] = module_from_spec(spec)
        return self._packages[package]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Python asks this of all that is imported and is not there yet."""
        package = self._packages.get(fullname)
        spec = PathFinder.find_spec(fullname, path) if package else None
        if package and spec and spec.origin:
            spec.loader = _LoaderInto(package, spec.origin)
        return spec


class _LoaderInto(SourceFileLoader):
    """Runs a package's `__init__` in a module that is there already."""

    def __init__(self, package: ModuleType, path: str) -> None:
        super().__init__(package.__name__, path)
        self._package = package

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._package


_BARE = _BarePackages()
