"""Frames from a video file, upright and at its exact frame rate."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import VideoError, reason_of
from moue.rates import Rate, parse_fps
from moue.video.ffmpeg import ACCURATE_RND, BICUBIC, FULL_CHROMA, Frame, open_pictures

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

Timed = tuple[Fraction, Frame]  # seconds, and what is shown from then on

GIF = "gif"  # in which the mean is that of the first frames, each of whole hundredths of a second
COUNTED = 2000  # frames whose times are looked at, where a file does not say its rate
FINEST = 1001  # what such a rate is a fraction of at most, as 30000/1001 is
MAX_STILL = 600  # seconds that one frame may stay: a damaged time must not fill a disk


class VideoReader:
    """A video file: its size, its frame rate and, as often as it is iterated over, its frames.

    Attributes:
        path: the file.
        fps: frames per second, exactly as the file has it; 29.97 is 30000/1001. Where the rate
            varies, its mean; where the file names none, as those that browsers record, that of its
            first minute or so.
        size: (width, height) in pixels, upright.
        start: seconds on the file's own clock at which its first frame is shown.
        seconds: how long it lasts; None where the file does not say.

    Each iteration opens the file for itself, in whatever thread, and closes it at its end; one that
    is left early closes it when it is closed (`contextlib.closing`) or let go.

    Raises:
        VideoError: the file is missing or is no video, when opened or while it is iterated over.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from av.stream import Disposition

        self.path = Path(path)
        with self._open() as container:
            stream = container.streams.video[0]
            if stream.disposition & Disposition.attached_pic:
                raise VideoError(f"{self.path} holds a still picture, and no video")
            rate = _rate(container)
            # FFmpeg counts a file's length in microseconds.
            self.seconds = container.duration / 1e6 if container.duration else None
        if not rate:
            raise VideoError(f"{self.path} does not say its frame rate; convert it to an mp4")
        self.fps = rate
        self.start = Fraction(0)
        with closing(self.timed()) as frames:
            first = next(frames, None)
        if first is None:
            raise VideoError(f"{self.path} holds no frame that can be decoded")
        self.start, frame = first
        self.size = (frame.shape[1], frame.shape[0])

    def __iter__(self) -> Generator[Frame, None, None]:
        """Decode from the start: uint8 RGB [H, W, 3], turned as the file asks.

        A frame is a view, not always contiguous; `frame.copy()` is, and may be written to.
        """
        for _, frame in self.timed():
            yield frame

    def timed(self, exact: bool = True) -> Generator[Timed, None, None]:
        """Every frame with the second it is shown at, the first one's being 0; see `upright`."""
        with self._open() as container:
            last, step = -1 / self.fps, 1 / self.fps
            for picture in container.decode(video=0):
                before = last
                if picture.pts is None or picture.time_base is None:
                    last += step
                else:
                    last = Fraction(picture.pts) * picture.time_base - self.start
                if last - before > MAX_STILL:
                    raise VideoError(
                        f"{self.path} shows one frame for {float(last - before):.0f} s, from"
                        f" {max(float(before), 0):.0f} s on; moue takes up to {MAX_STILL} s"
                    )
                yield last, upright(picture, exact)

    def steady(self, fps: Rate, exact: bool = True) -> Generator[Frame, None, None]:
        """The frames at a constant rate: frame k is what the file shows at k / fps seconds.

        Raises:
            CurveError: at once, where `fps` is no number above 0, up to 1000.
        """
        return steady(self.timed(exact), parse_fps(fps))

    @contextmanager
    def _open(self) -> Iterator[InputContainer]:
        import av

        try:
            if self.path.exists() and not self.path.is_file():
                raise VideoError(f"{self.path} is not a file")
            with open_pictures(self.path) as container:
                yield container
        except (av.FFmpegError, OSError) as error:
            webp = self.path.suffix.lower() == ".webp"
            reason = "FFmpeg reads no moving WebP; use an mp4" if webp else reason_of(error)
            raise VideoError(f"cannot read the video {self.path}: {reason}") from error


def _rate(container: InputContainer) -> Fraction | None:
    """Frames per second of a container's pictures, counted where it does not say."""
    stream = container.streams.video[0]
    if said := stream.guessed_rate if container.format.name == GIF else stream.average_rate:
        return Fraction(said)
    packets = islice(container.demux(stream), COUNTED)
    times = sorted(packet.pts for packet in packets if packet.pts is not None)
    if stream.time_base is None or len(times) < 2 or times[0] == times[-1]:
        return None
    lasted = (times[-1] - times[0]) * stream.time_base
    return Fraction((len(times) - 1) / lasted).limit_denominator(FINEST)


def upright(picture: av.VideoFrame, exact: bool) -> Frame:
    """A decoded picture as uint8 RGB [H, W, 3], turned as the file asks.

    Where not exact, colours are a level or two off and take a tenth of the time: enough to track.
    """
    how = BICUBIC | FULL_CHROMA | ACCURATE_RND if exact else None
    frame = np.asarray(picture.to_ndarray(format="rgb24", interpolation=how), np.uint8)
    beside: Any = picture.side_data  # more than its stub says
    if "DISPLAYMATRIX" not in beside:
        return frame
    return turned(frame, np.frombuffer(bytes(beside["DISPLAYMATRIX"]), np.int32))


def turned(frame: Frame, matrix: NDArray[np.int32]) -> Frame:
    """A frame as a display matrix asks: turned by quarters, mirrored, or both.

    Args:
        matrix: int32 [9]; the first two of each three take a pixel's (x, y) to where it is shown.
    """
    a, b, _, c, d = matrix[:5].tolist()
    if abs(a) < abs(b):
        frame, a, d = frame.transpose(1, 0, 2), c, b
    return frame[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def steady(frames: Iterable[Timed], fps: Fraction) -> Generator[Frame, None, None]:
    """Frames at any times, as frames at a constant rate: each is shown until the next is due.

    Args:
        frames: (seconds from 0 on, uint8 RGB [H, W, 3]), in order.
        fps: frames per second. Times are rounded to the nearest frame, for many files round theirs.
    """
    shown: Frame | None = None
    count, step = 0, 1 / fps
    for seconds, frame in frames:
        while shown is not None and (count + Fraction(1, 2)) * step <= seconds:
            yield shown
            count += 1
        shown = frame
    if shown is not None:
        yield shown
