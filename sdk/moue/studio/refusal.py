"""What the studio refuses, with the HTTP status that says so."""

from __future__ import annotations

from moue.errors import BundleError, MoueError, RuntimeUnavailableError


class Refusal(MoueError):
    """A request that is refused; `status` is the HTTP status of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def status_of(error: MoueError) -> int:
    """The HTTP status that any of moue's errors is answered with."""
    if isinstance(error, Refusal):
        return error.status
    return 503 if isinstance(error, (BundleError, RuntimeUnavailableError)) else 422
