from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from moue.errors import VideoError
from moue.video import feed as module
from moue.video.feed import Feed


def wait_for(condition: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


class FlakyCamera:
    """Counts up; drops out, stalls and fails to open as it is told."""

    def __init__(self) -> None:
        self.count = 0
        self.plugged = True
        self.running = threading.Event()
        self.running.set()
        self.opened = self.closed = 0

    def __call__(self) -> Iterator[int]:
        if not self.plugged:
            raise VideoError("there is no camera")
        self.opened += 1
        descriptor = os.open(os.devnull, os.O_RDONLY)
        try:
            while True:
                self.running.wait()
                if not self.plugged:
                    raise OSError(19, "No such device")
                yield self.count
                self.count += 1
                time.sleep(0.001)
        finally:
            os.close(descriptor)
            self.closed += 1


@pytest.fixture
def camera(monkeypatch) -> FlakyCamera:
    monkeypatch.setattr(module, "RETRY", 0.002)
    return FlakyCamera()


def test_the_newest_wins_however_slow_the_reader(camera):
    with Feed("camera", camera, endless=True) as feed:
        number = -1
        for _ in range(5):
            wait_for(lambda seen=camera.count: camera.count > seen + 5)
            fresh = feed.newer(number, 1.0)
            assert fresh is not None
            assert fresh.item >= camera.count - 2
            assert time.monotonic() - fresh.seconds < 0.5
            assert fresh.number > number
            number = fresh.number


def test_it_drops_stalls_and_returns_a_hundred_times_and_nothing_is_lost(
    camera, caplog, monkeypatch
):
    caplog.set_level(logging.WARNING, "moue")
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    with Feed("camera", camera, endless=True) as feed:
        assert feed.newer(-1, 1.0) is not None
        open_files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
        for cycle in range(100):
            stalls = cycle % 2 == 1
            if stalls:
                camera.running.clear()
            else:
                camera.plugged = False
            wait_for(lambda cycle=cycle: feed.newer(1 << 30, 0.001) or feed.losses == cycle + 1)
            time.sleep(0.005)  # some attempts that fail
            camera.plugged = True
            camera.running.set()
            seen = camera.count
            wait_for(lambda seen=seen: camera.count > seen)
            fresh = feed.newer(-1, 1.0)
            assert fresh is not None
            assert fresh.item >= seen
        wait_for(lambda: len(caplog.records) == 200)
        assert len(os.listdir("/proc/self/fd")) <= open_files
        assert threading.active_count() == threads
    wait_for(lambda: camera.opened == camera.closed == 51)
    said = [record.getMessage() for record in caplog.records]
    assert said[::4] == ["camera fails (No such device); waiting for it"] * 50
    assert said[2::4] == ["camera gives nothing; waiting for it"] * 50
    assert said[1::2] == ["camera is back"] * 100


def test_a_stall_is_noticed_within_two_seconds(camera, caplog):
    caplog.set_level(logging.WARNING, "moue")
    assert module.PATIENCE < 2
    with Feed("camera", camera, endless=True) as feed:
        feed.newer(-1, 1.0)
        camera.running.clear()
        time.sleep(0.02)
        last, start = feed.newer(-1, 0), time.monotonic()
        while not feed.losses:
            assert last is not None
            assert feed.newer(last.number, 0.05) is None
            assert time.monotonic() - start < 2
        feed.newer(last.number, 0.05)
        camera.running.set()
        assert feed.newer(last.number, 1.0) is not None
        wait_for(lambda: len(caplog.records) == 2)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["camera gives nothing; waiting for it", "camera is back"]


def test_what_cannot_begin_is_an_error_at_once(camera):
    camera.plugged = False
    nothing = Feed("nothing", lambda: (_ for _ in ()), endless=True)
    for feed, words in (
        (Feed("camera", camera, endless=True), "there is no camera"),
        (nothing, "nothing has ended"),
    ):
        with feed, pytest.raises(VideoError, match=words):
            feed.newer(-1, 5.0)


def test_a_fault_that_nobody_foresaw_is_told_and_does_not_hang():
    def faulty():
        "192.168..1.20".encode("idna")
        yield 1

    feed = Feed("udp://192.168..1.20:9", faulty, endless=True, first=None)
    with feed, pytest.raises(VideoError, match=r"fails \(UnicodeError: "):
        feed.newer(-1, 5.0)


def test_a_source_that_never_begins():
    never = threading.Event()

    def silent() -> Iterator[int]:
        never.wait()
        yield 1

    with Feed("camera 3", silent, endless=True, first=0.5) as feed:
        assert feed.newer(-1, 0.0) is None
        time.sleep(0.51)
        with pytest.raises(VideoError, match="camera 3 has given nothing"):
            feed.newer(-1, 0.0)
        never.set()


def test_what_breaks_off_for_good_ends_there(caplog):
    def damaged():
        yield 0
        raise VideoError("it is cut short")

    with Feed("film", damaged, endless=False) as feed:
        wait_for(lambda: feed.ended)
        assert feed.newer(0, 0) is None
    assert feed.losses == 0
    assert caplog.messages == ["film fails (it is cut short); it ends here"]


def test_what_has_time_is_not_missed(caplog):
    wait = threading.Event()

    def slow():
        yield 0
        wait.wait(10)

    with Feed("film", slow, endless=False, patience=0.05) as missed:
        assert missed.newer(-1, 5) is not None
        wait_for(lambda: missed.newer(0, 0.01) is None and missed.losses)
    with Feed("film", slow, endless=False, patience=math.inf) as feed:
        assert feed.newer(-1, 5) is not None
        assert feed.newer(0, 0.1) is None
        wait.set()
        wait_for(lambda: feed.ended)
    assert feed.losses == 0


def test_an_end_is_the_end_where_it_should_be():
    with Feed("file", lambda: (k for k in range(3)), endless=False) as feed:
        wait_for(lambda: feed.ended)
        fresh = feed.newer(-1, 0)
        assert fresh is not None
        assert (fresh.item, fresh.number, feed.losses) == (2, 2, 0)
        assert feed.newer(2, 5.0) is None
