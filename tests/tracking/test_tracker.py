from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moue.actions import ACTIONS, FACE_ACTIONS, HEAD_TURNS
from moue.errors import ActionError, BundleError, UsageError
from moue.tracking import Measured, Tracker, Tuning, quietest
from moue.tracking.follow import cut
from moue.tracking.mesh import IMAGE_AXES
from moue.tracking.regressor import load_regressor

MEAN = load_regressor().mean
JAW, YAW = ACTIONS.index("jawOpen"), ACTIONS.index("headYaw")
# 1 on the lower lip and the chin, less towards the cheeks: what a jaw takes along.
WITH_THE_JAW = np.clip((MEAN[14, 1] + 0.01 - MEAN[:, 1]) / 0.2, 0, 1) * np.clip(
    1.4 - np.abs(MEAN[:, 0]) / 5, 0, 1
)


def scene(photo, left: int, top: int = 60, height: int = 540, width: int = 960) -> np.ndarray:
    """The upper half of the portrait somewhere in a grey picture."""
    picture = np.full((height, width, 3), 120, np.uint8)
    picture[top : top + 256, left : left + 256] = photo[:256, 96:352]
    return picture


def centre(tracked) -> np.ndarray:
    return tracked.landmarks[:, :2].mean(0)


def measured(opened: float, turn: float = 0.0) -> Measured:
    """A face 600 px high, its jaw lowered by so many cm, its head turned by `turn` radians."""
    mesh = MEAN.copy()
    mesh[:, 1] -= opened * WITH_THE_JAW
    c, s = np.cos(turn), np.sin(turn)
    mesh = mesh @ np.float32([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    return Measured(((40 * mesh + (500, -500, 0)) * IMAGE_AXES).astype(np.float32))


@given(st.integers(-90, 90), st.integers(-90, 90), st.integers(1, 90))
def test_a_window_beyond_the_picture_repeats_its_edge(left, top, side):
    picture = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    wanted = picture[rows.clip(0, 29)[:, None], columns.clip(0, 49)]
    assert np.array_equal(cut(picture, left, top, side), wanted)


def test_a_still_face_that_wanders_does_nothing(portrait_photo):
    with Tracker() as tracker:
        for k in range(40):
            left = round(350 + 200 * np.sin(k / 10))
            tracked = tracker.track(scene(portrait_photo, left), k / 30)
            assert tracked.landmarks is not None
            assert abs(centre(tracked)[0] - (left + 128)) < 25
    assert tracked.confidence == 1
    assert tracked.weights.max() < 0.35
    assert abs(tracked.pose.yaw) < 20


def test_it_stays_with_its_face_when_a_larger_one_comes(portrait_photo):
    large = portrait_photo[:256, 96:352].repeat(2, 0).repeat(2, 1)
    with Tracker() as tracker:
        for k in range(20):
            picture = scene(portrait_photo, 20)
            if k >= 5:
                picture[:512, 440:952] = large
            tracked = tracker.track(picture, k / 30)
            assert centre(tracked)[0] < 300
    with Tracker() as tracker:
        assert centre(tracker.track(picture, 0))[0] > 440, "at first, the largest"


def test_lost_and_found_again(portrait_photo):
    nobody = np.full((540, 960, 3), 120, np.uint8)
    with Tracker() as tracker:
        for k in range(15):
            tracked = tracker.track(scene(portrait_photo, 300), k / 30)
        for k in range(15, 60):
            tracked = tracker.track(nobody, k / 30)
            assert tracked.landmarks is tracked.pose is None
        assert tracked.confidence < 0.05
        assert not tracked.weights.max() > 0.02
        tracked = tracker.track(scene(portrait_photo, 350), 2.1)
        assert tracked.landmarks is not None


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.zeros((64, 64, 3)), r"float64 \[64, 64, 3\]"),
        (np.zeros((64, 64, 4), np.uint8), r"uint8 \[64, 64, 4\]"),
        (np.zeros((64, 64), np.uint8), r"uint8 \[64, 64\]"),
        (None, r"object \[\]"),
    ],
)
def test_frames_that_are_none(frame, words):
    with Tracker() as tracker, pytest.raises(UsageError, match=f"must be uint8 RGB .* {words}"):
        tracker.track(frame, 0.0)


def test_a_tracker_is_closed_as_often_as_one_likes_and_then_tracks_no_more(portrait_photo):
    with Tracker() as tracker:
        tracker.close()
    with pytest.raises(UsageError, match="closed; open another"):
        tracker.track(portrait_photo, 0.0)


