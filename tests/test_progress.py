from __future__ import annotations

import io

import pytest

from moue import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch) -> None:
    """Every look at the clock is half a second later."""
    seconds = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds) / 2)


def test_silent_without_a_terminal():
    stream = io.StringIO()
    assert list(progress.with_progress(range(3), 3, stream)) == [0, 1, 2]
    assert stream.getvalue() == ""


def test_counts_on_a_terminal_and_leaves_nothing(clock):
    stream = Terminal()
    assert list(progress.with_progress(range(4), 4, stream)) == [0, 1, 2, 3]
    lines = stream.getvalue().split(progress.CLEAR_LINE)
    assert lines[2].endswith(" 2/4 frames, 2.0 a second, 1 s left")
    assert lines[-1] == ""


def test_leaves_nothing_when_it_is_cut_short(clock):
    stream = Terminal()
    shown = progress.with_progress(range(4), 4, stream)
    assert [next(shown), next(shown)] == [0, 1]
    shown.close()
    assert stream.getvalue().endswith(progress.CLEAR_LINE)


@pytest.mark.parametrize(
    ("expected", "ends"),
    [
        (None, ["a wait: phase, 1 s", "a wait: phase, 1 s of about 2"]),
        (40.0, ["a wait: phase, 1 s of about 40", "a wait: phase, 1 s of about 40"]),
    ],
)
def test_a_wait_says_how_long_it_has_been_and_may_take(monkeypatch, expected, ends):
    seconds = iter([0, 0.6, 1, 1.05, 2])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    stream = Terminal()
    with progress.Wait("a wait", expected, stream) as wait:
        for share in (0.01, 0.5, 0.9):  # the third comes too soon to be drawn
            wait.show("phase", share)
    assert stream.getvalue().split(progress.CLEAR_LINE)[1:] == [*ends, ""]


def test_a_wait_without_a_terminal_is_logged_now_and_then(monkeypatch, caplog):
    seconds = iter([0, 5, 10, 11, 21])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with progress.Wait("a wait", None) as wait:
        for _ in range(4):
            wait.show("", 0)
    assert caplog.messages == ["a wait: starting, 10 s", "a wait: starting, 21 s"]
