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
