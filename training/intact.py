"""What no action may touch: the photo around the face, and the glasses on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moue import Animator, Portrait, kernels
from moue.actions import EXPRESSIONS, action_vector
from moue.crop import Face
from training.data.faces import FaceCrop
from training.data.view import View
from training.teacher.glasses import SHOWN, put_on
from training.teacher.render import Teacher


def difference_outside(portrait: Portrait, frame: NDArray[np.uint8]) -> int:
    """Largest change, in levels, of a pixel outside the face square."""
    height, width = frame.shape[:2]
    y, x = np.mgrid[0:height, 0:width] + 0.5
    matrix = portrait.faces[0].square.to_crop()
    u = np.tensordot(matrix[:, :2], np.stack([x, y]), 1) + matrix[:, 2, None, None]
    outside = ((u < 0) | (u > 1)).any(0)
    change = np.abs(frame.astype(int) - portrait.photo)[outside]
    return int(change.max()) if change.size else 0


def motion_of_rims(
    animator: Animator, teacher: Teacher, faces: Sequence[FaceCrop]
) -> tuple[float, float]:
    """How far glasses drawn on faces move, and the skin in their place without them.

    Returns:
        Pixels of the generator's input, means over rims, expressions at degree 1 and faces.
    """
    size = animator.bundle.input_size
    asked = np.stack([action_vector(e, animator.actions) for e in EXPRESSIONS.values()])
    travelled: list[list[float]] = []
    for number, face in enumerate(faces):
        fit = teacher.fit(face.photo, face.landmarks)
        random = np.random.default_rng(number)
        worn = put_on(random, face.photo, fit, teacher.head.vertices)
        rims = View.plain(size * face.square.to_crop(), size).resample(worn.where)[..., 0] > SHOWN
        found = Face(face.square, face.landmarks, 1.0)
        pair = []
        for photo in (worn.photo, face.photo):
            encoded = animator.prepare(photo, found).faces[0]
            maps = animator.runtime.decode(encoded.features.skips(asked))
            at_rest = encoded.rest_flow, encoded.rest_mask
            flow, _ = kernels.since_rest(maps["flow"], maps["mask"][:, 0], *at_rest)
            pair.append(size * float(np.linalg.norm(flow, axis=1)[:, rims].mean()))
        travelled.append(pair)
    worn_px, bare_px = np.mean(travelled, 0)
    return float(worn_px), float(bare_px)
