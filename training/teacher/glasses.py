"""Glasses: drawn on faces that wear none, and what a face may do behind them.

Spectacles sit on the nose and stay there, whatever brows and cheeks do under them. Where a photo's
rims run is known only of those that are drawn, and these teach the network to leave any others alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from training.teacher.head import EYE_LEFT, EYE_RIGHT
from training.teacher.render import FaceFit, Layers

STRETCH = 0.6  # of the way to the nearest rim that a pixel may come from there at most
SLIDE = 2.5  # of that way, and from anywhere
TOGETHER = 0.1  # of the square: as far as what moves by one share, a brow whole, not its upper half
BRIDGE = 168  # vertex of the face mesh between the eyes, where glasses sit
TEMPLES = (127, 356)  # vertices before the subject's right and left ear
SHOWN, FAINT = 64, 8  # of 255: as much of a rim or a lens is one; as much of a rim must not move
FINE = 4  # binary places of a drawn coordinate
_OFFICIAL = (
    2, 11, 12, 15, 17, 20, 22, 50, 60, 62, 69, 77, 82, 90, 97, 107, 143, 152, 153, 154, 162,
    163, 165, 174, 176, 179, 213, 218, 231, 233, 235, 244, 245, 250, 256, 257, 266, 270, 272,
    273, 275, 289, 301, 304, 305, 311, 314, 324, 333, 336, 341, 350, 353, 356, 359, 372, 375,
    397, 409, 411, 416, 419, 421, 432, 442, 446, 467, 468, 471, 473, 482, 488, 494, 502, 505,
    507, 508, 529,
)  # fmt: skip
# Portraits with glasses of their own, whose rims nobody has drawn.
WEARERS = {"synth_male_95", *(f"official_{number:03}" for number in _OFFICIAL)}
_CIRCLE = np.linspace(0, 2 * np.pi, 72, endpoint=False)


@dataclass(frozen=True)
class Worn:
    """A photo with glasses: uint8 RGB [H, W, 3], and where they are: uint8 [H, W, 3] in 0 or 255,
    rims, lenses, and nothing.
    """

    photo: NDArray[np.uint8]
    where: NDArray[np.uint8]


def put_on(
    random: np.random.Generator,
    photo: NDArray[np.uint8],
    fit: FaceFit,
    vertices: NDArray[np.float64],
) -> Worn:
    """Draws glasses of any common shape and colour on a face.

    Args:
        photo: uint8 RGB [H, W, 3].
        fit: the face in it.
        vertices: float64 [468, 3], the neutral head that was fitted (`Head.vertices`).
    """
    wide, tall = random.uniform(2.1, 2.6), random.uniform(1.5, 2.4)  # cm, half a lens
    power, tilt = 2 / random.uniform(1.9, 5), random.uniform(-0.05, 0.16)
    lower = random.uniform(-0.1, 0.4)  # cm below the eyes' centres
    front = vertices[BRIDGE, 2] + random.uniform(0.3, 0.7)
    thick = fit.scale * np.exp(random.uniform(np.log(0.07), np.log(0.42)))

    def placed(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points of the head's frame, on the glasses' bent front, in the photo's pixels [k, 2]."""
        points = np.column_stack([x, y, front - 0.02 * x**2]) - vertices[BRIDGE]
        return (fit.points[BRIDGE] + fit.scale * points @ fit.rotation.T)[:, :2]

    def power_of(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.sign(x) * np.abs(x) ** power)

    rims, lenses = (np.zeros(photo.shape[:2], np.uint8) for _ in range(2))
    browline = random.random() < 0.3
    inner, hinges = [], []
    for contour, side in ((EYE_RIGHT, -1), (EYE_LEFT, 1)):
        eye = vertices[list(contour)].mean(0)
        across, up = wide * power_of(np.cos(_CIRCLE)), tall * power_of(np.sin(_CIRCLE))
        x, y = eye[0] * 1.03 + across, eye[1] - lower + up + tilt * side * across
        outline = placed(x, y)
        cv2.fillPoly(lenses, [_fine(outline)], (255,), cv2.LINE_AA, FINE)
        _line(rims, outline, thick, closed=True)
        if browline:
            _line(rims, outline[np.sin(_CIRCLE) > 0.3], 1.7 * thick)
        at = eye[1] - lower + 0.35 * tall
        inner.append((eye[0] * 1.03 - side * wide, at))
        hinges.append(
            placed(np.array([eye[0] * 1.03 + side * wide]), np.array([at + tilt * wide]))[0]
        )
    share = np.linspace(-1, 1, 12)
    (first, at), (last, _) = inner
    arch = placed((first + last) / 2 + share * (last - first) / 2, at + 0.2 * (1 - share**2))
    _line(rims, arch, thick)
    nose = fit.points[BRIDGE, :2]
    for hinge, temple in zip(hinges, TEMPLES, strict=True):
        ear = fit.points[temple, :2]
        if np.linalg.norm(ear - nose) > np.linalg.norm(hinge - nose):  # else the head hides it
            _line(rims, np.stack([hinge, ear]), 0.8 * thick)

    covered = cv2.GaussianBlur(rims, (0, 0), 0.5).astype(np.float32)[..., None] / 255
    worn = photo.astype(np.float32)
    shadow = cv2.GaussianBlur(np.roll(rims, round(0.2 * fit.scale), 0), (0, 0), 0.15 * fit.scale)
    worn *= 1 - random.uniform(0, 0.4) * shadow.astype(np.float32)[..., None] / 255
    glass = lenses.astype(np.float32)[..., None] / 255 * random.uniform(0, 0.1)
    worn += glass * (random.choice([30, 255]) - worn)
    colour = _colour(random) * (0.4 + fit.skin.mean())
    gleam = 1 + 0.3 * np.sin(random.uniform(0, 6) + np.arange(photo.shape[1]) / fit.scale)
    opaque = covered * random.choice([1, 1, 1, 0.6])
    worn += opaque * (colour * gleam[None, :, None] - worn)
    where = np.stack([rims, lenses, np.zeros_like(rims)], -1)
    return Worn(np.rint(np.clip(worn, 0, 255)).astype(np.uint8), where)


