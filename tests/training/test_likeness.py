from __future__ import annotations

import numpy as np
import pytest

from moue import Animator, expression
from moue.actions import EXPRESSIONS
from training.likeness import DEGREES, likeness, similarity, unevenness
from training.sheets import look


def test_similarity_looks_only_where_it_is_told():
    random = np.random.default_rng(0)
    a = random.integers(0, 256, (40, 60, 3), np.uint8)
    b = a.copy()
    b[:, 40:] = 0
    left = np.zeros((40, 60), bool)
    left[:, :30] = True
    ssim, psnr = similarity(a, np.clip(b, 0, 254), left)
    assert ssim > 0.99
    assert psnr > 45
    assert similarity(a, b, ~left)[0] < 0.8


def test_a_ramp_is_as_uneven_as_its_largest_step():
    even = [np.full((8, 8, 3), 20 * k, np.uint8) for k in range(6)]
    assert unevenness(even) == pytest.approx(1)
    assert unevenness([*even, np.full((8, 8, 3), 160, np.uint8)]) == pytest.approx(3)


def test_frames_of_the_shipped_model_follow_each_other_smoothly(portrait_photo):
    """One second at 30 frames a second, straight from rest to each expression's peak."""
    degrees = np.linspace(0, 1, 31).tolist()
    with Animator("edge", "cpu", threads=1) as animator:
        portrait = animator.prepare(portrait_photo)
        for name in EXPRESSIONS:
            frames = animator.frames(portrait, expression(name).degrees(degrees))
            assert unevenness([look(portrait, frame) for frame in frames]) < 2, name


def test_the_degree_that_is_chosen_by_the_photograph_is_not_the_only_one():
    """A smile that goes too far is nearest to its photograph on the way, and at degree 1 behind rest."""
    random = np.random.default_rng(0)
    real = random.integers(60, 190, (32, 32, 3)).astype(np.uint8)
    grain = random.normal(size=real.shape)
    shown = [real + (60 * (d - 0.4) + 1) * grain for d in DEGREES]
    frames = [np.clip(frame, 0, 255).astype(np.uint8) for frame in shown]
    found = likeness(frames, real, np.ones((32, 32), bool))
    assert found.degree == 0.4
    assert found.full < found.rest < found.best
