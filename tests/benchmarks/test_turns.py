from __future__ import annotations

import threading

from benchmarks import in_turns, side_by_side
from benchmarks.roofline import _each_its_own
from moue.kernels.cores import usable_cores


def test_turns_are_taken_and_the_first_round_does_not_count():
    order: list[str] = []
    took = in_turns({name: lambda n=name: order.append(n) for name in "ab"}, rounds=2)
    assert order == list("ababab")
    assert set(took) == {"a", "b"}
    assert all(ms >= 0 for ms in took.values())


def test_side_by_side_is_on_every_core_at_once():
    together = threading.Barrier(usable_cores())
    calls: list[int] = []

    def run() -> None:
        together.wait(timeout=30)  # passes only where as many threads as cores are here
        calls.append(threading.get_ident())

    side_by_side(run, times=3)()
    assert len(calls) == 3 * usable_cores()
    assert len(set(calls)) == usable_cores()


def test_memory_of_a_run_belongs_to_its_thread():
    made: list[int] = []

    def make():
        made.append(threading.get_ident())
        return lambda: None

    together = threading.Barrier(usable_cores())
    own = _each_its_own(make)
    run = side_by_side(lambda: (together.wait(timeout=30), own()), times=2)
    run()
    run()
    assert len(made) == len(set(made)) == usable_cores()
