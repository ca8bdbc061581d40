"""From how a face mesh moved to the actions that moved it: one matrix, learnt by training.tracker."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue.actions import FACE_ACTIONS
from moue.bundle import BUNDLES
from moue.errors import BundleError, one_line
from moue.reading import read_within, strict_json
from moue.tracking.mesh import POINTS, Mesh

REGRESSOR = BUNDLES / "tracker.json"
MAX_BYTES = 2**18  # of either file
# Lids that meet when an eye closes, (upper, lower); the subject's left eye, then the right.
LIDS = (((386, 374), (385, 380), (387, 373)), ((159, 145), (158, 153), (160, 144)))
LIPS = ((13, 14), (82, 87), (312, 317))
FEATURES = POINTS * 2 + 3


def features(rest: Mesh, moved: Mesh) -> NDArray[np.float32]:
    """What the actions are read from.

    Args:
        rest, moved: float32 [478, 3], both laid on the same reference by `moue.tracking.place`.

    Returns:
        float32 [959]: every point's displacement across the face, in cm (its depth is a guess and
        tells no more); how much of its opening each eye has lost, left and right; how far the lips
        parted, in cm.
    """
    closing = [
        1 - _gap(moved, lids) / max(_gap(rest, lids), 0.2)  # cm; eyes narrower than that are shut
        for lids in LIDS
    ]
    parting = _gap(moved, LIPS) - _gap(rest, LIPS)
    return np.concatenate([(moved - rest)[:, :2].ravel(), closing, [parting]]).astype(np.float32)


def _gap(mesh: Mesh, pairs: tuple[tuple[int, int], ...]) -> float:
    upper, lower = np.array(pairs).T
    return float(np.linalg.norm(mesh[upper] - mesh[lower], axis=1).mean())


@dataclass(frozen=True)
class Regressor:
    """Reads actions off a moved mesh.

    Attributes:
        mean: float32 [478, 3], the mean face at rest: the reference every face is laid on first.
        weights: float32 [51, 959], from `features` to `moue.actions.FACE_ACTIONS`.
    """

    mean: Mesh
    weights: NDArray[np.float32]

    def __call__(self, rest: Mesh, moved: Mesh) -> NDArray[np.float32]:
        """float32 [51]; about 0 … 1, not clipped."""
        # Not as a product of matrices: NumPy would give that to threads of BLAS, which then wait for
        # the next picture by spinning and take most of a core from whoever draws the frames.
        actions: NDArray[np.float32] = np.einsum("af,f->a", self.weights, features(rest, moved))
        return actions


@cache
def load_regressor(path: Path = REGRESSOR) -> Regressor:
    """The regressor that a JSON file describes; its weights are hashed before they are parsed.

    Raises:
        BundleError: a file is missing, damaged or not what it should be.
    """
    try:
        manifest = strict_json(read_within(path, MAX_BYTES))
        weights = path.with_suffix(".npz")
        data = read_within(weights, MAX_BYTES)
        if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
            raise BundleError(f"{weights} is not the file {path} lists; install moue again")
        if manifest["actions"] != list(FACE_ACTIONS):
            raise ValueError("its actions are not ARKit's")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            mean = _checked(arrays["mean"], (POINTS, 3))
            matrix = _checked(arrays["weights"], (len(FACE_ACTIONS), FEATURES))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BundleError(
            f"cannot use the tracker {path}: {one_line(error)}; install moue again"
        ) from None
    return Regressor(mean, matrix)


def _checked(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if array.dtype.kind != "f" or array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"an array must be {list(shape)}, but is {list(array.shape)}")
    return array.astype(np.float32)
