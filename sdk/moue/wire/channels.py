"""Where samples go and come from: standard output and input, datagrams, WebSockets."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

from moue.errors import OutputError, UsageError, VideoError, one_line
from moue.streams import print_line
from moue.wire import lines, osc, websocket
from moue.wire.sample import MAX_BYTES, Received, Sample

SCHEMES = ("udp", "osc", "ws")

Sender = Callable[[Sample], None]


@dataclass(frozen=True)
class Place:
    """A target, taken apart; for `-` the scheme alone."""

    target: str
    scheme: str
    host: str = ""
    port: int = 0


def check_target(target: str) -> Place:
    """`-`, `udp://HOST:PORT`, `osc://HOST:PORT` or `ws://HOST:PORT`, taken apart.

    Raises:
        UsageError: it is none of these.
        RuntimeUnavailableError: it is ws:// and the websockets package is not installed.
    """
    if target == "-":
        return Place(target, "-")
    try:
        parts = urlsplit(target)
        if (
            parts.scheme in SCHEMES
            and parts.hostname
            and parts.port
            and target.rstrip("/") == f"{parts.scheme}://{parts.netloc}"
        ):
            parts.hostname.encode("idna")  # UnicodeError, a ValueError, for what is no host's name
            if parts.scheme == "ws":
                websocket.import_websockets("asyncio")
            return Place(target, parts.scheme, parts.hostname, parts.port)
    except ValueError:
        pass
    raise UsageError(
        f"must be -, udp://HOST:PORT, osc://HOST:PORT or ws://HOST:PORT, but got {target!r}"
    )


@contextmanager
def sender(target: str) -> Iterator[Sender]:
    """What sends a sample to a target, and never waits for whoever reads there.

    Args:
        target: as `check_target` takes it. For ws://, this machine's own address: it listens.

    Raises:
        OutputError: the host is unknown, or it cannot listen there.
    """
    place = check_target(target)
    if place.scheme == "-":
        yield lambda sample: print_line(lines.encode(sample).decode())
    elif place.scheme == "ws":
        with websocket.Server(place.host, place.port) as server:
            yield lambda sample: server.send(lines.encode(sample))
    else:
        encode = osc.encode if place.scheme == "osc" else lines.encode
        try:
            family, kind, address = _resolved(place)
            out = socket.socket(family, kind)
        except OSError as error:
            raise OutputError(f"cannot send to {target}: {error.strerror}") from None

        def send(sample: Sample) -> None:
            with suppress(OSError):  # nobody there yet: as with any datagram
                out.sendto(encode(sample), address)

        with out:
            yield send


def receive(source: str, complain: Callable[[str], None]) -> Generator[Received, None, None]:
    """Samples as they arrive.

    Args:
        source: as `check_target` takes it. For datagrams, this machine's own address to listen on,
            such as 0.0.0.0.
        complain: is told of the first message that makes no sense; those are passed over.

    Raises:
        VideoError: it cannot listen there, or nobody answers, or the connection is lost.
    """
    place = check_target(source)
    decode = osc.decode if place.scheme == "osc" else lines.decode
    told = False
    for message in _messages(place):
        try:
            yield decode(message)
        except ValueError as error:
            if not told:
                complain(f"a message from {source} is passed over: {one_line(error)}")
            told = True


def _messages(place: Place) -> Iterable[bytes]:
    if place.scheme == "-":
        return _lines(os.fdopen(sys.stdin.fileno(), "rb", closefd=False))
    if place.scheme == "ws":
        return websocket.listen(place.host, place.port)
    return _datagrams(place)


def _lines(stream: BinaryIO) -> Generator[bytes, None, None]:
    """Lines of a stream of its own: Python, at its end, aborts where a thread still reads sys.stdin."""
    while line := stream.readline(MAX_BYTES + 1):
        yield line


def _datagrams(place: Place) -> Generator[bytes, None, None]:
    try:
        family, kind, address = _resolved(place)
        with socket.socket(family, kind) as incoming:
            incoming.bind(address)
            while True:
                yield incoming.recv(MAX_BYTES + 1)
    except OSError as error:
        raise VideoError(f"cannot listen at {place.target}: {error.strerror}") from None


def _resolved(place: Place) -> tuple[int, int, tuple[object, ...]]:
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_DGRAM)
    family, kind, _, _, address = found[0]
    return family, kind, address
