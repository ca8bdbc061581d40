"""Live pictures: cameras by number or device, files played in real time, URLs, GStreamer pipelines."""

from __future__ import annotations

import importlib
import math
import os
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from moue.errors import RuntimeUnavailableError, UsageError, VideoError, one_line, reason_of
from moue.video.feed import Feed, Finished
from moue.video.ffmpeg import Frame, open_pictures
from moue.video.reader import VideoReader, upright

CAMERA_SIZE = (1280, 720)  # px, asked of a camera; it gives what it has
CAMERA_FPS = 30
STREAM_TIMEOUT = (5.0, 2.0)  # s to connect to a stream, and between its pictures
CSI = "csi://"  # a camera on a Jetson's own connector, by number
CSI_PIPELINE = (
    "nvarguscamerasrc sensor-id={} ! video/x-raw(memory:NVMM),"
    f"width={CAMERA_SIZE[0]},height={CAMERA_SIZE[1]},framerate={CAMERA_FPS}/1"
    " ! nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR"
    " ! appsink drop=true max-buffers=1"
)

Opener = Callable[[], Generator[Frame, None, None]]


def open_camera(source: str, loop: bool = False) -> Feed[Frame]:
    """A feed of uint8 RGB frames [H, W, 3], the newest always first.

    Args:
        source: a number (0 is the first camera), /dev/video*, csi://N on a Jetson, a video file, a
            URL such as rtsp://host/path, or a GStreamer pipeline (it holds a `!`).
        loop: play a file, or a film at a URL, again and again.

    Raises:
        VideoError: a file that cannot be read. Other sources fail when they are first read from.
        RuntimeUnavailableError: a camera, and OpenCV cannot be loaded; a pipeline or csi://N, and it
            has no GStreamer.
        UsageError: csi:// without a number.
    """
    name = f"camera {source}" if source.isdecimal() else source
    if source.startswith(CSI):
        sensor = source.removeprefix(CSI)
        if not sensor.isdecimal():
            raise UsageError(f"csi:// takes the number of a camera, as csi://0, but got {source!r}")
        source = CSI_PIPELINE.format(sensor)
    pipeline = "!" in source and not os.path.isfile(source)
    if source.isdecimal() or source.startswith("/dev/") or pipeline:
        cv2 = import_opencv("a camera")
        if pipeline and not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise RuntimeUnavailableError(
                f"{'a pipeline' if name == source else name} needs an OpenCV with GStreamer, which"
                " pip's is not: use the system's (apt install python3-opencv; JetPack has it)"
            )
        return Feed(name, lambda: _device(cv2, source, name), endless=True)
    if "://" in source:
        return Feed(source, lambda: _stream(source, loop), endless=True)
    return Feed(source, file_player(source, loop), endless=False, patience=math.inf)


def file_player(path: str, loop: bool = False) -> Opener:
    """Plays a file as a camera would show it: each frame when it is due.

    Raises:
        VideoError: the file cannot be read.
    """
    video = VideoReader(Path(path))

    def play() -> Generator[Frame, None, None]:
        while True:
            start = time.monotonic()
            for seconds, frame in video.timed(exact=False):
                _wait_until(start + float(seconds))
                yield frame
            if not loop:
                return
            time.sleep(float(1 / video.fps))

    return play


def import_opencv(purpose: str) -> Any:
    """OpenCV, which comes with MediaPipe.

    Raises:
        RuntimeUnavailableError: it is not installed, or a slim system lacks its libraries.
    """
    try:
        cv2 = importlib.import_module("cv2")  # its own types are incomplete
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"OpenCV is needed for {purpose} and cannot be loaded ({one_line(error)}):"
            " apt install libgl1 libglib2.0-0, or pip install opencv-contrib-python"
        ) from None
    cv2.setLogLevel(0)  # silent: what fails is said here, in one line
    return cv2


def _device(cv2: Any, source: str, name: str) -> Generator[Frame, None, None]:
    backend = cv2.CAP_GSTREAMER if "!" in source else cv2.CAP_ANY
    if "!" not in source and sys.platform == "linux":
        backend = cv2.CAP_V4L2
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source, backend)
    try:
        if not capture.isOpened():
            needs = " (it needs nvarguscamerasrc, which JetPack has)" if CSI in name else ""
            raise VideoError(f"{name} cannot be opened{needs}; is it plugged in, and free?")
        if "!" not in source:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, CAMERA_SIZE[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, CAMERA_SIZE[1])
            capture.set(cv2.CAP_PROP_FPS, CAMERA_FPS)
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        while True:
            read, picture = capture.read()
            if not read:
                raise VideoError("it stopped giving pictures")
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()


def _stream(url: str, loop: bool) -> Generator[Frame, None, None]:
    import av

    options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
    # What says how long it lasts is a film: it comes as fast as the network can, and has an end. What
    # does not is live.
    film = True
    try:
        while film:
            with open_pictures(url, options, timeout=STREAM_TIMEOUT) as container:
                film = bool(container.duration)
                start: float | None = None
                for picture in container.decode(video=0):
                    if film and picture.time is not None:
                        start = time.monotonic() - picture.time if start is None else start
                        _wait_until(start + picture.time)
                    yield upright(picture, exact=False)
            if film and not loop:
                raise Finished
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"cannot read {url}: {reason_of(error)}") from None


def _wait_until(moment: float) -> None:
    early = moment - time.monotonic()
    if early > 0:
        time.sleep(early)
