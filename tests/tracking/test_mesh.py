from __future__ import annotations

import math

import numpy as np
import pytest

from moue.tracking.mesh import IMAGE_AXES, lay, place
from moue.tracking.regressor import load_regressor

MEAN = load_regressor().mean


def rotation(axis: int, degrees: float) -> np.ndarray:
    """About x (pitch), y (yaw) or z (roll), right-handed."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    turn[i, i] = turn[j, j] = c
    turn[i, j], turn[j, i] = (s, -s) if axis == 1 else (-s, s)
    return turn


@pytest.mark.parametrize(
    ("axis", "degrees", "name", "sign"),
    [(1, 20, "yaw", 1), (1, -35, "yaw", -1), (0, -15, "pitch", 1), (2, -25, "roll", 1)],
)
def test_a_turned_shifted_scaled_head_is_the_same_face(axis, degrees, name, sign):
    seen = (40 * MEAN @ rotation(axis, degrees).T + (300, -200, 50)) * IMAGE_AXES
    mesh, pose = place(seen.astype(np.float32), MEAN)
    assert np.abs(mesh - MEAN).max() < 1e-3
    angles = dict(vars(pose))
    assert angles.pop(name) == pytest.approx(sign * abs(degrees), abs=0.1)
    assert list(angles.values()) == pytest.approx([0, 0], abs=0.1)


def test_what_the_face_does_stays():
    moved = MEAN.copy()
    moved[152, 1] -= 1  # the chin, a centimetre down
    mesh, _ = lay(2 * moved @ rotation(1, 30).T.astype(np.float32) + 7, MEAN)
    assert np.abs(mesh - moved).max() < 1e-3
