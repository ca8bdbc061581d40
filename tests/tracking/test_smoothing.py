from __future__ import annotations

import numpy as np
import pytest

from moue.tracking.smoothing import HOLD, RETURN, OneEuro, Presence

STEP = 1 / 30


def filtered(values):
    calm = OneEuro()
    return np.array([calm(np.float32([value]), STEP)[0] for value in values])


def test_noise_on_a_still_face_is_calmed():
    noise = np.random.default_rng(0).normal(0.5, 0.01, 600).astype(np.float32)
    assert filtered(noise)[60:].std() < 0.6 * noise.std()


@pytest.mark.parametrize("seconds", [0.15, 0.5, 2.0])
def test_a_movement_lags_as_stated(seconds):
    time = np.arange(0, seconds + 1e-9, STEP)
    speed = 1 / seconds
    behind = (time * speed - filtered(time * speed))[-1] / speed
    assert -STEP < behind < OneEuro.lag(speed) + STEP
    assert OneEuro.lag(5) < 0.01 < OneEuro.lag(0) < 0.12


def test_filter_takes_the_first_value_as_it_is_and_survives_no_time():
    calm = OneEuro()
    for step in (0.0, 0.0, -1.0):
        assert calm(np.float32([0.7]), step) == np.float32(0.7)


def test_a_lost_face_eases_to_rest_and_comes_back_without_a_jump():
    presence, full = Presence(2), np.float32([1.0, 0.5])
    timeline = [full] * 30 + [None] * 60 + [full] * 30
    shown = np.array([presence(value, STEP) for value in timeline])
    assert np.array_equal(shown[29], full)
    assert np.array_equal(shown[29 + round(HOLD / STEP)], full), "a blink of the tracker is no loss"
    assert shown[89].max() < 0.01
    assert np.array_equal(shown[-1], full)
    assert np.abs(np.diff(shown, axis=0)).max() < 0.35
    back = shown[90:, 0]
    assert (np.diff(back) >= 0).all()
    assert back[round(RETURN / STEP)] > 0.99


def test_confidence_follows():
    presence = Presence(1)
    assert presence.confidence == 0
    for _ in range(30):
        presence(np.float32([0]), STEP)
    assert presence.confidence == 1
    for _ in range(60):
        presence(None, STEP)
    assert presence.confidence < 0.01
