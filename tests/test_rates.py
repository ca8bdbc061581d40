from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from moue.errors import CurveError
from moue.rates import parse_fps

NAN, INF = float("nan"), float("inf")
HUGE = pytest.param(10**5000, id="huge")


@pytest.mark.parametrize(
    ("rate", "fps"),
    [
        (30, Fraction(30)),
        (30.0, Fraction(30)),
        ("30", Fraction(30)),
        (29.97, Fraction(30000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        (30000 / 1001, Fraction(30000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (np.float32(25), Fraction(25)),
        (Fraction(24000, 1001), Fraction(24000, 1001)),
    ],
)
def test_frame_rates(rate: Any, fps: Fraction) -> None:
    assert parse_fps(rate) == fps


@pytest.mark.parametrize(
    "rate", [0, -1, NAN, INF, 1e30, "", "x", "1/0", "1e999999999", None, True, [30], 1e-30, HUGE]
)
def test_wrong_frame_rates(rate: Any) -> None:
    with pytest.raises(CurveError, match="fps must be"):
        parse_fps(rate)
