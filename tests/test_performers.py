from __future__ import annotations

import time

import numpy as np
import pytest

from moue import performers
from moue.actions import ACTIONS, in_mirror
from moue.performers import FacePerformer, RemotePerformer
from moue.tracking import Neutral, Pose, Tracked, Tracker
from moue.video.feed import Feed, Fresh
from moue.wire import Received


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Lines:
    """A feed whose lines come as the clock says: 30 a second, but for a gap."""

    ended, losses = False, 0

    def __init__(self, clock: Clock, weights: np.ndarray, every: int = 1) -> None:
        self.clock, self.weights, self.number, self.silent = clock, weights, -1, False
        self.calls, self.every = 0, every  # one comes for so many calls

    def newer(self, than: int, timeout: float) -> Fresh[Received] | None:
        self.clock.now += timeout
        self.calls += 1
        if self.silent or self.calls % self.every:
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


def test_a_slow_source_is_followed_too(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(performers.time, "monotonic", clock)
    weights = np.zeros(len(ACTIONS), np.float32)
    weights[ACTIONS.index("jawOpen")] = 0.8
    lines = Lines(clock, weights, every=15)  # two a second
    performer = RemotePerformer(lines)  # type: ignore[arg-type]
    moments = [performer.next(1 / 30) for _ in range(300)]
    shown = [moment.weights[ACTIONS.index("jawOpen")] for moment in moments if moment]
    assert min(shown[-10:]) == pytest.approx(0.8)
    assert len(shown) >= 20
    lines.silent = True
    gone = [moment for moment in (performer.next(1 / 30) for _ in range(90)) if moment]
    assert gone[-1].weights.max() < 0.1


def test_what_came_last_is_played_before_the_end():
    def source():
        yield Received(np.zeros(len(ACTIONS), np.float32), 0.8)

    with Feed("two lines", source, endless=False) as feed:
        while not feed.ended:
            time.sleep(0.01)
        performer = RemotePerformer(feed)
        assert not performer.ended
        assert performer.next(0.1) is not None
        assert performer.ended


def test_no_face_to_calibrate_by_is_said_each_time_and_takes_nothing_away():
    known = Neutral(
        np.zeros((478, 3), np.float32), np.zeros(51, np.float32), np.zeros(3, np.float32)
    )
    with Tracker(neutral=known) as tracker:
        performer = FacePerformer(None, tracker)  # type: ignore[arg-type]
        performer.calibrated = True
        assert not performer.calibrate()
        assert performer.calibrated
        assert tracker._given is known


def test_a_mirrored_head_is_said_as_it_is_played():
    weights = np.zeros(len(ACTIONS), np.float32)
    weights[ACTIONS.index("headYaw")] = 0.5

    class Seen:
        def track(self, frame, seconds):
            return Tracked(seconds, weights, 1.0, Pose(6.0, 2.0, 3.0), None)

    def source():
        yield np.zeros((8, 8, 3), np.uint8)

    with Feed("a picture", source, endless=False) as feed:
        performer = FacePerformer(feed, Seen())  # type: ignore[arg-type]
        performer.mirror = True
        moment = performer.next(1.0)
    assert moment is not None
    assert moment.weights[ACTIONS.index("headYaw")] == -0.5
    assert moment.pose == Pose(-6.0, 2.0, -3.0)
