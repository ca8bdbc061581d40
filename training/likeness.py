"""How alike two pictures of a face are, and how near a smile comes to the real one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from training.data.faces import FaceCrop
from training.data.sources import align
from training.data.view import View
from training.teacher.head import carried
from training.teacher.render import FaceFit

DEGREES = tuple(k / 10 for k in range(11))


def similarity(
    a: NDArray[np.uint8], b: NDArray[np.uint8], where: NDArray[np.bool_]
) -> tuple[float, float]:
    """SSIM and PSNR (dB) of two pictures uint8 [H, W, 3] inside a region."""
    _, ssim = structural_similarity(a, b, channel_axis=2, full=True)
    return float(ssim[where].mean()), float(peak_signal_noise_ratio(a[where], b[where]))


def unevenness(frames: Sequence[NDArray[np.uint8]]) -> float:
    """How even a ramp is: the largest mean change from one frame to the next, over the median one."""
    steps = [float(np.abs(b.astype(int) - a).mean()) for a, b in pairwise(frames)]
    return max(steps) / max(float(np.median(steps)), 1e-9)


def smile_target(
    neutral: FaceCrop, smile: FaceCrop, view: View, fit: FaceFit
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The real smile laid on the neutral photo, uint8 [S, S, 3], and where the face is in it."""
    _, to_neutral = align(smile, neutral)
    real = view.resample(smile.photo, to_neutral)
    hull = cv2.convexHull(carried(fit.points, view.to_layer).astype(np.int32))
    return real, np.asarray(cv2.fillConvexPoly(np.zeros(real.shape[:2], np.uint8), hull, (1,))) > 0


class Likeness(NamedTuple):
    """SSIM of a smile's degrees to a photograph of one.

    rest, full: at degree 0 and at 1, which nobody looked at the photograph for; best: at the one of
    eleven that is most like it, so never below `rest`; degree: which that is.
    """

    rest: float
    full: float
    best: float
    degree: float


def likeness(
    views: Sequence[NDArray[np.uint8]], real: NDArray[np.uint8], inside: NDArray[np.bool_]
) -> Likeness:
    """How like a photograph a smile is, seen at `DEGREES`, inside a region."""
    each = [similarity(shown, real, inside)[0] for shown in views]
    best = int(np.argmax(each))
    return Likeness(each[0], each[-1], each[best], DEGREES[best])
