"""A small z-buffered triangle rasteriser, compiled by numba, and the smooth step that edges end by."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True, nogil=True)
def rasterise(
    points: NDArray[np.float32],
    triangles: NDArray[np.int32],
    attributes: NDArray[np.float32],
    depth: NDArray[np.float32],
    image: NDArray[np.float32],
    turned: bool,
) -> None:
    """Draws triangles with interpolated attributes; the nearest to the camera stays.

    Args:
        points: float32 [v, 3], pixel x, pixel y, and depth (smaller is nearer).
        triangles: int32 [t, 3].
        attributes: float32 [v, k].
        depth: float32 [h, w], the z-buffer, drawn into (start it at +inf).
        image: float32 [h, w, k], drawn into.
        turned: also draw triangles whose winding on screen is turned over (positive area is kept
            where y points down and the mesh is wound clockwise on screen).
    """
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = points[i, 0], points[i, 1]
        bx, by = points[j, 0], points[j, 1]
        cx, cy = points[k, 0], points[k, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9 or (area > 0 and not turned):
            continue
        left = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        right = min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        top = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        bottom = min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        for y in range(top, bottom + 1):
            py = y + 0.5
            for x in range(left, right + 1):
                px = x + 0.5
                u = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
                v = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
                w = 1.0 - u - v
                if u < -1e-6 or v < -1e-6 or w < -1e-6:
                    continue
                z = u * points[i, 2] + v * points[j, 2] + w * points[k, 2]
                if z < depth[y, x]:
                    depth[y, x] = z
                    for c in range(attributes.shape[1]):
                        image[y, x, c] = (
                            u * attributes[i, c] + v * attributes[j, c] + w * attributes[k, c]
                        )


def drawn(
    points: NDArray[np.float32],
    triangles: NDArray[np.int32],
    attributes: NDArray[np.float32],
    size: int,
    turned: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Attributes drawn on an empty picture, float32 [size, size, k], and where there are any."""
    depth = np.full((size, size), np.inf, np.float32)
    image = np.zeros((size, size, attributes.shape[1]), np.float32)
    rasterise(points, triangles, attributes, depth, image, turned)
    return image, np.isfinite(depth)


def smooth(share: NDArray[np.floating]) -> NDArray[np.float64]:
    """0 to 1 as a share goes from 0 to 1, level at both ends and beyond."""
    share = np.clip(share, 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float64)
