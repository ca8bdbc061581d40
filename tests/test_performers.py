from __future__ import annotations

import numpy as np
import pytest

from moue import performers
from moue.actions import ACTIONS, in_mirror
from moue.performers import RemotePerformer
from moue.video.feed import Fresh
from moue.wire import Received


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Lines:
    """A feed whose lines come as the clock says: 30 a second, but for a gap."""

    ended, losses = False, 0

    def __init__(self, clock: Clock, weights: np.ndarray) -> None:
        self.clock, self.weights, self.number, self.silent = clock, weights, -1, False

    def newer(self, than: int, timeout: float) -> Fresh[Received] | None:
        self.clock.now += timeout
        if self.silent:
            return None
        self.number += 1
        return Fresh(self.number, self.clock.now, Received(self.weights, 0.8))


def test_left_and_right_change_places_in_a_mirror():
    vector = np.arange(len(ACTIONS))
    names = dict(zip(ACTIONS, in_mirror(vector), strict=True))
    assert names["eyeBlinkLeft"] == ACTIONS.index("eyeBlinkRight")
    assert names["jawRight"] == ACTIONS.index("jawLeft")
    assert names["jawOpen"] == ACTIONS.index("jawOpen")
    assert np.array_equal(in_mirror(in_mirror(vector)), vector)


@pytest.mark.parametrize("mirror", [False, True])
def test_actions_from_elsewhere_ease_in_and_out(monkeypatch, mirror):
    clock = Clock()
    monkeypatch.setattr(performers.time, "monotonic", clock)
    weights = np.zeros(len(ACTIONS), np.float32)
    weights[ACTIONS.index("eyeBlinkLeft")] = 1
    lines = Lines(clock, weights)
    performer = RemotePerformer(lines)  # type: ignore[arg-type]
    performer.mirror = mirror
    blink = ACTIONS.index("eyeBlinkRight" if mirror else "eyeBlinkLeft")
    shown = []
    for k in range(90):
        lines.silent = 30 <= k < 60
        moment = performer.next(1 / 30)
        if moment is not None:
            assert moment.fresh != lines.silent
            shown.append(moment.weights[blink])
    assert shown[25] == 1
    assert min(shown) < 0.1
    assert shown[-1] == 1
    assert np.abs(np.diff(shown)).max() < 0.4
    assert moment is not None
    assert moment.confidence == pytest.approx(0.8)
    assert not performer.calibrate()
