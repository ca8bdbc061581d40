"""moue._core by itself: no argument leads out of bounds, and it shares the machine."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

core = pytest.importorskip("moue._core")

PHOTO = np.zeros((6, 5, 3), np.uint8)
MATRIX = np.eye(2, 3)


def zeros(*shape):
    return np.zeros(shape, np.float32)


MAPS = zeros(2, 4, 4), zeros(4, 4), zeros(3, 4, 4)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: core.skip_sum(zeros(2, 3), zeros(1, 2, 3, 3), zeros(1, 1), zeros(1)), "base"),
        (
            lambda: core.skip_sum(zeros(2, 3, 3), zeros(1, 2, 3, 4), zeros(1, 1), zeros(1)),
            r"residual must be \[any, 2, 3, 3\], but got \[1, 2, 3, 4\]",
        ),
        (
            lambda: core.skip_sum(zeros(2, 3, 3), zeros(1, 2, 3, 3), zeros(1, 2), zeros(1)),
            "actions",
        ),
        (
            lambda: core.skip_sum(zeros(2, 3, 3), zeros(1, 2, 3, 3), zeros(1, 1), zeros(1)),
            "out",
        ),
        (lambda: core.preprocess(PHOTO[0], MATRIX, 1, zeros(3, 4, 4)), "photo"),
        (lambda: core.preprocess(PHOTO[:0], MATRIX, 1, zeros(3, 4, 4)), "photo"),
        (lambda: core.preprocess(PHOTO, np.eye(3), 1, zeros(3, 4, 4)), "to_photo"),
        (lambda: core.preprocess(PHOTO, MATRIX, 0, zeros(3, 4, 4)), "taps"),
        (lambda: core.preprocess(PHOTO, MATRIX, 1, zeros(3, 4, 5)), "out"),
        (lambda: core.preprocess(PHOTO, MATRIX, 1, zeros(4)), "out"),
        (lambda: core.compose(PHOTO, MATRIX, *MAPS, PHOTO[1:].copy()), "out"),
        (lambda: core.compose(PHOTO, MATRIX, MAPS[0], zeros(5, 5), MAPS[2], PHOTO.copy()), "flow"),
        (lambda: core.compose(PHOTO, MATRIX, MAPS[0], zeros(4), MAPS[2], PHOTO.copy()), "mask"),
        (lambda: core.compose(PHOTO, MATRIX, *MAPS[:2], zeros(1, 4, 4), PHOTO.copy()), "colour"),
    ],
)
def test_wrong_shapes_are_refused_by_name(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


@pytest.mark.parametrize("photo", [PHOTO.astype(np.float32), PHOTO[:, ::-1], PHOTO.tolist()])
def test_other_dtypes_and_layouts_are_refused(photo):
    with pytest.raises(TypeError):
        core.preprocess(photo, MATRIX, 1, zeros(3, 4, 4))


def test_read_only_output_is_refused():
    out = zeros(3, 4, 4)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        core.preprocess(PHOTO, MATRIX, 1, out)


def tasks():
    """Threads of this process, Python's and others."""
    return len(os.listdir("/proc/self/task"))


def tasks_at_rest():
    time.sleep(0.1)  # the system lists a thread that was joined for a moment more
    return tasks()


def during_a_long_call(observe, threads):
    """What `observe` gave again and again while a kernel ran in another thread."""
    photo, matrix = np.zeros((2000, 2000, 3), np.uint8), 2000 * MATRIX
    done = threading.Event()

    def call():
        core.preprocess(photo, matrix, 48, zeros(3, 64, 64), threads)
        done.set()

    worker = threading.Thread(target=call)
    worker.start()
    seen = []
    while not done.wait(0.001):
        seen.append(observe())
    worker.join()
    return seen


def test_other_python_threads_run_meanwhile():
    assert len(during_a_long_call(lambda: None, 1)) > 5  # none, were the GIL held


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_threads_follow_the_affinity_and_end_with_the_call():
    allowed, before = os.sched_getaffinity(0), tasks_at_rest()
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert max(during_a_long_call(tasks, 0)) == before + 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert tasks_at_rest() == before
    assert max(during_a_long_call(tasks, 3)) == before + 3
    assert tasks_at_rest() == before


def test_cuda_is_there_or_says_why_not():
    try:
        lines = core.cuda_devices()
    except RuntimeError as reason:
        lines = [str(reason)]
    assert lines
    assert all(lines)
