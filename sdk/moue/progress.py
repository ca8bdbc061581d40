"""A progress line on the terminal, and nothing where there is no terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

Item = TypeVar("Item")

REDRAW = 0.1  # seconds
WIDTH = 24  # cells of the bar
CLEAR_LINE = "\r\x1b[K"
LOG_EVERY = 10  # seconds


def with_progress(items: Iterable[Item], total: int, stream: TextIO) -> Generator[Item, None, None]:
    """The items themselves, their count shown on `stream` while they pass, erased at the end."""
    if not stream.isatty():
        yield from items
        return
    start = drawn = time.monotonic()
    try:
        for count, item in enumerate(items, 1):
            if count == 1:  # what comes before it, a search for the face at rest, comes once
                start = time.monotonic()
            yield item
            now = time.monotonic()
            if now - drawn >= REDRAW:
                drawn = now
                stream.write(CLEAR_LINE + _line(count, total, now - start))
                stream.flush()
    finally:
        stream.write(CLEAR_LINE)
        stream.flush()


def _line(count: int, total: int, seconds: float) -> str:
    total = max(count, total)  # a video may be longer than it says
    done = WIDTH * count // total
    left = seconds / count * (total - count)
    bar = "━" * done + " " * (WIDTH - done)
    return f"{bar} {count}/{total} frames, {count / seconds:.1f} a second, {left:.0f} s left"


class Wait:
    """Says how one long step is doing: how long so far, and how long it will take.

    Args:
        title: what is being done.
        expected: seconds it took the last time; None where that is not known.
        stream: a terminal, for a line that is redrawn; otherwise the log gets one now and then.
    """

    def __init__(self, title: str, expected: float | None, stream: TextIO | None = None) -> None:
        self.title, self.expected = title, expected
        self.stream = stream if stream is not None and stream.isatty() else None

    def __enter__(self) -> Self:
        self.start = self.told = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.stream:
            self.stream.write(CLEAR_LINE)
            self.stream.flush()

    def show(self, phase: str, share: float) -> None:
        """`share` in [0, 1] is how much is done, as far as anyone can tell."""
        now = time.monotonic()
        if now - self.told < (REDRAW if self.stream else LOG_EVERY):
            return
        self.told = now
        seconds = now - self.start
        line = f"{self.title}: {phase or 'starting'}, {seconds:.0f} s{self._left(seconds, share)}"
        if self.stream:
            self.stream.write(CLEAR_LINE + line)
            self.stream.flush()
        else:
            logging.getLogger("moue").warning("%s", line)

    def _left(self, seconds: float, share: float) -> str:
        if self.expected is not None:
            return f" of about {max(self.expected, seconds):.0f}"
        return f" of about {seconds / share:.0f}" if share > 0.05 else ""
