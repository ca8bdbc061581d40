"""Frames and clips as files for a browser: what they may be, and how they are made."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

from moue.animator import Portrait
from moue.curves import ActionCurve
from moue.provenance import mark_file
from moue.studio.refusal import Refusal
from moue.studio.stage import Stage
from moue.video import write_frames
from moue.video.ffmpeg import Frame

PICTURES: dict[str, dict[str, Any]] = {  # what Pillow is told of each format
    "png": {"compress_level": 1},  # a fraction of the default's time for a tenth more bytes
    "jpeg": {"quality": 90, "subsampling": 0},  # lips keep their edge
    "webp": {"quality": 90},
}
LARGEST = {"png": 2**31 - 1, "jpeg": 65_535, "webp": 16_383}  # px a side
CLIPS = {"mp4": "video/mp4", "gif": "image/gif", "webp": "image/webp"}
MOST_CLIPS = 2  # that are made at once
MAX_SECONDS, MAX_FPS = 60, 60  # of a clip
ASKED_EVERY = 0.2  # s between looks whether a clip is still waited for


def encoded(frame: Frame, kind: str) -> bytes:
    """A frame as a file of one of `PICTURES`, marked as synthetic; a png keeps every bit.

    Refusal (422) where the format has no pictures as large.
    """
    from PIL import Image

    height, width, _ = frame.shape
    if max(height, width) > LARGEST[kind]:
        raise Refusal(
            422,
            f"a {kind} has at most {LARGEST[kind]} pixels a side, but the photo is {width}×{height};"
            " take a png, or name a side",
        )
    file = io.BytesIO()
    Image.fromarray(frame).save(file, kind, **PICTURES[kind])
    mark_file(file)
    return file.getvalue()


def check_length(seconds: float, fps: float) -> None:
    """Refuses (422) a clip that is too long, before anything grows with its length."""
    if not (0 < seconds <= MAX_SECONDS and 0 < fps <= MAX_FPS):
        raise Refusal(
            422,
            f"a clip here has at most {MAX_SECONDS} s of {MAX_FPS} frames, but got"
            f" {str(seconds)[:20]} s of {fps:.6g}; moue animate makes longer ones",
        )


class Clips:
    """Makes clips on a stage, each in a thread of its own, while somebody waits for it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._making: set[asyncio.Future[BinaryIO]] = set()

    async def make(
        self,
        portrait: Portrait,
        curve: ActionCurve,
        kind: str,
        is_gone: Callable[[], Awaitable[bool]],
    ) -> BinaryIO | None:
        """The clip, as an open file that has no name any more: nothing can stay behind.

        None once `is_gone` says that nobody waits for it; Refusal (429) where too many are being made.
        """
        if len(self._making) >= MOST_CLIPS:
            raise Refusal(429, f"{MOST_CLIPS} clips are being made already; try again after one")
        unwanted = Event()

        def write() -> BinaryIO:
            frames = self._stage.frames(portrait, curve, unwanted)
            with tempfile.TemporaryDirectory(prefix="moue-studio-") as folder:
                path = Path(folder) / f"clip.{kind}"
                write_frames(frames, path, curve.fps)
                return path.open("rb")

        making = asyncio.ensure_future(asyncio.to_thread(write))
        self._making.add(making)
        making.add_done_callback(self._making.discard)
        try:
            while not making.done():
                await asyncio.wait({making}, timeout=ASKED_EVERY)
                if not making.done() and await is_gone():
                    return None
            return making.result()
        finally:
            if not making.done():
                unwanted.set()
                making.add_done_callback(_forget)


def _forget(made: asyncio.Future[BinaryIO]) -> None:
    """Lets go of a clip that nobody wants, or of what stopped it."""
    if not made.cancelled() and made.exception() is None:
        made.result().close()