def test_a_jaw_that_drops_is_read_whichever_way_the_head_turns():
    read = []
    for swing in (0.0, 0.3):
        with Tracker() as tracker:
            for k in range(75):
                opened = 0.0 if k < 45 else 2.0
                tracked = tracker.read(measured(opened, swing * np.sin(k / 10)), k / 30)
            read.append(tracked.weights[: len(FACE_ACTIONS)])
    assert read[0][JAW] > 0.3
    assert np.abs(read[1] - read[0]).max() < 0.02


@pytest.mark.parametrize(("turn", "played"), [(6.0, 0.5), (-6.0, -0.5), (40.0, 1.0), (-40.0, -1.0)])
def test_a_head_turns_from_where_it_is_held_at_rest(turn, played):
    held = np.deg2rad(9.0)
    tuning = Tuning(low={name: 0 for name in HEAD_TURNS})
    with Tracker(tuning=tuning) as tracker:
        for k in range(30):
            tracked = tracker.read(measured(0.0, held), k / 30)
        assert np.abs(tracked.weights).max() < 0.01
        tracker.calibrate()
        for k in range(30, 90):
            tracked = tracker.read(measured(0.0, held + np.deg2rad(turn)), k / 30)
    turns = dict(zip(ACTIONS, tracked.weights.tolist(), strict=True))
    assert turns["headYaw"] == pytest.approx(played, abs=0.02)
    assert turns["headPitch"] == pytest.approx(0, abs=0.02)
    assert turns["headRoll"] == pytest.approx(0, abs=0.02)
    assert tracked.pose.yaw == pytest.approx(9 + turn, abs=0.2)


def test_the_neutral_key_makes_the_face_of_now_the_rest():
    with Tracker() as tracker:
        tracker.start_from(quietest((k / 30, measured(0.0)) for k in range(30)))
        for k in range(60):
            tracked = tracker.read(measured(1.5), k / 30)
        assert tracked.weights[JAW] > 0.2
        assert tracker.calibrate()
        for k in range(60, 120):
            tracked = tracker.read(measured(1.5), k / 30)
        assert tracked.weights[JAW] < 0.02
    with Tracker() as tracker:
        assert not tracker.calibrate()


def test_a_rest_found_ahead_holds_from_the_first_frame_on():
    talk = [(k / 30, measured(1.5)) for k in range(20)]
    rest = [(k / 30, measured(0.0)) for k in range(20, 60)]
    with Tracker() as tracker:
        tracker.start_from(quietest([*talk, *rest]))
        for seconds, face in talk:
            tracked = tracker.read(face, seconds)
        assert tracked.weights[JAW] > 0.2
    assert quietest([(0.0, None)]) is None


@pytest.mark.parametrize(
    ("tuning", "raw", "played"),
    [
        (Tuning(), 0.5, 0.479),
        (Tuning(), 0.03, 0.0),
        (Tuning({"jawOpen": 2}), 0.3, 0.542),
        (Tuning({"all": 2}, {"all": 0.5}), 0.75, 1.0),
        (Tuning({"all": 0}), 1.0, 0.0),
        (Tuning(low={"jawOpen": 0}), 0.02, 0.02),
    ],
)
def test_gain_and_range(tuning, raw, played):
    vector = np.zeros(len(ACTIONS), np.float32)
    vector[JAW] = raw
    assert tuning.apply(vector)[JAW] == pytest.approx(played, abs=1e-3)
    vector[YAW] = -raw
    assert tuning.apply(vector)[YAW] == pytest.approx(-tuning.apply(-vector)[YAW])
    assert tuning.apply(-vector)[JAW] == 0


def test_tunings_that_make_no_sense():
    with pytest.raises(ActionError, match="did you mean jawOpen"):
        Tuning({"jawopen": 1})
    for wrong in (Tuning, lambda t: Tuning(low=t)):
        with pytest.raises(ActionError, match="jawOpen must be in"):
            wrong({"jawOpen": float("nan")})


def test_scores_models_that_are_none(tmp_path):
    with pytest.raises(BundleError, match="--scores takes MediaPipe's"):
        Tracker(tmp_path / "none.task")
    (tmp_path / "text.task").write_text("no model")
    with pytest.raises(BundleError, match=r"must be MediaPipe's face_landmarker.task"):
        Tracker(tmp_path / "text.task")
