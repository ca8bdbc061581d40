"""What the kernels take: every refusal names the argument, what it must be and what it was."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_SIDE = 1 << 15  # pixels of a face square: four times a square photo's of 64 megapixels


def array(name: str, value: Any, dtypes: Sequence[str], shape: Sequence[int | str]) -> NDArray[Any]:
    """`value` in C order and aligned, if its dtype is among `dtypes` and its shape fits.

    A letter in `shape` stands for any length of at least 1, the same one wherever it stands again.
    """
    lengths = dict[int | str, int]()
    if not (
        isinstance(value, np.ndarray)
        and value.dtype.name in dtypes
        and value.dtype.isnative
        and value.ndim == len(shape)
        and all(
            got == (want if isinstance(want, int) else lengths.setdefault(want, max(got, 1)))
            for got, want in zip(value.shape, shape, strict=True)
        )
    ):
        wanted = f"{' or '.join(dtypes)} [{', '.join(map(str, shape))}]"
        raise ValueError(f"{name} must be {wanted}, but got {_described(value)}")
    return np.require(value, requirements=["C", "A", "E"])


def affine(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """`value` as float64 [2, 3], if it is finite and has an inverse."""
    matrix = np.require(value, np.float64, ["C", "A", "E"])
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be six finite numbers [2, 3], but got {matrix.tolist()}")
    (a, b, _), (c, d, _) = matrix.tolist()
    if not 0 < abs(a * d - b * c) < math.inf:
        raise ValueError(f"{name} must have an inverse, but got {matrix.tolist()}")
    return matrix


def taps(to_photo: NDArray[np.float64], size: int) -> int:
    """k = ⌈side / size⌉, samples along each side of an output pixel of the face square."""
    side = float(np.hypot(*to_photo[:, :2]).max())
    if side > MOST_SIDE:
        raise ValueError(f"to_photo must span at most {MOST_SIDE} pixels, but got {side:g}")
    return max(1, math.ceil(side / size - 1e-6))


def at_least(name: str, value: int, least: int) -> int:
    """`value` as an int, if it is that much."""
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, but got {number}")
    return number


def share(name: str, value: float) -> float:
    """`value`, if it is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], but got {value}")
    return float(value)


def parts(name: str, sizes: Sequence[int], whole: int) -> list[int]:
    """Sizes of what a whole is cut into."""
    numbers = [operator.index(size) for size in sizes]
    if min(numbers, default=0) < 1 or sum(numbers) != whole:
        raise ValueError(f"{name} must be positive and add up to {whole}, but got {numbers}")
    return numbers


def output(
    value: NDArray[Any] | None,
    dtype: str,
    shape: Sequence[int],
    apart_from: Sequence[NDArray[Any]] = (),
) -> NDArray[Any]:
    """The array to write to: `value` itself if it fits, a new one when None."""
    if value is None:
        return np.empty(shape, dtype)
    array("out", value, [dtype], shape)
    if not value.flags.carray:
        raise ValueError(
            "out must be writeable, aligned and C-contiguous, but got a view that is not"
        )
    if any(np.may_share_memory(value, other) for other in apart_from):
        raise ValueError(
            "out must be an array of its own, but got one that shares an input's memory"
        )
    return value


def _described(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    return f"{value.dtype} [{', '.join(map(str, value.shape))}]"
