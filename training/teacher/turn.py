"""Turns of the head: a face that has moved already, nodding, turning and tilting as one.

The head turns about a point behind the face, so that its outline hardly moves when it nods or turns:
what is around it need not be known. Hair and neck go along the less, the further out they are. On the
side that a turn brings into view, skin stretches up to an outline that stays; what is behind it does not.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS, HEAD_TURN, HEAD_TURNS
from moue.crop import FACE_OVAL
from moue.tracking.mesh import RIGID
from training.teacher.head import Head, about, carried, ring_triangles
from training.teacher.raster import drawn, smooth
from training.teacher.render import FaceFit, Layers

AXIS = (0.0, -0.6, -4.4)  # cm, in the head's frame: what it turns about
# Around the face's oval: how far out, in its own radii from its middle; how much of the turn is left
# there; and how far behind the oval it lies, in cm.
RINGS = ((1.15, 0.75, 2.0), (1.35, 0.3, 4.0), (1.6, 0.0, 6.0))
SOFT = 0.003  # of the square: over which an outline that comes before another is one
# Of the square, over which motion fades to nothing at its top: a head goes on above its square, and
# hair that bends over a short way there shows.
TOP = 0.15
# Of the way that skin at the outline would go inwards, what it stays behind; and from where on, in
# the oval's radii from its middle, it does so.
STAYS, FROM = 0.8, 0.55
_COLUMNS = [ACTIONS.index(name) for name in HEAD_TURNS]
_YAW = ACTIONS.index("headYaw")


class Turner:
    """Turns heads whose faces have been rendered.

    Args:
        head: the 3-D head.
    """

    def __init__(self, head: Head) -> None:
        self._vertices = head.vertices
        self._stays = STAYS * _beside(head.vertices)
        rings = ring_triangles(len(head.vertices), len(RINGS))
        self._triangles = np.concatenate([head.triangles, head.mouth_hole, *head.eye_holes, rings])

    def mesh(
        self, fit: FaceFit, points: NDArray[np.float64], actions: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """float64 [468, 3]: where a moved mesh lies once the head has turned, in the photo's pixels."""
        return self._both(fit, points, actions)[1][: len(points)]

    def layers(
        self,
        layers: Layers,
        fit: FaceFit,
        points: NDArray[np.float64],
        actions: NDArray[np.float32],
        to_layer: NDArray[np.float64],
    ) -> Layers:
        """What a face does, its head turned.

        Args:
            layers: of the face alone.
            fit: the face; points: float64 [468, 3], its mesh in these layers, in the photo's pixels.
            actions: float32 [n].
            to_layer: float64 [2, 3], photo pixels to layer pixels.
        """
        if not actions[_COLUMNS].any():
            return layers
        size = len(layers.mask)
        was, now = self._both(fit, points, actions)
        scale = np.sqrt(abs(np.linalg.det(to_layer[:, :2])))
        seen = np.column_stack([carried(now, to_layer), scale * now[:, 2]]).astype(np.float32)
        place, shown = drawn(seen, self._triangles, carried(was, to_layer).astype(np.float32), size)
        grid = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32) + 0.5] * 2), -1)
        way = np.where(shown[..., None], place - grid, 0)
        way = np.asarray(cv2.GaussianBlur(way, (0, 0), max(SOFT * size, 0.5)), np.float32)
        way *= smooth(grid[..., 1:] / (TOP * size))
        x, y = np.moveaxis(grid + way - 0.5, -1, 0)

        def carry(maps: NDArray[np.float32]) -> NDArray[np.float32]:
            """[S, S] or [c, S, S] as the turned head shows it."""
            planes = [
                cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                for plane in maps.reshape(-1, size, size)
            ]
            return np.stack(planes).reshape(maps.shape)

        return replace(
            layers,
            flow=carry(layers.flow) + way.transpose(2, 0, 1) / size,
            mask=carry(layers.mask),
            colour=carry(layers.colour),
            face=np.maximum(carry(layers.face), shown),
            mouth=carry(layers.mouth),
            place=carry(layers.place),
        )

    def _both(
        self, fit: FaceFit, points: NDArray[np.float64], actions: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mesh and rings around it before and after the turn, float64 [v, 3], in the photo's pixels."""
        rigid = list(RIGID)
        turned = fit.scale * fit.rotation.T  # from the head's frame, a row at a time
        origin = (fit.points[rigid] - self._vertices[rigid] @ turned).mean(0)
        face = (points - origin) @ np.linalg.inv(turned)
        oval = face[list(FACE_OVAL)]
        middle = oval.mean(0)
        placed, left = [face], [np.ones(len(face))]
        for reach, share, behind in RINGS:
            ring = middle + reach * (oval - middle)
            ring[:, 2] = oval[:, 2] - behind
            placed.append(ring)
            left.append(np.full(len(oval), share))
        was = np.concatenate(placed)
        across = (face[:, 2] - AXIS[2]) * np.sin(np.deg2rad(HEAD_TURN) * actions[_YAW])
        inwards = across * (face[:, 0] - middle[0]) < 0
        held = was.copy()
        held[: len(face), 0] -= self._stays * across * inwards
        goes = (held - AXIS) @ turn_of(actions).T + AXIS - was
        now = was + np.concatenate(left)[:, None] * goes
        return was @ turned + origin, now @ turned + origin


def _beside(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [468] in [0, 1]: how near skin is to the outline at the sides of a face."""
    middle = vertices[list(FACE_OVAL)].mean(0)
    (x, y), (rim_x, rim_y) = ((vertices[k] - middle).T[:2] for k in (slice(None), list(FACE_OVAL)))
    rim = np.interp(
        np.arctan2(y, x), np.arctan2(rim_y, rim_x), np.hypot(rim_x, rim_y), period=2 * np.pi
    )
    out = np.hypot(x, y)
    sideways = np.abs(x) / np.maximum(out, 1e-6)
    return smooth((out / rim - FROM) / (1 - FROM)) * smooth((sideways - 0.3) / 0.5)


def turn_of(actions: NDArray[np.float32]) -> NDArray[np.float64]:
    """[3, 3]: how the head is turned, in its own frame: first nodded, then turned, then tilted."""
    yaw, pitch, roll = np.deg2rad(HEAD_TURN) * actions[_COLUMNS].astype(np.float64)
    return about(2, -roll) @ about(1, yaw) @ about(0, -pitch)
