"""Standard output and standard error: closed, full, broken off, or chattered on by others."""

from __future__ import annotations

import ctypes
import io
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, wraps
from typing import TypeAlias

from moue.errors import OutputError

Quiet: TypeAlias = AbstractContextManager[None]


def open_streams() -> None:
    """What the shell has closed (`>&-`) leads nowhere, and no file of ours takes its number.

    What a terminal's encoding has no sign for is written as an escape.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as we run
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


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


def _shared(state: Callable[[], Quiet]) -> Callable[[], Quiet]:
    """A state of the whole process: among several threads the first enters it, the last leaves it."""
    lock, inside, entered = threading.Lock(), 0, ExitStack()

    @contextmanager
    @wraps(state)
    def shared() -> Iterator[None]:
        nonlocal inside
        with lock:
            if not inside:
                entered.enter_context(state())
            inside += 1
        try:
            yield
        finally:
            with lock:
                inside -= 1
                if not inside:
                    entered.close()

    return shared


@_shared
@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps MediaPipe's C++ log off standard error.

    It is written through the C library's `stderr`, which leads nowhere meanwhile, where that is
    glibc. Python's own lines, of whatever thread, and those of other processes take another way.
    """
    libc = ctypes.CDLL(None)
    nowhere = _nowhere() if hasattr(libc, "gnu_get_libc_version") else None
    if nowhere is None:
        yield
        return
    stream = ctypes.c_void_p.in_dll(libc, "stderr")  # a variable, which glibc lets programs set
    saved, stream.value = stream.value, nowhere
    try:
        yield
    finally:
        stream.value = saved


@cache
def _nowhere() -> int | None:
    """A stream of the C library's, never closed: some thread may be writing to it still."""
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    stream: int | None = libc.fopen(os.devnull.encode(), b"w")
    return stream


@_shared
@contextmanager
def quiet_warnings() -> Iterator[None]:
    """Keeps Python's warnings to itself; two threads that did so by themselves would end in silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