def held(layers: Layers, where: NDArray[np.uint8]) -> Layers:
    """Layers of a face whose glasses stay: skin slides under a rim, but is not drawn out of it.

    Args:
        layers: what the face would do without them.
        where: uint8 [S, S, 3], as in `Worn`.
    """
    rims, lenses = where[..., 0] > FAINT, where[..., 1] > SHOWN
    away = cv2.distanceTransform((~rims).astype(np.uint8), cv2.DIST_L2, 5)
    off = np.stack([cv2.Sobel(away, -1, 1, 0), cv2.Sobel(away, -1, 0, 1)])
    off = off / np.maximum(np.linalg.norm(off, axis=0), 1e-6)  # the way that leads off the rims
    flow = len(rims) * layers.flow
    towards = -(flow * off).sum(0)
    kept = np.minimum(1, STRETCH * away / np.maximum(towards, 1e-6))
    around = round(TOGETHER * len(rims))
    together = cv2.blur(cv2.erode(kept, np.ones((around, around))), (around, around))
    kept = np.where(lenses, kept, np.minimum(kept, together))  # lids close behind them
    kept = np.minimum(kept, SLIDE * away / np.maximum(np.linalg.norm(flow, axis=0), 1e-6))
    clear = np.clip(away / 2, 0, 1)
    return replace(layers, flow=layers.flow * kept[None], mask=layers.mask * clear)


def _colour(random: np.random.Generator) -> NDArray[np.float64]:
    """Of a frame, RGB in 0..255: mostly dark, often metal, seldom bright."""
    kind = random.random()
    if kind < 0.5:
        return np.asarray(random.uniform(5, 50) * random.uniform(0.8, 1.2, 3))
    if kind < 0.65:
        return np.array([110, 65, 35]) * random.uniform(0.5, 1.3)
    if kind < 0.85:
        return np.array([1, 0.93, 0.8 + 0.2 * random.random()]) * random.uniform(110, 210)
    return np.asarray(random.uniform(20, 230, 3))


def _fine(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Pixel coordinates as OpenCV draws them between pixels; its pixels' centres are whole numbers."""
    return np.asarray(np.rint((points - 0.5) * 2**FINE), np.int32)


def _line(
    canvas: NDArray[np.uint8], points: NDArray[np.float64], thick: float, closed: bool = False
) -> None:
    width = max(1, round(thick))
    cv2.polylines(canvas, [_fine(points)], closed, (255,), width, cv2.LINE_AA, FINE)
