"""The live loop: the newest moment, a frame of the portrait, out to wherever it is shown."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS
from moue.animator import Animator, Portrait
from moue.errors import MoueError, OutputError
from moue.performers import Moment, Performer
from moue.photo import Source, read_photo, within
from moue.video.ffmpeg import Frame
from moue.video.outlets import Recording, VirtualCamera, fitted

WAIT = 0.05  # s for something new before the portrait goes on easing to rest
REMEMBERED = 3600  # moments whose latency is kept: two minutes at 30 a second
HELP = ("n neutral  m mirror", "space next portrait", "r record  o overlay  q quit")
ESCAPE = "\x1b"

log = logging.getLogger("moue")


class Screen(Protocol):
    """Where frames are previewed and keys come from; `moue.video.window.Window` is one."""

    def show(self, frame: Frame, text: Sequence[str] = ()) -> str: ...

    @property
    def closed(self) -> bool: ...


@dataclass(frozen=True)
class Session:
    """What a live session came to.

    Attributes:
        frames: how many were shown.
        seconds: how long it ran.
        latency: float64 [≤ 3600], seconds from capture to output, of the last frames.
        losses: how often the source failed and was waited for.
    """

    frames: int
    seconds: float
    latency: NDArray[np.float64]
    losses: int

    def __str__(self) -> str:
        rate = self.frames / max(self.seconds, 1e-9)
        text = f"{self.frames} frames in {self.seconds:.1f} s, {rate:.1f} a second"
        if self.latency.size:
            middle, slow = 1000 * np.percentile(self.latency, [50, 95])
            text += f"; capture to output {middle:.0f} ms, 95 in 100 within {slow:.0f} ms"
        if self.losses:
            text += f"; the source was lost {self.losses} time{'s' * (self.losses > 1)}"
        return text


def prepare(animator: Animator, photo: Source, height: int, face: str | int) -> Portrait:
    """A portrait of at most `height` pixels: more than a live picture needs costs frames."""
    return animator.prepare(within(read_photo(photo), math.inf, height), face)


class Live:
    """Plays a performer on portraits until it ends, `q` is pressed or the time is up.

    Args:
        animator: makes the frames.
        portraits: all prepared by it, so that switching takes no time; the first is shown first.
        performer: who moves them.
        screen: a preview; None shows none.
        recording: begins at once; its path, else moue.mp4, also names those that `r` begins, which
            replace no file.
        camera: where other programs see the frames.
    """

    def __init__(
        self,
        animator: Animator,
        portraits: Sequence[Portrait],
        performer: Performer,
        screen: Screen | None = None,
        recording: Recording | None = None,
        camera: VirtualCamera | None = None,
    ) -> None:
        self.animator, self.portraits, self.performer = animator, portraits, performer
        self.screen, self.recording, self.camera = screen, recording, camera
        self.overlay = True
        self.shown = 0  # which portrait
        self.lost_recording = False
        self._path = recording.path if recording else Path("moue.mp4")
        self._columns = [
            (k, ACTIONS.index(n)) for k, n in enumerate(animator.actions) if n in ACTIONS
        ]
        self._picture = portraits[0].photo  # shown last
        height, width = self._picture.shape[:2]
        self._size = (width, height)  # of the recording and the virtual camera
        self._latency: deque[float] = deque(maxlen=REMEMBERED)
        self._times: deque[float] = deque(maxlen=30)
        self._frames = 0
        self._seen = False  # whether someone moves the portrait
        self._over = False

    def run(self, seconds: float | None = None) -> Session:
        """Runs for so many seconds; None for as long as the performer lasts. Ctrl-C ends it well.

        Raises:
            VideoError: the performer cannot begin.
        """
        start = time.monotonic()
        try:
            while not self._over and not self.performer.ended:
                if seconds is not None and time.monotonic() - start >= seconds:
                    break
                if self.screen is not None and self.screen.closed:
                    break
                moment = self.performer.next(WAIT)
                if moment is not None:
                    self._play(moment)
                if self.screen is not None:  # also where nothing new has come: it has keys
                    text = self._text() if self.overlay else ()
                    self._press(self.screen.show(self._picture, text))
                if moment is not None:
                    self._count(moment)
        except KeyboardInterrupt:
            pass
        finally:
            spent = time.monotonic() - start
            self._end_recording()
        return Session(
            self._frames,
            spent,
            np.array(self._latency, np.float64),
            self.performer.losses,
        )

    def _play(self, moment: Moment) -> None:
        weights = np.zeros(len(self.animator.actions), np.float32)
        for own, common in self._columns:
            weights[own] = moment.weights[common]
        self._seen = moment.confidence > 0.5
        self._picture = frame = self.animator.frame(self.portraits[self.shown], weights)
        if self.camera is not None:
            self.camera.send(fitted(frame, self._size))
        if self.recording is not None:
            self._record(frame)

    def _count(self, moment: Moment) -> None:
        now = time.monotonic()
        self._times.append(now)
        self._frames += 1
        if moment.fresh:
            self._latency.append(now - moment.captured)

    def _record(self, frame: Frame) -> None:
        assert self.recording is not None
        if self.recording.failed:
            self._end_recording()
        else:
            self.recording.add(fitted(frame, self._size), time.monotonic())

    def _press(self, key: str) -> None:
        if key in ("q", ESCAPE):
            self._over = True
        elif key == "n" and not self.performer.calibrate():
            log.warning("no face has been seen in the last second to take as neutral")
        elif key == "m":
            self.performer.mirror = not self.performer.mirror
        elif key == " ":
            self.shown = (self.shown + 1) % len(self.portraits)
            self._picture = self.portraits[self.shown].photo
        elif key == "o":
            self.overlay = not self.overlay
        elif key == "r":
            self._toggle_recording()

    def _toggle_recording(self) -> None:
        if self.recording is not None:
            self._end_recording()
            return
        stem, path = self._path.stem, self._path
        for number in count(2):
            if not path.exists():
                break
            path = path.with_stem(f"{stem}-{number}")
        try:
            self.recording = Recording(path)
        except MoueError as error:
            log.warning("nothing is recorded: %s", error)

    def _end_recording(self) -> None:
        recording, self.recording = self.recording, None
        if recording is None:
            return
        try:
            written = recording.close()
        except OutputError as error:
            self.lost_recording = True
            log.warning("the recording is lost: %s", error)
            return
        if written is None:
            self.lost_recording = True
            log.warning("%s is not written: no frame has come", recording.path)
        else:
            log.warning("%s: %d frames, %.1f s", written.path, written.frames, written.seconds)
        if recording.left_out:
            log.warning("%d frames came faster than they could be encoded", recording.left_out)

    def _text(self) -> list[str]:
        spent = self._times[-1] - self._times[0] if len(self._times) > 1 else 0.0
        rate = (len(self._times) - 1) / spent if spent else 0.0
        recent = list(self._latency)[-30:]
        lag = 1000 * float(np.median(recent)) if recent else 0.0
        state = "" if self._seen else "  no face"
        state += "  mirror" if self.performer.mirror else ""
        state += "  REC" if self.recording is not None else ""
        return [f"{rate:.0f} fps  {lag:.0f} ms{state}", *HELP]
