"""moue._core by itself: no argument leads out of bounds, and it shares the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

core = pytest.importorskip("moue._core")

PHOTO = np.zeros((6, 5, 3), np.uint8)
MATRIX = np.eye(2, 3)
ROOT = Path(__file__).parents[2]


def zeros(*shape):
    return np.zeros(shape, np.float32)


def shifted(array):
    """As many zeros one byte further on, where no number of more than a byte may stand."""
    return np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)


MAPS = {"flow": zeros(2, 4, 4), "mask": zeros(4, 4), "light": zeros(3, 4, 4)}
REST = {"rest_flow": zeros(2, 4, 4), "rest_mask": zeros(4, 4)}
MOUTH = {"place": zeros(2, 1, 1), "picture": PHOTO, "window": np.array([0.0, 0, 1, 1])}


def skip_sum(**changed):
    given = {"base": zeros(6), "residual": zeros(1, 6), "actions": zeros(1, 1), "sizes": [2, 4]}
    return core.skip_sum(**{**given, "out": zeros(6), **changed})


def compose(**changed):
    given = {
        "photo": PHOTO,
        "to_crop": MATRIX,
        **MAPS,
        **REST,
        **MOUTH,
        "colour": 1.0,
        "out": PHOTO.copy(),
        "whole": False,
    }
    return core.compose(**{**given, **changed})


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: skip_sum(base=zeros(2, 3)), "base"),
        (
            lambda: skip_sum(residual=zeros(1, 7)),
            r"residual must be \[any, 6\], but got \[1, 7\]",
        ),
        (lambda: skip_sum(actions=zeros(1, 2)), "actions"),
        (lambda: skip_sum(out=zeros(5)), "out"),
        (lambda: skip_sum(base=shifted(zeros(6))), "base must be at a multiple of 4, but got"),
        (lambda: skip_sum(residual=shifted(np.zeros((1, 6), "e"))), "residual must be at a mult"),
        (lambda: skip_sum(out=shifted(zeros(6))), "out must be at a multiple of 4"),
        (lambda: skip_sum(sizes=[2, 5]), "sizes"),
        (lambda: skip_sum(sizes=[8, -2]), "sizes"),
        (lambda: skip_sum(sizes=[6, 0]), "sizes"),
        (lambda: core.preprocess(PHOTO[0], MATRIX, 1, zeros(3, 4, 4)), "photo"),
        (lambda: core.preprocess(PHOTO[:0], MATRIX, 1, zeros(3, 4, 4)), "photo"),
        (lambda: core.preprocess(PHOTO, np.eye(3), 1, zeros(3, 4, 4)), "to_photo"),
        (lambda: core.preprocess(PHOTO, MATRIX, 0, zeros(3, 4, 4)), "taps"),
        (
            lambda: core.preprocess(PHOTO, MATRIX, 32769, zeros(3, 4, 4)),
            r"taps must be in 1 \.\.\. 32768, but got 32769",
        ),
        (lambda: core.preprocess(PHOTO, MATRIX, 1, zeros(3, 4, 5)), "out"),
        (lambda: core.preprocess(PHOTO, MATRIX, 1, zeros(4)), "out"),
        (lambda: compose(out=PHOTO[1:].copy()), "out"),
        (lambda: compose(mask=zeros(5, 5)), "flow"),
        (lambda: compose(mask=zeros(4)), "mask"),
        (lambda: compose(rest_flow=zeros(1, 4, 4)), "rest_flow"),
        (lambda: compose(rest_mask=zeros(4, 5)), "rest_mask"),
        (lambda: compose(rest_mask=None), "belong together"),
        (lambda: compose(light=zeros(1, 4, 4)), "light"),
        (lambda: compose(place=zeros(1, 4, 4)), "place"),
        (lambda: compose(picture=PHOTO[..., :2].copy()), "picture"),
        (lambda: compose(window=np.zeros(3)), "window"),
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


def tasks():
    """Threads of this process, Python's and others."""
    return len(os.listdir("/proc/self/task"))


def helpers_in_a_new_process(*threads):
    """How many threads there are more after calls with these `threads`, on one core and on all."""
    script = """if True:
        import os, sys
        import numpy as np
        from moue import _core
        from tests.cpp_ext.test_core import tasks
        allowed, before = os.sched_getaffinity(0), tasks()
        os.sched_setaffinity(0, {min(allowed)})
        for threads in map(int, sys.argv[1:]):
            out = np.zeros((3, 64, 64), np.float32)
            _core.preprocess(np.zeros((64, 64, 3), np.uint8), 64 * np.eye(2, 3), 1, out, threads)
            print(tasks() - before)
    """
    command = [sys.executable, "-c", script, *map(str, threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_threads_follow_the_affinity_and_are_kept_for_the_next_call():
    assert helpers_in_a_new_process(0, 3, 3, 2, 4, 0) == [0, 2, 2, 2, 3, 3]


def test_calls_from_several_threads_do_not_wait_for_each_other_for_ever():
    out = [zeros(3, 64, 64) for _ in range(8)]
    photo, matrix = np.full((64, 64, 3), 255, np.uint8), 64 * MATRIX
    workers = [
        threading.Thread(
            target=lambda mine=mine: [
                core.preprocess(photo, matrix, 1, mine, 2 + k % 3) for k in range(200)
            ]
        )
        for mine in out
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert all((mine == 1).all() for mine in out)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX only")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    call = lambda: core.preprocess(  # noqa: E731
        np.full((64, 64, 3), 255, np.uint8), 64 * MATRIX, 1, zeros(3, 64, 64), 3
    )
    call()
    child = os.fork()
    if child == 0:
        call()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize("system", ["__unix__", "__APPLE__"])
def test_every_system_that_forks_is_told_of_the_threads(system):
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    command = ["g++", "-std=c++17", "-E", "-U__unix__", f"-D{system}", "cpp_ext/parallel.cpp"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "pthread_atfork(nullptr, nullptr, []" in done.stdout


def test_cuda_is_there_or_says_why_not():
    try:
        lines = core.cuda_devices()
    except RuntimeError as reason:
        lines = [str(reason)]
    assert lines
    assert all(lines)
