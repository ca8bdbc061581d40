"""The head's own frame: a face mesh with its pose taken out.

Lengths are centimetres of MediaPipe's canonical face: x to the subject's left, y up, z towards the
camera. Faces of every size, place and turn lie over one another there, so that what is left of a
difference between two meshes of a person is what the face did.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mesh = NDArray[np.float32]  # [478, 3], face mesh and irises

POINTS = 478
# Vertices whose place says how the head is turned and little of what the face does.
RIGID = (
    *(10, 67, 109, 338, 297, 103, 332, 54, 284, 21, 251, 162, 389, 127, 356, 234, 454),
    *(168, 6, 197, 195, 33, 133, 362, 263, 93, 323),
)
IMAGE_AXES = np.array([1, -1, -1], np.float32)  # pictures count y down and z away from the camera


@dataclass(frozen=True)
class Pose:
    """How the head is turned, in degrees; all 0 when it looks into the camera.

    Attributes:
        yaw: positive towards the subject's left.
        pitch: positive upwards.
        roll: positive towards the subject's left shoulder.
    """

    yaw: float
    pitch: float
    roll: float

    def in_mirror(self) -> Pose:
        """The same head, seen in a mirror."""
        return Pose(-self.yaw, self.pitch, -self.roll)


def place(landmarks: Mesh, reference: Mesh) -> tuple[Mesh, Pose]:
    """A measured face in the head's frame.

    Args:
        landmarks: float32 [478, 3], pixels, as `moue.crop.Face` has them.
        reference: float32 [478, 3], a face in the head's frame.

    Returns:
        The face laid on the reference, float32 [478, 3], and its pose.
    """
    mesh, turn = lay(landmarks * IMAGE_AXES, reference)
    return mesh, _pose(turn.T)


def lay(mesh: Mesh, reference: Mesh) -> tuple[Mesh, NDArray[np.float64]]:
    """A mesh moved, turned and scaled onto another by what does not move with expressions.

    Args:
        mesh, reference: float32 [478, 3].

    Returns:
        The mesh where it then lies, float32 [478, 3], and the rotation [3, 3] (Umeyama 1991).
    """
    source, target = (each[list(RIGID)].astype(np.float64) for each in (mesh, reference))
    middle, goal = source.mean(0), target.mean(0)
    centred = source - middle
    u, stretch, vt = np.linalg.svd((target - goal).T @ centred)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = (u * flip) @ vt
    scale = float((stretch * flip).sum() / max(float((centred**2).sum()), 1e-9))
    laid = (mesh - middle) @ (scale * turn.T) + goal
    return laid.astype(np.float32), turn


def _pose(rotation: NDArray[np.float64]) -> Pose:
    """Angles of a rotation from the head's axes to the camera's, yaw first, then pitch, then roll."""
    forward = rotation[:, 2]
    yaw = math.atan2(forward[0], forward[2])
    pitch = math.asin(max(-1.0, min(1.0, forward[1])))
    roll = math.atan2(-rotation[1, 0], rotation[1, 1])
    return Pose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll))
