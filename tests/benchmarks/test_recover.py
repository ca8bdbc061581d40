"""The shipped bundle plays a known performance, and its face drives: what comes back."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

import moue
from benchmarks.recover import compare, performance, recover


def test_a_known_performance_comes_back(portrait_photo):
    given = performance(5, Fraction(30))
    with moue.Animator() as animator:
        back = recover(animator, portrait_photo, given, 512)
    for name in ("jawOpen", "browInnerUp"):  # this face smiles already, and half closes its eyes
        assert back.correlation[name] > 0.85, back
    assert 0 <= back.delay <= 2


def test_a_delay_is_found_and_a_shuffled_curve_does_not_correlate():
    given = performance(10, Fraction(30))
    late = np.roll(given.values, 3, axis=0)
    back = compare(given, moue.ActionCurve(given.actions, late, given.fps))
    assert back.delay == 3
    assert min(back.correlation.values()) > 0.99
    shuffled = np.random.default_rng(0).permutation(given.values)
    back = compare(given, moue.ActionCurve(given.actions, shuffled, given.fps))
    assert max(back.correlation.values()) < 0.4
