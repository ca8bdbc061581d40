from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from moue.streams import quiet_stderr, quiet_warnings


def say_in_c(text: str) -> None:
    libc = ctypes.CDLL(None)
    libc.fputs(text.encode(), ctypes.c_void_p.in_dll(libc, "stderr"))


def test_only_what_c_writes_is_kept_off_standard_error(capfd: Any) -> None:
    log, handler = logging.getLogger("of a host"), logging.StreamHandler()
    log.addHandler(handler)
    with quiet_stderr():
        say_in_c("chatter")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(log.warning, "a thread's line").result()
        subprocess.run("echo a process\\'s line >&2", shell=True, check=True)
        os.write(2, b"heard")
    log.removeHandler(handler)
    assert capfd.readouterr().err == "a thread's line\na process's line\nheard"


@contextmanager
def first_come_first_go(quiet: Callable[[], Any]) -> Iterator[None]:
    """Two threads ask for quiet, and the one that came first is gone; then the other one goes."""
    first, second = quiet(), quiet()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        one.submit(first.__enter__).result()
        other.submit(second.__enter__).result()
        one.submit(first.__exit__, None, None, None).result()
        yield
        other.submit(second.__exit__, None, None, None).result()


def test_threads_that_start_mediapipe_at_once_leave_standard_error_as_it_was(capfd: Any) -> None:
    with first_come_first_go(quiet_stderr):
        say_in_c("chatter")
    say_in_c("heard")
    assert capfd.readouterr().err == "heard"


def test_threads_that_read_photos_at_once_leave_warnings_as_they_were() -> None:
    before = list(warnings.filters)
    with first_come_first_go(quiet_warnings):
        warnings.warn("chatter", stacklevel=1)
    assert warnings.filters == before
    with pytest.warns(match="heard"):
        warnings.warn("heard", stacklevel=1)


def test_what_an_encoding_has_no_sign_for_is_escaped() -> None:
    command = [sys.executable, "-m", "moue", "animate", "--help"]
    env = os.environ | {"PYTHONIOENCODING": "latin-1"}
    shown = subprocess.run(command, env=env, capture_output=True, check=True)
    assert rb"D,D,\u2026" in shown.stdout
    assert shown.stderr == b""
