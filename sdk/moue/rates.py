"""Frame rates, exact: 29.97 is 30000/1001."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from moue.errors import CurveError, shown

MAX_FPS = 1000  # frames a second
RATE = re.compile(r"\d{1,9}(\.\d{1,9}|/\d{1,9})?")  # no exponents: "1e999999999" takes minutes
NTSC_RATES = (15, 24, 30, 48, 60, 120)  # 29.97 is written for 30000/1001, and so on

Rate: TypeAlias = int | float | str | Fraction


def parse_fps(rate: Rate) -> Fraction:
    """A frame rate as the fraction it means: 30, "30000/1001", and 29.97 for 30000/1001.

    Raises:
        CurveError: for anything but a number above 0 and up to 1000.
    """
    try:
        if isinstance(rate, bool):
            raise TypeError
        if isinstance(rate, str) and not RATE.fullmatch(rate):
            raise ValueError
        fps = Fraction(repr(float(rate)) if isinstance(rate, (float, np.floating)) else rate)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        fps = Fraction(0)
    for whole in NTSC_RATES:
        ntsc = Fraction(whole * 1000, 1001)
        fps = ntsc if 0 < abs(fps - ntsc) < Fraction(1, 200) else fps
    fps = fps.limit_denominator(1001)
    if not 0 < fps <= MAX_FPS:
        raise CurveError(f"fps must be a number above 0, up to {MAX_FPS}, but got {shown(rate)}")
    return fps
