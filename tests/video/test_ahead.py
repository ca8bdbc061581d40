"""Frames are made while others are used, one ahead, in order, and errors come through."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from moue.errors import OutputError
from moue.video.writer import Frame, ahead, write_frames

FRAME = np.zeros((2, 2, 3), np.uint8)


def test_one_frame_is_made_while_another_is_used() -> None:
    made = [threading.Event() for _ in range(4)]

    def frames() -> Iterator[Frame]:
        for event in made:
            event.set()
            yield FRAME

    for k, _ in enumerate(ahead(frames())):
        if k + 1 < len(made):
            assert made[k + 1].wait(10)
        assert not any(event.is_set() for event in made[k + 2 :])


def test_frames_come_in_order_and_whole() -> None:
    frames = [np.full((2, 2, 3), k, np.uint8) for k in range(50)]
    assert [frame is other for frame, other in zip(ahead(frames), frames, strict=True)] == [1] * 50
    assert list(ahead([])) == []


def test_an_error_comes_in_its_turn_and_no_thread_stays() -> None:
    def frames() -> Iterator[Frame]:
        yield FRAME
        raise ValueError("broken")

    before = threading.active_count()
    shown = ahead(frames())
    assert next(shown) is FRAME
    with pytest.raises(ValueError, match="broken"):
        next(shown)
    assert threading.active_count() == before


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    shown = ahead(iter([FRAME] * 5))
    next(shown)
    shown.close()
    assert threading.active_count() == before


def test_a_writer_that_fails_has_let_go_of_the_frames(tmp_path: Path) -> None:
    def frames() -> Iterator[Frame]:
        yield FRAME
        yield FRAME  # one more than a .png takes
        time.sleep(0.3)  # still being made when the second is refused
        yield FRAME

    made = frames()
    with pytest.raises(OutputError, match="holds one frame") as failure:
        write_frames(made, tmp_path / "out.png", Fraction(30))
    made.close()  # raises where a thread is still inside
    assert failure.tb is not None  # as while it unwinds: nothing was let go by being forgotten
