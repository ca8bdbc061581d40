"""The inside of a mouth: one picture of teeth, gums and tongue, which the decoder says where to look up."""

from __future__ import annotations

import io
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PLACE_STEP = 4  # pixels of the network's square between two nodes of the place map
DETAIL = 1.2  # pixels of the picture for every photo pixel that the window is wide
LEAST_WIDTH = 48  # pixels that a reduced picture keeps
MIN_SIDE, MAX_SIDE = 16, 2048  # pixels of a picture

COLOURLESS, COLOURED = (
    0.03,
    0.09,
)  # saturation of a photo's face: of a grey one at most, of others at least
GRAIN_BLOCKS = 8  # a side, over the middle of a square: grain has colours, their means have none
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (BT.601)

Window = tuple[float, float, float, float]  # left, top, right, bottom in sides of the face square


class Mouth(NamedTuple):
    """A picture of what is behind the lips, and where in the face square it may show.

    picture: uint8 RGB [height, width, 3]; window: left, top, right, bottom in sides of the square.
    """

    picture: NDArray[np.uint8]
    window: Window

    def nodes(self, size: int) -> tuple[int, int]:
        """Rows and columns of the place map of a network that looks at `size` pixels a side."""
        left, top, right, bottom = self.window
        return (
            round((bottom - top) * size / PLACE_STEP),
            round((right - left) * size / PLACE_STEP),
        )

    def for_side(self, side: float) -> Mouth:
        """The picture for a face square of `side` photo pixels: halved while it is far too detailed.

        Teeth that are looked up every few pixels of the picture only would flicker.
        """
        height, width = self.picture.shape[:2]
        left, _, right, _ = self.window
        wanted = max(DETAIL * (right - left) * side, 1.0)
        most = 0
        while not (height >> most | width >> most) & 1 and width >> most + 1 >= LEAST_WIDTH:
            most += 1
        return self._reduced(1 << min(max(round(math.log2(width / wanted)), 0), most))

    def _reduced(self, factor: int) -> Mouth:
        """Means of blocks of factor × factor pixels, rounded; the picture is read-only."""
        height, width = self.picture.shape[:2]
        blocks = self.picture.reshape(height // factor, factor, width // factor, factor, 3)
        total, area = blocks.sum((1, 3), np.uint32), factor * factor
        picture = ((total + area // 2) // area).astype(np.uint8)
        picture.flags.writeable = False
        return Mouth(picture, self.window)


def colour_of(square: NDArray[np.float32]) -> float:
    """The share of its colour that paint keeps in a photo: 1 in most, 0 in a grey one.

    Args:
        square: float32 RGB [3, S, S] in [0, 1], the face square, S a multiple of 16.
    """
    quarter = square.shape[-1] // 4
    side = 2 * quarter // GRAIN_BLOCKS
    middle = square[:, quarter : 3 * quarter, quarter : 3 * quarter]
    means = middle.reshape(3, GRAIN_BLOCKS, side, GRAIN_BLOCKS, side).mean((2, 4))
    high, low = means.max(0), means.min(0)
    saturation = float((high - low).mean() / max(float(high.mean()), 1e-3))
    return min(max((saturation - COLOURLESS) / (COLOURED - COLOURLESS), 0.0), 1.0)


def read_picture(png: bytes) -> NDArray[np.uint8]:
    """The picture in a PNG file's bytes: uint8 RGB [height, width, 3], read-only.

    Raises:
        ValueError: no PNG, damaged, not 8-bit RGB, or too small or large; of the file itself.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            if not all(MIN_SIDE <= side <= MAX_SIDE for side in image.size):
                raise ValueError(
                    f"must be {MIN_SIDE} … {MAX_SIDE} pixels a side, but is {image.size}"
                )
            if image.mode != "RGB":
                raise ValueError(f"must be 8-bit RGB, but is {image.mode}")
            picture = np.array(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"is not a PNG picture: {error}") from None
    picture.flags.writeable = False
    return picture
