"""A progress line on the terminal, and nothing where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from typing import TextIO, TypeVar

Item = TypeVar("Item")

REDRAW = 0.1  # seconds
WIDTH = 24  # cells of the bar
CLEAR_LINE = "\r\x1b[K"


def with_progress(items: Iterable[Item], total: int, stream: TextIO) -> Generator[Item, None, None]:
    """The items themselves, their count shown on `stream` while they pass, erased at the end."""
    if not stream.isatty():
        yield from items
        return
    start = drawn = time.monotonic()
    try:
        for count, item in enumerate(items, 1):
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
    done = WIDTH * count // total
    left = seconds / count * (total - count)
    bar = "━" * done + " " * (WIDTH - done)
    return f"{bar} {count}/{total} frames, {count / seconds:.1f} a second, {left:.0f} s left"
