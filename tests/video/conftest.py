from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

Smooth = Callable[..., Iterator[np.ndarray]]


@pytest.fixture
def smooth() -> Smooth:
    """smooth(count, height, width): a slow gradient and a square that moves across it."""

    def frames(count: int, height: int = 96, width: int = 128) -> Iterator[np.ndarray]:
        y, x = np.mgrid[0:height, 0:width]
        still = np.stack([x * 255 // width, y * 255 // height, 255 - (x + y) // 2 % 256], axis=-1)
        for k in range(count):
            frame = still.astype(np.uint8)
            frame[8:24, 8 + 2 * k : 24 + 2 * k] //= 2
            yield frame

    return frames
