"""What reading and writing both ask of FFmpeg, through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from moue.errors import VideoError

if TYPE_CHECKING:
    from av.container import InputContainer

Frame: TypeAlias = NDArray[np.uint8]  # RGB [H, W, 3]
MAX_PIXELS = 64_000_000  # of one frame; checked before any is decoded
BICUBIC, FULL_CHROMA, ACCURATE_RND = 4, 0x2000, 0x40000  # of swscale; PyAV 17 has no names for all


def open_container(source: str | Path, **options: Any) -> InputContainer:
    """A file by its path, or a stream by its URL, opened; titles that are not UTF-8 do not matter."""
    import av

    # PyAV 19 reads such titles by itself; those before must be told to.
    if int(av.__version__.split(".")[0]) < 19:
        options["metadata_errors"] = "replace"
    # What comes before a colon in a relative path, FFmpeg takes for a protocol.
    name = os.path.abspath(source) if isinstance(source, Path) else source
    container: InputContainer = av.open(name, **options)
    return container


@contextmanager
def open_pictures(
    source: str | Path, options: Mapping[str, str] | None = None, **others: Any
) -> Iterator[InputContainer]:
    """A file or stream with pictures, its first video ready to be decoded.

    Frames are held to MAX_PIXELS while it is probed too, and where they turn out larger later on.

    Raises:
        VideoError: it has no pictures, they cannot be decoded, or are larger.
        av.FFmpegError, OSError: it cannot be opened, or read on.
    """
    limit = {"max_pixels": str(MAX_PIXELS)}
    with open_container(source, options={**(options or {}), **limit}, **others) as container:
        if not container.streams.video:
            raise VideoError(f"{source} has no pictures, only sound or text")
        codec = container.streams.video[0].codec_context
        if codec is None:
            raise VideoError(f"{source} is coded in a way PyAV cannot read; make it an mp4")
        if codec.width * codec.height > MAX_PIXELS:
            raise VideoError(
                f"a frame of {source} is {codec.width}×{codec.height};"
                f" moue reads up to {MAX_PIXELS // 1_000_000} million pixels"
            )
        codec.options = limit
        yield container
