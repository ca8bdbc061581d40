"""What stands between the photo, the two graphs and the frame, three operations fast on any CPU.

    preprocess → encoder → skip_sum → decoder → compose

Each runs in the compiled `moue._core`, or, where that is missing, in NumPy (`reference.py`) with
the same numbers: float32 within 1e-5, 8-bit within one level. `BACKEND` says which: "core" or
"numpy". Every `threads` argument: 0 takes the processors this process may run on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moue.kernels import arguments
from moue.kernels.reference import (
    EDGE,
    FAINT,
    STILL,
    THIN,
    compose_reference,
    preprocess_reference,
    since_rest,
    skip_sum_reference,
)
from moue.mouth import Mouth

try:
    from moue import _core
except ImportError as error:
    BACKEND = "numpy"
    logging.getLogger(__name__).warning(
        "moue._core cannot be loaded, so the slower NumPy kernels run; "
        "install moue with pip to build it (%s)",
        error,
    )
else:
    BACKEND = "core"

__all__ = [
    "BACKEND",
    "EDGE",
    "FAINT",
    "STILL",
    "THIN",
    "check_cuda",
    "compose",
    "compose_reference",
    "cuda_devices",
    "preprocess",
    "preprocess_reference",
    "since_rest",
    "skip_sum",
    "skip_sum_reference",
]


def skip_sum(
    base: NDArray[np.float32],
    residual: NDArray[np.float32] | NDArray[np.float16],
    actions: NDArray[np.float32],
    sizes: Sequence[int],
    out: NDArray[np.float32] | None = None,
    *,
    threads: int = 0,
) -> NDArray[np.float32]:
    """The features of every frame at every level: F = e0 + Σ a_i e_i (Fan et al. 2019, eq. 7).

    Levels stand one after another. Residuals whose weight is zero are never read.

    Args:
        base: e0, float32 [cells].
        residual: e_i, float32 or float16 [n, cells].
        actions: a, float32 [T, n].
        sizes: cells of each level; they add up to `cells`.
        out: float32 [T · cells] to write to; allocated when None.

    Returns:
        float32 [T · cells], which is `out` where one was given: for each level in turn, its cells of
        every frame.

    Raises:
        ValueError: an argument has another dtype, shape or layout.
    """
    base = arguments.array("base", base, ["float32"], ["cells"])
    residual = arguments.array("residual", residual, ["float32", "float16"], ["n", *base.shape])
    actions = arguments.array("actions", actions, ["float32"], ["T", len(residual)])
    sizes = arguments.parts("sizes", sizes, base.size)
    threads = arguments.at_least("threads", threads, 0)
    inputs = base, residual, actions
    out = arguments.output(out, "float32", (len(actions) * base.size,), apart_from=inputs)
    if BACKEND == "core":
        _core.skip_sum(base, residual, actions, sizes, out, threads)
    else:
        skip_sum_reference(base, residual, actions, sizes, out)
    return out


def preprocess(
    photo: NDArray[np.uint8], to_photo: ArrayLike, size: int, *, threads: int = 0
) -> NDArray[np.float32]:
    """The face square of a photo as the generator's input.

    Every output pixel is the mean of k×k bilinear samples, k = ⌈side / size⌉, so that a large face
    is averaged down, not aliased. Outside the photo its edge pixels repeat.

    Args:
        photo: uint8 RGB [H, W, 3].
        to_photo: float [2, 3], M with photo point = M (ux, uy, 1).
        size: side of the result in pixels.

    Returns:
        float32 [3, size, size] in [0, 1].

    Raises:
        ValueError: an argument has another dtype or shape, or is out of range.
    """
    photo = arguments.array("photo", photo, ["uint8"], ["H", "W", 3])
    to_photo = arguments.affine("to_photo", to_photo)
    size, threads = arguments.at_least("size", size, 1), arguments.at_least("threads", threads, 0)
    taps = arguments.taps(to_photo, size)
    out = np.empty((3, size, size), np.float32)
    if BACKEND == "core":
        _core.preprocess(photo, to_photo, taps, out, threads)
    else:
        preprocess_reference(photo, to_photo, taps, out)
    return out


def compose(
    photo: NDArray[np.uint8],
    to_crop: ArrayLike,
    flow: NDArray[np.float32],
    mask: NDArray[np.float32],
    light: NDArray[np.float32],
    place: NDArray[np.float32],
    mouth: Mouth,
    out: NDArray[np.uint8] | None = None,
    *,
    rest: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    colour: float = 1.0,
    threads: int = 0,
) -> NDArray[np.uint8]:
    """A frame at the photo's own resolution: (1 − m) · warp(photo, flow) + m · paint.

    The paint is the light alone, and within the mouth's window light times the mouth's picture,
    looked up where `place` says: where the mask is more than THIN the picture comes in, and is all
    there at twice that. There the mask gets an edge EDGE times as steep, max(min(m, THIN),
    EDGE · (m − ½) + ½), so that no tooth shines through a lip. Only pixels whose centre lies in the face square are written. Zero
    flow with zero mask gives the photo back bit for bit.

    Args:
        photo: uint8 RGB [H, W, 3].
        to_crop: float [2, 3], M with u = M (x, y, 1); the square is u in [0, 1]².
        flow: float32 [2, S, S] (x, y), in sides of the square; the frame at u shows the photo at
            u + flow(u).
        mask: float32 [S, S], clipped to [0, 1].
        light: float32 RGB [3, S, S]; the paint it makes is clipped to [0, 1].
        place: float32 [2, h, w] (u, v), from the picture's middle and in its sides; a node for every
            4×4 cells of the window.
        mouth: the picture, and its window in the square.
        out: uint8 [H, W, 3] to write to, such as the frame of another face in the same photo;
            a copy of the photo when None.
        rest: flow and mask at rest, which are subtracted from this frame's. What is left counts less
            by STILL, along x and along y, and by FAINT, and as nothing where it is not even that.
            None: flow and mask are taken as they are.
        colour: the share of its colour that the paint keeps, in [0, 1]: see `mouth.colour_of`.

    Returns:
        uint8 RGB [H, W, 3], which is `out` where one was given.

    Raises:
        ValueError: an argument has another dtype, shape or layout, `to_crop` has no inverse, or
            `out` shares memory with the photo.
    """
    photo = arguments.array("photo", photo, ["uint8"], ["H", "W", 3])
    to_crop = arguments.affine("to_crop", to_crop)
    mask = arguments.array("mask", mask, ["float32"], ["S", "S"])
    size = len(mask)
    flow = arguments.array("flow", flow, ["float32"], [2, size, size])
    light = arguments.array("light", light, ["float32"], [3, size, size])
    place = arguments.array("place", place, ["float32"], [2, *mouth.nodes(size)])
    picture = arguments.array("mouth.picture", mouth.picture, ["uint8"], ["h", "w", 3])
    window, colour = np.array(mouth.window, np.float64), arguments.share("colour", colour)
    threads = arguments.at_least("threads", threads, 0)
    whole = out is None  # then what lies around the square is written, too
    out = arguments.output(out, "uint8", photo.shape, apart_from=(photo,))
    rest_flow, rest_mask = rest or (None, None)
    if rest is not None:
        rest_flow = arguments.array("rest flow", rest_flow, ["float32"], [2, size, size])
        rest_mask = arguments.array("rest mask", rest_mask, ["float32"], [size, size])
    painted = light, place, picture, window
    if BACKEND == "core":
        moving = flow, mask, rest_flow, rest_mask
        _core.compose(photo, to_crop, *moving, *painted, colour, out, whole, threads)
    else:
        if rest_flow is not None and rest_mask is not None:
            flow, mask = since_rest(flow, mask, rest_flow, rest_mask)
        if whole:
            out[...] = photo
        compose_reference(photo, to_crop, flow, mask, *painted, colour, out)
    return out


def cuda_devices() -> list[str]:
    """The CUDA devices of this machine, in CUDA's order.

    Raises:
        RuntimeError: there is none to use; the message says why.
    """
    if BACKEND != "core":
        raise RuntimeError("moue._core, which asks CUDA, cannot be loaded")
    return _core.cuda_devices()


def check_cuda(device: int) -> None:
    """Whether the kernels run on a CUDA device, by its index; it becomes the calling thread's.

    Raises:
        RuntimeError: they do not, as they were not compiled for it; the message says so.
    """
    _core.check_cuda(device)
