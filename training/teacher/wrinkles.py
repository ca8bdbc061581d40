"""Wrinkles of raised and knitted brows and of a sneering nose, which no photographs at hand could teach.

They are dark lines on the canonical face mesh, and dark alone: paint that is black in the middle and
white beside it is more than a generator learns. They lie on bare skin: hair over a forehead has none.
Lengths are centimetres, as in `training.teacher.head`.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS
from training.teacher.folds import SIZE, Shown, span_of, unroll
from training.teacher.head import Head

# How far from the cheeks' colour, sRGB in [0, 1], skin still is, and is no longer.
BARE = (0.16, 0.30)
_BLUR = 2.0  # px of the unrolled face over which that is asked


class Line(NamedTuple):
    """A wrinkle on the left side of the face.

    depth: how much darker its middle is, in logarithms of light; width: standard deviation, cm;
    points: (x, y), cm, x to the subject's left.
    """

    depth: float
    width: float
    points: tuple[tuple[float, float], ...]


# By the action that draws them, without its side; an action that has none draws them on both.
LINES: dict[str, tuple[Line, ...]] = {
    "browDown": (
        Line(0.47, 0.2, ((0.52, 3.45), (0.60, 4.2), (0.58, 4.9), (0.46, 5.5))),
        Line(0.23, 0.25, ((0, 2.55), (0.35, 2.6), (0.75, 2.85))),
    ),
    "browInnerUp": (
        Line(0.26, 0.22, ((0, 6.35), (0.9, 6.5), (1.9, 6.5), (2.7, 6.3))),
        Line(0.31, 0.22, ((0, 7.05), (1.0, 7.2), (2.1, 7.2), (3.1, 6.95))),
        Line(0.2, 0.22, ((0, 7.75), (1.0, 7.9), (2.2, 7.85), (3.2, 7.6))),
    ),
    "browOuterUp": (
        Line(0.26, 0.22, ((1.2, 6.45), (2.4, 6.4), (3.6, 6.1), (4.7, 5.4))),
        Line(0.29, 0.22, ((1.3, 7.15), (2.6, 7.1), (3.9, 6.7), (4.9, 6.0))),
        Line(0.15, 0.22, ((1.4, 7.85), (2.6, 7.75), (3.8, 7.35))),
    ),
    "noseSneer": (
        Line(0.29, 0.21, ((0.25, 2.2), (0.62, 1.95), (0.98, 1.5))),
        Line(0.25, 0.21, ((0.35, 1.6), (0.7, 1.3), (1.0, 0.9))),
        Line(0.33, 0.31, ((1.75, -0.9), (2.2, -1.7), (2.6, -2.7))),
        Line(0.2, 0.25, ((0, 2.55), (0.4, 2.6), (0.8, 2.9))),
    ),
    "mouthUpperUp": (Line(0.29, 0.32, ((1.8, -1.0), (2.3, -1.9), (2.75, -3.0))),),
}


def draw_wrinkles(head: Head) -> dict[str, NDArray[np.float32]]:
    """The logarithm of the light of every wrinkle, by the action that draws it: float32 [256, 256] each."""
    span = span_of(head.vertices)
    axis = span * ((np.arange(SIZE) + 0.5) / (SIZE / 2) - 1)
    x, y = np.meshgrid(axis, -axis)
    drawn: dict[str, NDArray[np.float32]] = {}
    for name, lines in LINES.items():
        left = np.sum([_drawn(line, x, y) for line in lines], 0).astype(np.float32)
        right = np.ascontiguousarray(left[:, ::-1])
        if name in ACTIONS:
            drawn[name] = np.minimum(left, right)
        else:
            drawn |= {f"{name}Left": left, f"{name}Right": right}
    return drawn


def bare(shown: Shown, skin: NDArray[np.float64], head: Head) -> NDArray[np.float32]:
    """Where a face shows its skin, float32 [256, 256] in [0, 1], unrolled.

    Args:
        shown: the photo and its landmarks.
        skin: float64 [3], its colour, sRGB in [0, 1].
        head: whose face mesh it is unrolled on.
    """
    picture, seen = unroll(shown, head)
    away = np.abs(cv2.GaussianBlur(picture, (0, 0), _BLUR) - skin.astype(np.float32)).max(-1)
    near, far = BARE
    return np.asarray(np.clip((far - away) / (far - near), 0, 1) * seen, np.float32)


def _drawn(line: Line, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """One line, its ends fading."""
    corners = np.array(line.points)
    knots = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    t = np.linspace(0, 1, 48)
    path = _smooth(np.stack([np.interp(t * knots[-1], knots, c) for c in corners.T], -1))
    square = (x[..., None] - path[:, 0]) ** 2 + (y[..., None] - path[:, 1]) ** 2
    nearest = square.argmin(-1)
    begins = line.points[0][0] <= 0  # on the middle of the face: the other side goes on from there
    fade = np.cos(np.pi / 2 * t) ** 0.7 if begins else np.sin(np.pi * t) ** 0.7
    return np.asarray(-line.depth * fade[nearest] * np.exp(-square.min(-1) / (2 * line.width**2)))


def _smooth(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """A path [k, 2] without its corners."""
    padded = np.concatenate(
        [2 * path[:1] - path[1:6][::-1], path, 2 * path[-1:] - path[-6:-1][::-1]]
    )
    return np.stack([np.convolve(c, np.full(11, 1 / 11), "valid") for c in padded.T], -1)
