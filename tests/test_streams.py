from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from moue.streams import quiet_stderr


def test_threads_that_start_mediapipe_at_once_leave_standard_error_as_it_was(capfd: Any) -> None:
    both = threading.Barrier(2)

    def quiet(leaves_first: bool) -> None:
        with quiet_stderr():
            both.wait(10)
            if not leaves_first:
                both.wait(10)
        if leaves_first:
            both.wait(10)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(quiet, (True, False)))
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
