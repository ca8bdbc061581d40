"""A head made from the astronaut's own landmarks: the teacher's geometry without its 3-D data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import Delaunay

from moue.actions import ACTIONS
from moue.crop import Face, find_faces
from training.teacher.head import EYE_LEFT, EYE_RIGHT, INNER_LIPS, Head
from training.teacher.mouth import make_card
from training.teacher.render import FaceFit, Teacher


@pytest.fixture(scope="session")
def astronaut_face(portrait_photo) -> Face:
    return find_faces(portrait_photo)[0]


@pytest.fixture(scope="session")
def head(astronaut_face) -> Head:
    """Flat-backed, 14 cm high; jawOpen lowers the chin, eyeBlinkLeft and eyeWideLeft move the left upper lid."""
    points = astronaut_face.landmarks[:468].astype(np.float64) * (1, -1, -1)
    points = (points - points.mean(0)) * 14 / np.ptp(points[:, 1])
    faces = Delaunay(points[:, :2]).simplices.astype(np.int32)
    a, b, c = (points[faces[:, k], :2] for k in range(3))
    clockwise = np.cross(b - a, c - a) < 0
    faces[clockwise] = faces[clockwise][:, ::-1]
    holes = [np.isin(faces, loop).all(1) for loop in (INNER_LIPS, EYE_LEFT, EYE_RIGHT)]
    mouth_hole, eye_left, eye_right = (faces[hole] for hole in holes)
    deltas = np.zeros((len(ACTIONS), 468, 3))
    lips = points[[13, 14], 1].mean()
    deltas[ACTIONS.index("jawOpen"), points[:, 1] < lips] = (0, -2.0, 0)
    deltas[ACTIONS.index("eyeBlinkLeft"), 386] = (0, -0.8, 0)
    deltas[ACTIONS.index("eyeWideLeft"), [385, 386, 387]] = (0, 0.25, 0)
    mouth = make_card()
    front = points[[13, 14]].mean(0) + np.array((0, -0.3, -0.5))
    drop = np.zeros((len(ACTIONS), len(mouth.points), 3))
    drop[ACTIONS.index("jawOpen"), mouth.jaw] = (0, -2.0, 0)
    return Head(
        points,
        faces[~np.any(holes, axis=0)],
        mouth_hole,
        (eye_left, eye_right),
        deltas,
        mouth._replace(points=mouth.points + front),
        drop,
    )


@pytest.fixture(scope="session")
def teacher(head) -> Teacher:
    return Teacher(head)


@pytest.fixture(scope="session")
def fit(teacher, portrait_photo, astronaut_face) -> FaceFit:
    return teacher.fit(portrait_photo, astronaut_face.landmarks)
