"""How a training process holds on to memory: a step makes and drops hundreds of large tensors."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # mallopt(3)


def keep_memory() -> None:
    """Has glibc keep what is freed for what is asked for next; other C libraries stay as they are.

    By itself it maps every tensor above 32 MB anew and gives it back to the system. Zeroing the pages
    takes up to a third of a step of the paper's preset on a CPU, and a tenth of one of edge.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
