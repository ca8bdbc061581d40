"""Where live frames go besides the screen: a recording, and a camera for other programs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from moue.errors import MoueError, OutputError, RuntimeUnavailableError, one_line, with_kind
from moue.video.ffmpeg import Frame
from moue.video.reader import Timed, steady
from moue.video.writer import Written, check_output, check_rate, write_frames

RATE = Fraction(30)  # frames a second of a recording and of a virtual camera
BACKLOG = 60  # frames that wait for the encoder before some are left out


class Recording:
    """Frames as they come, written at a constant rate by a thread of its own.

    Args:
        path: as `moue.video.write_frames` takes it.

    Raises:
        OutputError: it cannot be written there.
    """

    def __init__(self, path: Path) -> None:
        output = check_output(path)
        check_rate(output, RATE)
        self.path = path
        self.left_out = 0
        self._begun: float | None = None
        self._waiting: queue.Queue[Timed | None] = queue.Queue(BACKLOG)
        self._written: Written | None = None
        self._failure: MoueError | None = None
        self._thread = threading.Thread(
            target=self._write, args=(output,), name="moue: recording", daemon=True
        )
        self._thread.start()

    @property
    def failed(self) -> bool:
        return self._failure is not None

    def add(self, frame: Frame, seconds: float) -> None:
        """uint8 RGB [H, W, 3] shown from `seconds` on, by any clock that goes forward."""
        self._begun = seconds if self._begun is None else self._begun
        try:
            self._waiting.put_nowait((Fraction(round((seconds - self._begun) * 1e6), 10**6), frame))
        except queue.Full:
            self.left_out += 1

    def close(self) -> Written | None:
        """Completes the file, Ctrl-C or not; None where there was nothing to record.

        Raises:
            OutputError: it could not be written.
        """
        told = False
        while self._thread.is_alive():
            try:
                if not told:
                    self._waiting.put(None, timeout=0.1)
                    told = True
                self._thread.join()
            except (queue.Full, KeyboardInterrupt):
                continue
        if self._failure is not None and self._begun is not None:
            raise self._failure
        return self._written

    def _write(self, output: Any) -> None:
        try:
            self._written = write_frames(steady(self._timed(), RATE), output, RATE)
        except MoueError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001 - a lost recording must not pass for one
            self._failure = OutputError(f"{self.path}: {with_kind(error)}")

    def _timed(self) -> Iterator[Timed]:
        while (item := self._waiting.get()) is not None:
            yield item


class VirtualCamera:
    """A camera that other programs see, through pyvirtualcam.

    Args:
        size: (width, height) in pixels.

    Raises:
        RuntimeUnavailableError: pyvirtualcam or the system's loopback device is missing.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        try:
            import pyvirtualcam
        except ImportError:
            raise RuntimeUnavailableError(
                "a virtual camera needs pyvirtualcam: pip install pyvirtualcam"
            ) from None
        try:
            self._camera = pyvirtualcam.Camera(*size, fps=float(RATE), print_fps=False)
        except RuntimeError as error:
            raise RuntimeUnavailableError(
                f"no virtual camera can be opened ({one_line(error)});"
                " on Linux: apt install v4l2loopback-dkms, then modprobe v4l2loopback"
            ) from None
        self.device = str(self._camera.device)

    def send(self, frame: Frame) -> None:
        """uint8 RGB [H, W, 3] of the size it was opened with."""
        self._camera.send(np.ascontiguousarray(frame))

    def close(self) -> None:
        self._camera.close()


def fitted(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame inside (width, height): scaled whole, black beside it."""
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.pad(Image.fromarray(frame), size), np.uint8)
