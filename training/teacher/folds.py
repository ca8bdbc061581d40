"""How light changes on skin that smiles: the folds a warp alone cannot make.

The ratio of a smiling to a neutral photograph of the same person, both unrolled onto the canonical
face mesh, is an expression ratio image (Liu, Shan and Zhang, SIGGRAPH 2001). The middle over people
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
_APART = 0.2  # of the people, at either end, whom a mean leaves out
_FAINT = 0.004  # share of the colour layer too small to matter
_MIDLINE = 0.1  # of the unrolled face's width, over which one side's smile becomes the other's
_NOISE = 0.01  # of the light: a change no larger is taken for none
_EXPONENT = 2.2  # sRGB to light, nearly

Shown: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.float32]]  # a photo and its landmarks


def span_of(vertices: NDArray[np.float64]) -> float:
    """Half a side of the unrolled face, in centimetres of the canonical vertices [468, 3]."""
    return float(1.02 * np.abs(vertices[:, :2]).max())


def unrolled(vertices: NDArray[np.float64]) -> NDArray[np.float32]:
    """Canonical vertices float64 [468, 3] → float32 [468, 3], pixels and depth of the unrolled face."""
    span = span_of(vertices)
    x, y = SIZE / 2 * (1 + vertices[:, 0] / span), SIZE / 2 * (1 - vertices[:, 1] / span)
    return np.column_stack([x, y, -vertices[:, 2]]).astype(np.float32)


def unroll(shown: Shown, head: Head) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A face laid flat, float32 [256, 256, 3], sRGB in [0, 1], and where there is any of it."""
    photo, landmarks = shown
    points = np.ascontiguousarray(landmarks[: len(head.vertices), :2], np.float32)
    source, covered = drawn(unrolled(head.vertices), head.triangles, points, SIZE)
    x, y = source[..., 0] - 0.5, source[..., 1] - 0.5
    return cv2.remap(photo, x, y, cv2.INTER_LINEAR).astype(np.float32) / 255, covered


def smile_folds(
    pairs: Iterable[tuple[Shown, Shown, float]], head: Head
) -> dict[str, NDArray[np.float32]]:
    """The light of a full smile against that of the same face at rest.

    Args:
        pairs: the same people at rest and smiling, each a photo uint8 [H, W, 3] and its landmarks
            float32 [478, 3], and the degree of the smile in [0, 1].
        head: whose face mesh they are unrolled on.

    Returns:
        The logarithm of the ratio of light by `mouthSmileLeft` and `mouthSmileRight`, float32 [256, 256]
        each: what the middle of the people show, over their mean degree, mirrored onto itself; 0 off
        the face, and everywhere when there are no pairs.
    """
    ratios, degrees = [], []
    for neutral, smile, degree in pairs:
        still, seen = _light(neutral, head)
        ratio = _light(smile, head)[0] - still
        ratios.append(np.where(seen, ratio - np.median(ratio[seen]), 0))
        degrees.append(degree)
    folds = np.zeros((SIZE, SIZE))
    if ratios:
        out = int(_APART * len(ratios))
        folds = np.sort(ratios, 0)[out : len(ratios) - out].mean(0) / np.mean(degrees)
        folds = (folds + folds[:, ::-1]) / 2
        folds = np.sign(folds) * np.maximum(np.abs(folds) - _NOISE, 0)
    left = np.clip(0.5 + ((np.arange(SIZE) + 0.5) / SIZE - 0.5) / _MIDLINE, 0, 1)
    sides = {"mouthSmileLeft": folds * left, "mouthSmileRight": folds * (1 - left)}
    return {name: side.astype(np.float32) for name, side in sides.items()}


def crease(
    light: NDArray[np.float32],
    head: Head,
    target: NDArray[np.float32],
    brightness: float,
    mask: NDArray[np.float32],
    colour: NDArray[np.float32],
) -> None:
    """Darkens and lightens skin through the colour layer: black or white, thinly laid.

    Args:
        light: float32 [256, 256], the logarithm of its change on the unrolled face.
        head: whose face mesh that lies on.
        target: float32 [468, 3], the moved mesh in layer pixels.
        brightness: mean sRGB of the skin in [0, 1].
        mask, colour: float32 [S, S] and [S, S, 3], laid into.
    """
    flat = np.ascontiguousarray(unrolled(head.vertices)[:, :2])
    where, covered = drawn(target, head.triangles, flat, len(mask))
    change = cv2.remap(light, where[..., 0] - 0.5, where[..., 1] - 0.5, cv2.INTER_LINEAR)
    gain = np.exp(np.where(covered, change, 0) / _EXPONENT) - 1
    bright = float(np.clip(brightness, 0.1, 0.8))
    thin = np.where(gain < 0, -gain, gain * bright / (1 - bright)).astype(np.float32)
    laid = (thin > mask) & (thin > _FAINT)
    mask[laid] = thin[laid]
    colour[laid] = (gain > 0)[laid][:, None]


def _light(shown: Shown, head: Head) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logarithm of a face's light, unrolled, and where there is any."""
    picture, covered = unroll(shown, head)
    light = cv2.GaussianBlur((picture**_EXPONENT).mean(-1), (0, 0), _BLUR)
    return np.log(light + 0.01), covered
