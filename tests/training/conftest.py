"""A head made from the astronaut's own landmarks: the teacher's geometry without its 3-D data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import Delaunay

from moue.actions import ACTIONS
from moue.crop import Face, find_faces
from training.teacher.head import EYE_LEFT, EYE_RIGHT, INNER_LIPS, Head


@pytest.fixture(scope="session")
def astronaut_face(portrait_photo) -> Face:
    return find_faces(portrait_photo)[0]


@pytest.fixture(scope="session")
def head(astronaut_face) -> Head:
    """Flat-backed, 14 cm high; jawOpen lowers the chin, eyeBlinkLeft the left upper lid."""
    points = astronaut_face.landmarks[:468].astype(np.float64) * (1, -1, -1)
    points = (points - points.mean(0)) * 14 / np.ptp(points[:, 1])
    faces = Delaunay(points[:, :2]).simplices.astype(np.int32)
    a, b, c = (points[faces[:, k], :2] for k in range(3))
    clockwise = np.cross(b - a, c - a) < 0
    faces[clockwise] = faces[clockwise][:, ::-1]
    holes = [np.isin(faces, loop).all(1) for loop in (INNER_LIPS, EYE_RIGHT, EYE_LEFT)]
    deltas = np.zeros((len(ACTIONS), 468, 3))
    lips = points[[13, 14], 1].mean()
    deltas[ACTIONS.index("jawOpen"), points[:, 1] < lips] = (0, -2.0, 0)
    deltas[ACTIONS.index("eyeBlinkLeft"), 386] = (0, -0.8, 0)
    teeth = points[list(INNER_LIPS)] - (0, 0, 1)
    return Head(
        points,
        faces[~np.any(holes, axis=0)],
        *(faces[hole] for hole in holes),
        deltas,
        teeth,
        np.zeros((len(ACTIONS), len(teeth), 3)),
        np.array([[0, 5, 10], [0, 10, 15]], np.int32),
        np.full((len(teeth), 3), 0.9),
        np.tile((0.0, 0.0, 1.0), (len(teeth), 1)),
    )
