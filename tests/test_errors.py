from __future__ import annotations

import inspect

import pytest

from moue import errors
from moue.errors import LONGEST_REASON, MoueError, UsageError, one_line, suggest

KINDS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and kind.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_moue_error_with_an_exit_code(kind: type[MoueError]) -> None:
    assert issubclass(kind, MoueError)
    assert kind("x").exit_code == (2 if kind is UsageError else 1)


def test_a_message_is_one_line() -> None:
    assert str(MoueError("a\nfile.jpg is missing")) == "a file.jpg is missing"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "first"),
        (ValueError("  \n padded \n"), "padded"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 1000), "x" * LONGEST_REASON),
    ],
)
def test_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


@pytest.mark.parametrize(
    ("name", "end"),
    [("hapy", "; did you mean happy?"), ("HAPPY", "; did you mean happy?"), ("zzz", "")],
)
def test_suggest(name: str, end: str) -> None:
    assert suggest(name, ["happy", "sad"]) == end
