"""Things that arrive by themselves: the newest always wins, and trouble is said once.

A thread of its own reads the source, so that a slow reader of ours never makes a queue and a source
that blocks never blocks us.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

from moue.errors import MoueError, VideoError, one_line, reason_of, with_kind
from moue.files import Closing

Item = TypeVar("Item")

PATIENCE = 1.5  # s without anything new before a source counts as stuck
FIRST = 10.0  # s that a source may take to begin
RETRY = 0.5  # s between attempts to open it again
FAREWELL = 0.5  # s that closing waits for the source to let go

log = logging.getLogger("moue")


class Finished(Exception):
    """Raised by what an endless source turned out to be: one that has an end, and has come to it."""


@dataclass(frozen=True)
class Fresh(Generic[Item]):
    """One thing that arrived: the how manieth it is, and when, on `time.monotonic()`'s clock."""

    number: int
    seconds: float
    item: Item


class Feed(Closing, Generic[Item]):
    """Reads a source in the background and keeps its newest item.

    Args:
        name: what the source is called in messages.
        open_source: begins to read it; the generator raises MoueError or OSError where it fails.
        endless: whether the source, having ended or failed, is waited for; if not, that is the feed's
            end.
        first: seconds it may take to begin; None waits for as long as it takes.
        patience: seconds without anything new before it is said to be missing.
    """

    def __init__(
        self,
        name: str,
        open_source: Callable[[], Generator[Item, None, None]],
        endless: bool,
        first: float | None = FIRST,
        patience: float = PATIENCE,
    ) -> None:
        self.name, self._open, self._endless, self._first = name, open_source, endless, first
        self._patience = patience
        self.losses = 0
        self.ended = False
        self._newest: Fresh[Item] | None = None
        self._failure: MoueError | None = None
        self._troubled = False
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._read, name=f"moue: {name}", daemon=True)
        self._thread.start()

    def newer(self, than: int, timeout: float) -> Fresh[Item] | None:
        """The newest item if its number is above `than`, waiting for it up to `timeout` seconds.

        Raises:
            VideoError: the source could not even begin.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.has_newer(than) or self._over(), timeout)
            found = self._newest if self.has_newer(than) else None
        if found is None:
            self._notice()
        return found

    def has_newer(self, than: int) -> bool:
        """Whether `newer` would give an item at once."""
        return self._newest is not None and self._newest.number > than

    def close(self) -> None:
        """Ends the reading; a source that blocks is left to itself."""
        self._stopping.set()
        self._thread.join(FAREWELL)

    def _over(self) -> bool:
        return self.ended or (self._failure is not None and self._newest is None)

    def _notice(self) -> None:
        """Raises or says what is wrong, where nothing new has come."""
        if self._newest is None:
            if self._failure is not None:
                raise self._failure
            waited = time.monotonic() - self._started
            if self._first is not None and waited > self._first and not self.ended:
                raise VideoError(f"{self.name} has given nothing for {waited:.0f} s; is it in use?")
        elif not self.ended and time.monotonic() - self._newest.seconds > self._patience:
            self._trouble("gives nothing")

    def _trouble(self, what: str) -> None:
        with self._changed:
            if self._troubled or self._stopping.is_set():
                return
            self._troubled = True
            self.losses += 1
        log.warning("%s %s; waiting for it", self.name, what)

    def _read(self) -> None:
        while not self._stopping.is_set():
            failure: MoueError | None = None
            what = "has ended"
            try:
                with closing(self._open()) as items:
                    for item in items:
                        self._put(item)
                        if self._stopping.is_set():
                            return
                if not self._endless:
                    self._end()
                    return
            except Finished:
                self._end()
                return
            except MoueError as error:
                what, failure = f"fails ({one_line(error)})", error
            except OSError as error:
                what = f"fails ({reason_of(error)})"
            except Exception as error:  # noqa: BLE001 - whatever it is, who waits must hear of it
                what = f"fails ({with_kind(error)})"
            if self._newest is None:
                with self._changed:
                    self._failure = failure or VideoError(f"{self.name} {what}")
                    self._changed.notify_all()
                return
            if not self._endless:
                log.warning("%s %s; it ends here", self.name, what)
                self._end()
                return
            self._trouble(what)
            self._stopping.wait(RETRY)

    def _put(self, item: Item) -> None:
        with self._changed:
            number = self._newest.number + 1 if self._newest else 0
            self._newest = Fresh(number, time.monotonic(), item)
            back, self._troubled = self._troubled, False
            self._changed.notify_all()
        if back:
            log.warning("%s is back", self.name)

    def _end(self) -> None:
        with self._changed:
            self.ended = True
            self._changed.notify_all()
