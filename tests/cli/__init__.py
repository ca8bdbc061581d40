"""What a command came to, and what one that fails must come to."""

from __future__ import annotations

from typing import NamedTuple


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def assert_one_line(ran: Ran, code: int, words: str) -> None:
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("moue: error: ")
    assert ran.err.count("\n") == 1
    assert words in ran.err
