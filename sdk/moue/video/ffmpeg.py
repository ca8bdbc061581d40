"""What reading and writing both ask of FFmpeg, through PyAV."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.container import InputContainer

Frame: TypeAlias = NDArray[np.uint8]  # RGB [H, W, 3]
BICUBIC, FULL_CHROMA, ACCURATE_RND = 4, 0x2000, 0x40000  # of swscale; PyAV 17 has no names for all


def open_container(source: str | os.PathLike[str], **options: Any) -> InputContainer:
    """A file or stream, opened; titles that are not UTF-8 do not matter."""
    import av

    # PyAV 19 reads such titles by itself; those before must be told to.
    if int(av.__version__.split(".")[0]) < 19:
        options["metadata_errors"] = "replace"
    container: InputContainer = av.open(str(source), **options)
    return container
