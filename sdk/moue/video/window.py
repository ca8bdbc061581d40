"""A window on the screen, drawn by OpenCV."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from moue.errors import RuntimeUnavailableError
from moue.video.camera import import_opencv
from moue.video.ffmpeg import Frame

TEXT = 0.5  # OpenCV's font scale
LINE = 20  # px


class Window:
    """Shows frames and takes keys.

    Args:
        title: what stands above it.

    Raises:
        RuntimeUnavailableError: there is no screen, or no OpenCV that can draw on it.
    """

    def __init__(self, title: str) -> None:
        # Qt, inside OpenCV, ends the whole process where there is no screen.
        if sys.platform == "linux" and not (
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        ):
            raise RuntimeUnavailableError("there is no screen for a preview window; add --headless")
        self._cv2 = import_opencv("a preview window")
        try:
            plain = self._cv2.WINDOW_KEEPRATIO | self._cv2.WINDOW_GUI_NORMAL  # no toolbar
            self._cv2.namedWindow(title, self._cv2.WINDOW_NORMAL | plain)
        except self._cv2.error:
            raise RuntimeUnavailableError(
                "this OpenCV cannot open windows: pip install opencv-contrib-python in place of"
                " its headless form, or add --headless"
            ) from None
        self._title = title
        self._size: tuple[int, int] | None = None

    def show(self, frame: Frame, text: Sequence[str] = ()) -> str:
        """Draws uint8 RGB [H, W, 3] with lines of text; returns the key pressed since, or ""."""
        cv2 = self._cv2
        size = (frame.shape[1], frame.shape[0])
        if size != self._size:
            cv2.resizeWindow(self._title, *size)
            self._size = size
        picture = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        for row, line in enumerate(text):
            place = (10, LINE * (row + 1))
            for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.putText(
                    picture, line, place, cv2.FONT_HERSHEY_SIMPLEX, TEXT, colour, width, cv2.LINE_AA
                )
        cv2.imshow(self._title, picture)
        key = cv2.waitKey(1)
        return chr(key & 0xFF) if key >= 0 else ""

    @property
    def closed(self) -> bool:
        """Whether the user has closed it."""
        if self._size is None:
            return False
        return bool(self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) < 1)

    def close(self) -> None:
        if not self.closed:
            self._cv2.destroyWindow(self._title)
            self._cv2.waitKey(1)
