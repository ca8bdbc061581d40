"""Actions on the wire: one JSON object a frame, as `moue track` sends and `moue live` plays them.

    {"moue": 1, "time": 1795170202.92, "frame": 17, "confidence": 1.0,
     "pose": {"yaw": 2.1, "pitch": -4.0, "roll": 0.3}, "actions": {"jawOpen": 0.3125, …}}

| field | what |
|---|---|
| `moue` | the version of this form, 1 |
| `time` | when the frame was taken, seconds since 1970 UTC by the sender's clock |
| `frame` | counts frames, those without a face too; a gap is a frame dropped on the way |
| `confidence` | 0 … 1; how surely a face is followed; the actions ease to 0 with it |
| `pose` | degrees, towards the subject's left, up, and the left shoulder; null without a face |
| `actions` | weight in [0, 1] by ARKit name; one that is left out is 0 |

A line is one such object, one datagram is one line. A receiver needs `moue` and `actions` alone and
ignores fields and actions it does not know. No picture and no landmark is ever sent.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS, strict_json
from moue.errors import OutputError, UsageError, VideoError, one_line
from moue.tracking import Tracked

VERSION = 1
MAX_LINE = 16_384  # bytes

Sender = Callable[[str], None]


@dataclass(frozen=True)
class Received:
    """One line: the weights float32 [51] over `moue.actions.ACTIONS`, and the sender's confidence."""

    weights: NDArray[np.float32]
    confidence: float


def encode(weights: NDArray[np.float32], tracked: Tracked, frame: int, taken: float) -> str:
    """One line, without its end.

    Args:
        weights: float32 [51] over `moue.actions.ACTIONS`.
        tracked: what they were read from.
        frame: which.
        taken: seconds since 1970.
    """
    pose = tracked.pose and {name: round(angle, 1) for name, angle in vars(tracked.pose).items()}
    moving = {
        name: round(weight, 4)
        for name, weight in zip(ACTIONS, weights.tolist(), strict=True)
        if weight >= 0.00005
    }
    line = {
        "moue": VERSION,
        "time": round(taken, 4),
        "frame": frame,
        "confidence": round(tracked.confidence, 3),
        "pose": pose,
        "actions": moving,
    }
    return json.dumps(line, separators=(",", ":"))


def decode(line: bytes) -> Received:
    """The actions of one line.

    Raises:
        ValueError: it is not of the form above, or a weight is not a number in [0, 1].
    """
    if len(line) > MAX_LINE:
        raise ValueError(f"a line has at most {MAX_LINE} bytes")
    fields = strict_json(line)
    if not isinstance(fields, dict) or fields.get("moue") != VERSION:
        raise ValueError('a line must be {"moue": 1, "actions": {…}, …}')
    actions = fields.get("actions")
    if not isinstance(actions, dict):
        raise ValueError("actions must be weights by name")
    weights = [_weight(actions.get(name, 0), name) for name in ACTIONS]
    return Received(
        np.array(weights, np.float32), _weight(fields.get("confidence", 1), "confidence")
    )


@contextmanager
def sender(target: str) -> Iterator[Sender]:
    """What sends a line to `-` (standard output) or `udp://HOST:PORT`.

    Raises:
        UsageError: the target is neither.
        OutputError: the host is unknown.
    """
    if target == "-":
        yield _print
        return
    host, port = udp_address(target)
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        out = socket.socket(family, kind)
    except OSError as error:
        raise OutputError(f"cannot send to {target}: {error.strerror}") from None

    def send(line: str) -> None:
        with suppress(OSError):  # nobody there yet: as with any datagram
            out.sendto(line.encode() + b"\n", address)

    with out:
        yield send


def receive(source: str, complain: Callable[[str], None]) -> Generator[Received, None, None]:
    """Actions as they arrive at `-` (standard input) or `udp://HOST:PORT`.

    Args:
        source: where; a UDP host is this machine's own address to listen on, such as 0.0.0.0.
        complain: is told of the first line that makes no sense; those are passed over.
    """
    told = False
    for line in _lines(sys.stdin.buffer) if source == "-" else _datagrams(source):
        try:
            yield decode(line)
        except ValueError as error:
            if not told:
                complain(f"a line from {source} is passed over: {one_line(error)}")
            told = True


def udp_address(target: str) -> tuple[str, int]:
    """Host and port of `udp://HOST:PORT`; UsageError for anything else."""
    try:
        parts = urlsplit(target)
        if parts.scheme == "udp" and parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise UsageError(f"must be - or udp://HOST:PORT, but got {target!r}")


def _lines(stream: BinaryIO) -> Generator[bytes, None, None]:
    while line := stream.readline(MAX_LINE + 1):
        yield line


def _datagrams(source: str) -> Generator[bytes, None, None]:
    host, port = udp_address(source)
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as incoming:
            incoming.bind(address)
            while True:
                yield incoming.recv(MAX_LINE + 1)
    except OSError as error:
        raise VideoError(f"cannot listen at {source}: {error.strerror}") from None


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _weight(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number in [0, 1], but got {str(value)[:40]}")
    return float(value)


def unix_time(monotonic: float) -> float:
    """A moment on `time.monotonic()`'s clock in seconds since 1970."""
    return monotonic + time.time() - time.monotonic()
