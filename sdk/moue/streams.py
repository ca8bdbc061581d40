"""Standard output and standard error: closed, full, broken off, or chattered on by others."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from moue.errors import OutputError


def open_streams() -> None:
    """What the shell has closed (`>&-`) leads nowhere, and no file of ours takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as we run


def say(line: str) -> None:
    """A line for who sits there, on standard error."""
    print(line, file=sys.stderr)


def print_line(text: object) -> None:
    """What was asked for, on standard output, at once.

    Raises:
        OutputError: it takes no more.
        BrokenPipeError: nobody reads it.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        raise _refused(error) from None


def flush_output() -> None:
    """All that was printed goes out; where it cannot, it is dropped, or Python would try again.

    Raises: as `print_line`.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise _refused(error) from None


def _refused(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return error
    return OutputError(f"cannot write to standard output: {error.strerror}")


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps MediaPipe's C++ start-up log off standard error, which belongs to moue's own words.

    Among several threads the first turns it off and the last turns it on again.
    """
    with _QUIET.lock:
        if not _QUIET.inside:
            _QUIET.begin()
        _QUIET.inside += 1
    try:
        yield
    finally:
        with _QUIET.lock:
            _QUIET.inside -= 1
            if not _QUIET.inside:
                _QUIET.end()


class _Quiet:
    """Standard error of the whole process, and how many want it quiet."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self._saved: int | None = None

    def begin(self) -> None:
        try:
            self._saved = os.dup(2)
        except OSError:  # no standard error at all: nothing to keep quiet
            return
        if sys.stderr is not None:
            sys.stderr.flush()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)

    def end(self) -> None:
        saved, self._saved = self._saved, None
        if saved is not None:
            os.dup2(saved, 2)
            os.close(saved)


_QUIET = _Quiet()
