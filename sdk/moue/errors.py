"""What can go wrong, as types. A message is one line: what it got, what it wants, how to fix it."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_REASON = 200  # characters of another library's message that are worth showing
LONGEST_VALUE = 80  # of a value that makes no sense
LONGEST_NAME = 64  # of a name that others are looked for that are near it


class MoueError(Exception):
    """Anything moue refuses or fails at; `exit_code` is what the command line exits with."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # file names may hold line breaks


class PhotoError(MoueError):
    """A photo that cannot be read: missing, damaged, not an image, too small or too large."""


class NoFaceError(MoueError):
    """No face in the photo, or fewer than the one asked for."""


class ActionError(MoueError):
    """An action or expression that does not exist, or a weight that is no number or out of range."""


class CurveError(MoueError):
    """An action curve, a degree, a duration or a frame rate that makes no sense."""


class BundleError(MoueError):
    """A model folder that is missing, damaged or not what its manifest says."""


class RuntimeUnavailableError(MoueError):
    """A device or runtime that was asked for and cannot be used here."""


class VideoError(MoueError):
    """A video, camera or stream that cannot be read: missing, damaged, without pictures, too large."""


class OutputError(MoueError):
    """A place that cannot be written to."""


class UsageError(MoueError):
    """A call or command line that is wrong in itself, whatever the files hold."""

    exit_code = 2


def one_line(error: BaseException) -> str:
    """The first line of another library's error, short and printable enough to stand inside ours."""
    lines = str(error).strip().splitlines()
    line = lines[0].strip()[:LONGEST_REASON] if lines else type(error).__name__
    return line if line.isprintable() else repr(line)[1:-1]


def shown(value: object) -> str:
    """What somebody gave, as it may stand in a message: short, printable, however deep it goes."""
    try:
        return reprlib.repr(value)[:LONGEST_VALUE]
    except (ValueError, RecursionError):  # an integer of over 4300 digits
        return f"{type(value).__name__} too long to show"


def reason_of(error: BaseException) -> str:
    """The system's own word where it refused something, else the same."""
    return getattr(error, "strerror", None) or one_line(error)


def with_kind(error: BaseException) -> str:
    """The same of an error that nobody foresaw: its kind comes first."""
    return f"{type(error).__name__}: {one_line(error)}"


def suggest(name: str, known: Iterable[str]) -> str:
    """The known names nearest to a misspelt one, as the end of a message; "" when none is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(name[:LONGEST_NAME].lower(), by_lower, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(by_lower[match] for match in near)}?" if near else ""
