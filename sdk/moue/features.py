"""What the encoder makes of a face: the terms of eq. 7, laid out so that a frame adds them in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moue import kernels
from moue.bundle import Level


@dataclass(frozen=True, eq=False)
class Features:
    """e0 and every e_i of one face; every array is read-only, and again when it has been pickled.

    Attributes:
        still: `e0` where only the photo acts, float32 [1, C, h, w] by level size.
        moving: the levels where actions act, in the order in which `base` and `residual` hold them.
        base: `e0` there, float32 [cells], level after level.
        residual: `e_i`, float16 [n, cells] likewise.
    """

    still: Mapping[int, NDArray[np.float32]] = field(repr=False)
    moving: tuple[Level, ...]
    base: NDArray[np.float32] = field(repr=False)
    residual: NDArray[np.float16] = field(repr=False)

    @classmethod
    def of(cls, encoded: Mapping[str, NDArray[Any]], levels: Sequence[Level]) -> Features:
        """Of the encoder's outputs, `base_{size}` [1, C, h, w] and `residual_{size}` [n, C, h, w]."""
        moving = tuple(level for level in levels if level.residual)
        terms = [encoded[f"residual_{level.size}"] for level in moving]
        still = {x.size: np.array(encoded[f"base_{x.size}"]) for x in levels if not x.residual}
        base = np.concatenate([encoded[f"base_{level.size}"].ravel() for level in moving])
        residual = np.concatenate([each.reshape(len(each), -1) for each in terms], axis=1)
        residual = residual.astype(np.float16, copy=False)
        return cls(still, moving, base, residual)

    def __post_init__(self) -> None:
        object.__setattr__(self, "still", MappingProxyType(dict(self.still)))
        arrays: list[NDArray[Any]] = [*self.still.values(), self.base, self.residual]
        for array in arrays:
            array.setflags(write=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Features, (dict(self.still), self.moving, self.base, self.residual)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Cells of each moving level; they add up to `cells`."""
        return tuple(level.channels * level.size**2 for level in self.moving)

    def room(self, frames: int) -> NDArray[np.float32]:
        """Memory for the sums of so many frames, as `skips` takes it."""
        return np.empty(frames * self.base.size, np.float32)

    def skips(
        self,
        actions: NDArray[np.float32],
        out: NDArray[np.float32] | None = None,
        threads: int = 0,
    ) -> dict[str, NDArray[np.float32]]:
        """What the decoder takes for T frames: eq. 7's sums, `F(I, a) = e0(I) + Σ a_i · e_i(I)`.

        Args:
            actions: float32 [T, n].
            out: `room(T)`, for the sums; allocated when None.
            threads: for the sums; 0 takes every core this process may use.

        Returns:
            `skip_{size}` float32 [T, C, h, w] where actions act, `base_{size}` [1, C, h, w] elsewhere.
        """
        terms = self.base, self.residual
        return self.by_level(kernels.skip_sum(*terms, actions, self.sizes, out, threads=threads))

    def by_level(self, sums: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The sums of some frames, `room(T)` once filled, as `skips` returns them."""
        skips = {f"base_{size}": base for size, base in self.still.items()}
        frames, at = sums.size // self.base.size, 0
        for level, size in zip(self.moving, self.sizes, strict=True):
            part = sums[at : at + frames * size]
            skips[f"skip_{level.size}"] = part.reshape(-1, level.channels, level.size, level.size)
            at += frames * size
        return skips
