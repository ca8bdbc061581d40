"""The kernels on a device: what stands between the photo, the decoder and the frame there.

    preprocess → encoder engine → skip_sum → decoder engine → compose

Arrays are addresses of device memory, in C order; work goes to `stream`, a CUDA stream's handle.
Where `stream` is None the addresses are the host's and the same arithmetic runs there, one thread's
work after another's: slow, and how it is tested without a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moue import _core
from moue.kernels import arguments
from moue.mouth import Mouth

CELL_BYTES = 16  # what compose keeps for each place of the square and each of its four edges


def skip_sum(
    *,
    base: int,
    residual: int,
    actions: int,
    out: int,
    frames: int,
    n: int,
    sizes: Sequence[int],
    stream: int | None,
) -> None:
    """Eq. 7 on every level at once: F = e0 + Σ a_i e_i; residuals of weight zero are not read.

    Args:
        base: float16 [sum of sizes], the levels one after another; at a multiple of 16 bytes, as
            residual and out are.
        residual: float16 [n, sum of sizes].
        actions: float32 [frames, n].
        out: float16 [frames, size] for each level in turn.
        sizes: features of each level, C·h·w, multiples of 8.
    """
    _core.device_skip_sum(
        base=base,
        residual=residual,
        actions=actions,
        out=out,
        frames=frames,
        n=n,
        sizes=list(sizes),
        stream=stream,
    )


@dataclass(frozen=True)
class SquareRows:
    """Which pixels of a photo lie in a face square.

    Attributes:
        mouth: what is looked up in a window of the square.
        rows: int32 [H, 6], the bits of what the device reads: first pixel, end, where the first
            stands among the maps' cells, and the first pixel and the end of those in the window.
        first, last: rows with pixels in the square, `last` exclusive.
        longest: pixels of the longest.
    """

    to_crop: NDArray[np.float64]
    size: int
    width: int
    mouth: Mouth
    rows: NDArray[np.int32]
    first: int
    last: int
    longest: int

    @staticmethod
    def of(to_crop: ArrayLike, height: int, width: int, size: int, mouth: Mouth) -> SquareRows:
        """For u = `to_crop` (x, y, 1) in [0, 1]² and maps of [size, size]."""
        matrix, window = arguments.affine("to_crop", to_crop), np.array(mouth.window, float)
        found = _core.square_rows(matrix, window, height, width, size)
        return SquareRows(matrix, size, width, mouth, *found)


def compose(
    square: SquareRows,
    *,
    flow: int,
    mask: int,
    light: int,
    place: int,
    rest_flow: int,
    rest_mask: int,
    picture: int,
    actions: int,
    cells: int,
    source: int,
    source_stride: int,
    pixel: int,
    rows: int,
    out: int,
    frames: int,
    n: int,
    colour: float,
    stream: int | None,
) -> None:
    """Frames at the photo's size, from the decoder's raw outputs; a frame without actions is the
    source itself. Only pixels in the square are written.

    Args:
        flow: float16 [frames, 2, S, S]; mask: [frames, 1, S, S]; light: [frames, 3, S, S].
        place: float16 [frames, 2, h, w], h and w those of `square.mouth.nodes(S)`.
        rest_flow: float16 [2, S, S], rest_mask: [S, S]: flow and mask at rest, subtracted here.
        picture: `square.mouth.picture`, with a fourth byte to each pixel.
        actions: float32 [frames, n].
        cells: scratch, `CELL_BYTES` for each of [frames, S + 2, S + 2].
        source: uint8 [H, W, pixel], what is warped; the next frame's is `source_stride` bytes on.
        rows: `square.rows` on the device.
        out: uint8 [frames, H, W, 3].
        colour: the share of its colour that the paint keeps, in [0, 1].
    """
    place_height, place_width = square.mouth.nodes(square.size)
    picture_height, picture_width = square.mouth.picture.shape[:2]
    _core.device_compose(
        flow=flow,
        mask=mask,
        light=light,
        place=place,
        rest_flow=rest_flow,
        rest_mask=rest_mask,
        picture=picture,
        actions=actions,
        cells=cells,
        source=source,
        source_stride=source_stride,
        rows=rows,
        out=out,
        frames=frames,
        n=n,
        size=square.size,
        place_height=place_height,
        place_width=place_width,
        picture_height=picture_height,
        picture_width=picture_width,
        height=len(square.rows),
        width=square.width,
        pixel=pixel,
        first_row=square.first,
        last_row=square.last,
        most_pixels=square.longest,
        to_crop=square.to_crop,
        window=np.array(square.mouth.window, float),
        colour=colour,
        stream=stream,
    )


def preprocess(
    *,
    photo: int,
    height: int,
    width: int,
    pixel: int,
    to_photo: ArrayLike,
    size: int,
    out: int,
    stream: int | None,
) -> None:
    """The face square of uint8 [H, W, pixel] as float16 [3, size, size] in [0, 1]."""
    matrix = arguments.affine("to_photo", to_photo)
    _core.device_preprocess(
        photo=photo,
        out=out,
        height=height,
        width=width,
        pixel=pixel,
        size=size,
        taps=arguments.taps(matrix, size),
        to_photo=matrix,
        stream=stream,
    )


def dlpack(
    address: int, shape: Sequence[int], kind: int, bits: int, place: tuple[int, int], owner: object
) -> object:
    """A capsule in DLPack's first form, of an array in C order.

    Args:
        kind, bits: of an item, the first in DLPack's codes.
        place: the device's type in DLPack's codes, and its index.
        owner: kept until whoever took the array is done with it, or the capsule goes untaken.
    """
    device, index = place
    return _core.dlpack(
        address=address,
        shape=list(shape),
        kind=kind,
        bits=bits,
        place=device,
        index=index,
        owner=owner,
    )
