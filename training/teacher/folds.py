"""How light changes on skin that smiles: the folds a warp alone cannot make.

The ratio of a smiling to a neutral photograph of the same person, both unrolled onto the canonical
face mesh, is an expression ratio image (Liu, Shan and Zhang, SIGGRAPH 2001). The median over people
holds what smiles share: the folds from nose to mouth, the raised cheek, the crease below the eye.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from training.teacher.head import Head
from training.teacher.raster import drawn

SIZE = 256  # px a side of the unrolled face
_BLUR = 1.2  # px over which a pair's own misalignment is forgiven
_FAINT = 0.004  # share of the colour layer too small to matter
_MIDLINE = 0.1  # of the unrolled face's width, over which one side's smile becomes the other's
_NOISE = 0.03  # of the light: a change no larger is taken for none
_EXPONENT = 2.2  # sRGB to light, nearly


def unrolled(vertices: NDArray[np.float64]) -> NDArray[np.float32]:
    """Canonical vertices float64 [468, 3] → float32 [468, 3], pixels and depth of the unrolled face."""
    span = 1.02 * np.abs(vertices[:, :2]).max()
    x, y = SIZE / 2 * (1 + vertices[:, 0] / span), SIZE / 2 * (1 - vertices[:, 1] / span)
    return np.column_stack([x, y, -vertices[:, 2]]).astype(np.float32)


Shown: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.float32]]  # a photo and its landmarks


def smile_folds(pairs: Iterable[tuple[Shown, Shown]], head: Head) -> NDArray[np.float32]:
    """The light of a full smile against that of the same face at rest.

    Args:
        pairs: the same people at rest and smiling, each a photo uint8 [H, W, 3] and its landmarks
            float32 [478, 3].
        head: whose face mesh they are unrolled on.

    Returns:
        float32 [256, 256], the median logarithm of the ratio of light, mirrored onto itself; 0 off
        the face, and everywhere when there are no pairs.
    """
    place = unrolled(head.vertices)
    ratios = []
    for neutral, smile in pairs:
        still, seen = _light(neutral, place, head.triangles)
        smiling, _ = _light(smile, place, head.triangles)
        ratio = smiling - still
        ratios.append(np.where(seen, ratio - np.median(ratio[seen]), 0))
    if not ratios:
        return np.zeros((SIZE, SIZE), np.float32)
    middle = np.median(ratios, 0)
    middle = (middle + middle[:, ::-1]) / 2
    folds = np.sign(middle) * np.maximum(np.abs(middle) - _NOISE, 0)
    return np.asarray(folds, np.float32)


def crease(
    folds: NDArray[np.float32],
    head: Head,
    target: NDArray[np.float32],
    smile: tuple[float, float],
    brightness: float,
    mask: NDArray[np.float32],
    colour: NDArray[np.float32],
) -> None:
    """Darkens and lightens smiling skin through the colour layer: black or white, thinly laid.

    Args:
        folds: float32 [256, 256], from `smile_folds`.
        head: whose face mesh they lie on.
        target: float32 [468, 3], the moved mesh in layer pixels.
        smile: how much of a full smile the left and the right of the face show; less than 0 takes
            folds away.
        brightness: mean sRGB of the skin in [0, 1].
        mask, colour: float32 [S, S] and [S, S, 3], laid into.
    """
    if not any(smile):
        return
    flat = np.ascontiguousarray(unrolled(head.vertices)[:, :2])
    where, covered = drawn(target, head.triangles, flat, len(mask))
    ratio = cv2.remap(folds, where[..., 0] - 0.5, where[..., 1] - 0.5, cv2.INTER_LINEAR)
    left = np.clip(0.5 + (where[..., 0] / SIZE - 0.5) / _MIDLINE, 0, 1)
    share = smile[1] + left * (smile[0] - smile[1])
    gain = np.exp(np.where(covered, ratio * share, 0) / _EXPONENT) - 1
    bright = float(np.clip(brightness, 0.1, 0.8))
    thin = np.where(gain < 0, -gain, gain * bright / (1 - bright)).astype(np.float32)
    laid = (thin > mask) & (thin > _FAINT)
    mask[laid] = thin[laid]
    colour[laid] = (gain > 0)[laid][:, None]


def _light(
    shown: Shown,
    place: NDArray[np.float32],
    triangles: NDArray[np.int32],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logarithm of a face's light, unrolled, and where there is any."""
    photo, landmarks = shown
    points = np.ascontiguousarray(landmarks[: len(place), :2], np.float32)
    source, covered = drawn(place, triangles, points, SIZE)
    picture = cv2.remap(
        photo.astype(np.float32) / 255, source[..., 0] - 0.5, source[..., 1] - 0.5, cv2.INTER_LINEAR
    )
    light = cv2.GaussianBlur((picture**_EXPONENT).mean(-1), (0, 0), _BLUR)
    return np.log(light + 0.01), covered
