"""The shipped bundle plays a known performance, and its face drives: what comes back."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

import moue
from benchmarks.recover import compare, performance, plot, recover


def test_a_known_performance_comes_back(portrait_photo, tmp_path):
    given = performance(5, Fraction(30))
    with moue.Animator() as animator:
        curve = recover(animator, portrait_photo, given, 512)
    back = compare(given, curve)
    for name in ("jawOpen", "browInnerUp"):  # this face smiles already, and half closes its eyes
        assert back.correlation[name] > 0.85, back
    assert 0 <= back.delay <= 2
    plot(given, curve, tmp_path / "recovered.png")
    with Image.open(tmp_path / "recovered.png") as picture:
        assert len(picture.getcolors(1 << 16) or []) > 3


def test_a_delay_is_found_and_a_shuffled_curve_does_not_correlate():
    given = performance(10, Fraction(30))
    late = np.roll(given.values, 3, axis=0)
    back = compare(given, moue.ActionCurve(given.actions, late, given.fps))
    assert back.delay == 3
    assert min(back.correlation.values()) > 0.99
    assert all(size == pytest.approx(1, abs=0.05) for size in back.amplitude.values())
    short = compare(given, moue.ActionCurve(given.actions, given.values[:-1], given.fps))
    assert short.delay == 0
    shuffled = np.random.default_rng(0).permutation(given.values)
    back = compare(given, moue.ActionCurve(given.actions, shuffled, given.fps))
    assert max(back.correlation.values()) < 0.4
