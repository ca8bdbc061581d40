"""Brings a smiling face to rest: the way from a real smile back to the photo it could have come from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.teacher.render import LIPS, FaceFit, Teacher

REACH = 0.45  # mouth widths over which the skin follows the lips that close


def at_rest(teacher: Teacher, fit: FaceFit, shown: NDArray[np.float32]) -> NDArray[np.float64]:
    """Where the mesh of a face would be without what it shows, its lips together.

    Args:
        teacher: whose shapes are taken away.
        fit: a face that smiles.
        shown: float32 [n], the action vector it shows.

    Returns:
        float64 [468, 3], pixels and depth like `fit.points`.
    """
    points = 2 * fit.points - teacher.move(fit, shown)
    upper, lower = (np.array(column) for column in zip(*LIPS, strict=True))
    width = np.linalg.norm(points[291, :2] - points[61, :2])
    middle = (points[upper] + points[lower]) / 2
    down = points[152, :2] - points[10, :2]
    across = points[:, None, :2] - middle[None, :, :2]
    below = (across @ down)[np.arange(len(points)), np.abs(across).sum(-1).argmin(1)] > 0
    below[upper], below[lower] = False, True
    for lips, side in ((upper, ~below), (lower, below)):
        step = (middle - points[lips])[:, :2]
        distance = np.linalg.norm(points[:, None, :2] - points[None, lips, :2], axis=-1)
        pull = np.exp(-((distance / (REACH * width)) ** 2))
        share = pull.max(1, keepdims=True) * pull / np.maximum(pull.sum(1, keepdims=True), 1e-9)
        points[side, :2] += (share @ step)[side]
    points[upper] = points[lower] = (points[upper] + points[lower]) / 2
    return np.asarray(points)
