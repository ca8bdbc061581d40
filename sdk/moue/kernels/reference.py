"""The kernels in plain NumPy: the oracle of `moue._core`, and its stand-in where it is missing.

Arguments are those of the functions of the same name in `moue.kernels`, already checked; results
are written to `out`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moue.mouth import LUMA, PLACE_STEP

STILL = 0.1 / 256  # sides of the square: less motion than this since rest, along x or y, is none
FAINT = 1 / 64  # less of a mask than this since rest is none
THIN = 1 / 8  # a mask up to this shows light alone; from twice that on, all of the mouth's picture
EDGE = (
    2.0  # so much steeper is the mouth's edge in a frame than in the mask, whose cells are coarser
)


def skip_sum_reference(
    base: NDArray[np.float32],
    residual: NDArray[np.float32] | NDArray[np.float16],
    actions: NDArray[np.float32],
    sizes: Sequence[int],
    out: NDArray[np.float32],
) -> None:
    at = 0
    for size in sizes:
        level = slice(at, at + size)
        sums = out[len(actions) * at : len(actions) * (at + size)].reshape(-1, size)
        for weights, total in zip(actions, sums, strict=True):
            total[...] = base[level]
            for i in np.flatnonzero(weights):
                total += weights[i] * residual[i, level].astype(np.float32)
        at += size


def preprocess_reference(
    photo: NDArray[np.uint8], to_photo: NDArray[np.float64], taps: int, out: NDArray[np.float32]
) -> None:
    size = out.shape[-1]
    total = np.zeros((size * size, 3))
    for v, h in np.ndindex(taps, taps):
        ux, uy = ((np.arange(size) + (tap + 0.5) / taps) / size for tap in (h, v))
        grid = np.stack([*np.meshgrid(ux, uy), np.ones((size, size))])
        x, y = to_photo @ grid.reshape(3, -1)
        total += _bilinear(photo, x - 0.5, y - 0.5)
    out[...] = (total / (255 * taps**2)).T.reshape(3, size, size)


def compose_reference(
    photo: NDArray[np.uint8],
    to_crop: NDArray[np.float64],
    flow: NDArray[np.float32],
    mask: NDArray[np.float32],
    light: NDArray[np.float32],
    place: NDArray[np.float32],
    picture: NDArray[np.uint8],
    window: NDArray[np.float64],
    colour: float,
    out: NDArray[np.uint8],
) -> None:
    height, width = photo.shape[:2]
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    ux = to_crop[0, 0] * x + to_crop[0, 1] * y + to_crop[0, 2]
    uy = to_crop[1, 0] * x + to_crop[1, 1] * y + to_crop[1, 2]
    rows, columns = np.nonzero((ux >= 0) & (ux <= 1) & (uy >= 0) & (uy <= 1))
    ux, uy = ux[rows, columns], uy[rows, columns]

    size = len(mask)
    maps = np.concatenate([flow, np.fmin(np.fmax(mask[None], 0), 1), light])
    here = _bilinear(maps.transpose(1, 2, 0), ux * size - 0.5, uy * size - 0.5)
    dx, dy = np.linalg.inv(to_crop[:, :2]) @ here[:, :2].T
    warped = _bilinear(photo, columns + dx, rows + dy)
    m, paint = here[:, 2:3], here[:, 3:]

    left, top, right, bottom = window
    mouth = (ux >= left) & (ux <= right) & (uy >= top) & (uy <= bottom)
    nodes = [(u[mouth] - first) * size / PLACE_STEP - 0.5 for u, first in ((ux, left), (uy, top))]
    u, v = 0.5 + _bilinear(place.transpose(1, 2, 0), *nodes).T
    tall, wide = picture.shape[:2]
    shown = np.clip(m[mouth] / THIN - 1, 0, 1)
    seen = _bilinear(picture, u * wide - 0.5, v * tall - 0.5) / 255
    paint[mouth] *= 1 + shown * (seen - 1)
    m[mouth] = np.fmax(np.fmin(m[mouth], THIN), np.clip(EDGE * (m[mouth] - 0.5) + 0.5, 0, 1))
    paint += (1 - colour) * (paint @ np.array(LUMA)[:, None] - paint)
    paint = np.fmin(np.fmax(paint, 0), 1)
    out[rows, columns] = np.floor((1 - m) * warped + m * 255 * paint + 0.5)


def since_rest(
    flow: NDArray[np.float32],
    mask: NDArray[np.float32],
    rest_flow: NDArray[np.float32],
    rest_mask: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Flow and mask less what they are at rest, and nearer to nothing by STILL and by FAINT."""
    return _settled(flow - rest_flow, STILL), _settled(mask - rest_mask, FAINT)


def _settled(x: NDArray[np.float32], by: float) -> NDArray[np.float32]:
    return x - np.clip(x, -np.float32(by), np.float32(by))


def _bilinear(
    image: NDArray[np.uint8] | NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Samples image [h, w, c] at points [k] from the centre of pixel (0, 0); edges repeat."""
    height, width = image.shape[:2]
    x = np.fmin(np.fmax(x, 0), width - 1)
    y = np.fmin(np.fmax(y, 0), height - 1)
    x0, y0 = x.astype(np.intp), y.astype(np.intp)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    upper = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
    lower = image[y1, x0] * (1 - fx) + image[y1, x1] * fx
    result: NDArray[np.float64] = upper * (1 - fy) + lower * fy
    return result
