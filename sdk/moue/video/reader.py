"""Frames from a video file, upright and at its exact frame rate."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moue.errors import VideoError, one_line
from moue.video.clip import ACCURATE_RND, BICUBIC, FULL_CHROMA, Frame

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_PIXELS = 64_000_000  # of one frame; checked before any is decoded


class VideoReader:
    """A video file: its size, its frame rate and, as often as it is iterated over, its frames.

    Attributes:
        path: the file.
        fps: frames per second, exactly as the file has it; 29.97 is 30000/1001.
        size: (width, height) in pixels, upright.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with self._open() as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise VideoError(f"{self.path} does not say its frame rate; convert it to an mp4")
        self.fps = Fraction(rate)
        with closing(iter(self)) as frames:
            first = next(frames, None)
        if first is None:
            raise VideoError(f"{self.path} holds no frame that can be decoded")
        self.size = (first.shape[1], first.shape[0])

    def __iter__(self) -> Generator[Frame, None, None]:
        """Decode from the start: uint8 RGB [H, W, 3], turned as the file asks."""
        exact = BICUBIC | FULL_CHROMA | ACCURATE_RND
        with self._open() as container:
            for picture in container.decode(video=0):
                frame = np.asarray(
                    picture.to_ndarray(format="rgb24", interpolation=exact), np.uint8
                )
                yield np.rot90(frame, picture.rotation // 90) if picture.rotation else frame

    @contextmanager
    def _open(self) -> Iterator[InputContainer]:
        import av

        # PyAV 19 reads titles that are not UTF-8 by itself; those before must be told to.
        lenient: Any = (
            {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
        )
        try:
            with av.open(str(self.path), **lenient) as container:
                self._check(container)
                yield container
        except (av.FFmpegError, OSError) as error:
            reason = error.strerror or one_line(error)
            raise VideoError(f"cannot read the video {self.path}: {reason}") from error

    def _check(self, container: InputContainer) -> None:
        if not container.streams.video:
            raise VideoError(f"{self.path} has no pictures, only sound or text")
        codec = container.streams.video[0].codec_context
        if codec is None:
            raise VideoError(f"{self.path} is coded in a way PyAV cannot read; make it an mp4")
        if codec.width * codec.height > MAX_PIXELS:
            raise VideoError(
                f"a frame of {self.path} is {codec.width}×{codec.height};"
                f" moue reads up to {MAX_PIXELS // 1_000_000} million pixels"
            )


def read_frames(path: str | os.PathLike[str]) -> VideoReader:
    """Open a video; see `VideoReader`.

        for frame in read_frames("out.mp4"):
            ...

    Raises:
        VideoError: the file is missing or is no video, when opened or while it is iterated over.
    """
    return VideoReader(path)
