"""Lines over WebSocket, by the websockets package: who tracks listens, who plays connects."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import re
import threading
from collections.abc import Generator
from contextlib import suppress
from typing import Any

from moue.errors import OutputError, RuntimeUnavailableError, VideoError, one_line
from moue.files import Closing
from moue.wire.sample import MAX_BYTES

MOST = 16  # that may be connected
OPEN, PING, FAREWELL = 3.0, 5.0, 0.5  # s to answer when opening, being asked, and parting
# A browser says whose page is asking. Pages of this machine may read a face here; no other site's.
WHO = (None, re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?\Z"))
SILENT = logging.Logger("websockets", logging.CRITICAL + 1)  # what matters is said here
LIMITS: dict[str, Any] = {
    "open_timeout": OPEN,
    "ping_interval": PING,
    "ping_timeout": PING,
    "close_timeout": FAREWELL,
    "max_size": MAX_BYTES,
    "compression": None,
    "logger": SILENT,
}


class Server(Closing):
    """Gives everyone who connects the newest line, in a thread of its own.

    A reader that is slow or stands still gets fewer lines; no one waits for it, and what waits for it
    is one line and the little that its connection holds.

    Args:
        host: this machine's own address to listen on.
        port: there.

    Raises:
        RuntimeUnavailableError: the websockets package is not installed.
        OutputError: it cannot listen there.
    """

    def __init__(self, host: str, port: int) -> None:
        self._serve = import_websockets("asyncio.server").serve
        self._closed: type[Exception] = import_websockets("exceptions").ConnectionClosed
        self._line: str | None = None
        self._changed = asyncio.Event()
        self._connected = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"moue: ws://{host}:{port}", daemon=True
        )
        self._thread.start()
        try:
            self._server = self._in_its_thread(self._listen(host, port))
        except OSError as error:
            self._end()
            raise OutputError(f"cannot listen at ws://{host}:{port}: {_reason(error)}") from None

    def send(self, line: bytes) -> None:
        """Makes this the newest line; never waits."""
        self._loop.call_soon_threadsafe(self._publish, line.decode())

    def close(self) -> None:
        """Takes leave of everyone."""
        self._in_its_thread(self._leave())
        self._end()

    async def _listen(self, host: str, port: int) -> Any:
        return await self._serve(
            self._give, host, port, origins=WHO, max_queue=1, write_limit=MAX_BYTES, **LIMITS
        )

    async def _give(self, connection: Any) -> None:
        """Keeps one connection until it closes; what it has to say is not read."""
        if self._connected >= MOST:
            await connection.close(1013, f"{MOST} are connected already")
            return
        self._connected += 1
        sending = asyncio.ensure_future(self._send_to(connection))
        try:
            await connection.wait_closed()
        finally:
            self._connected -= 1
            sending.cancel()

    async def _send_to(self, connection: Any) -> None:
        sent: str | None = None
        with suppress(self._closed):
            while True:
                while self._line is sent:
                    await self._changed.wait()
                sent = self._line
                await connection.send(sent)

    def _publish(self, line: str) -> None:
        self._line = line
        self._changed.set()
        self._changed = asyncio.Event()

    async def _leave(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _in_its_thread(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def listen(host: str, port: int) -> Generator[bytes, None, None]:
    """Messages of a `Server`, as they come, until the connection is lost.

    Raises:
        RuntimeUnavailableError: the websockets package is not installed.
        VideoError: nobody answers there, or the connection is lost.
    """
    connect = import_websockets("asyncio.client").connect
    refused: type[Exception] = import_websockets("exceptions").WebSocketException
    url = f"ws://{in_url(host)}:{port}"

    async def opened() -> Any:
        return await connect(url, proxy=None, **LIMITS)

    loop = asyncio.new_event_loop()  # run in this thread, message by message
    connection = None
    try:
        connection = loop.run_until_complete(opened())
        while True:
            yield loop.run_until_complete(connection.recv(decode=False))
    except (OSError, refused) as error:
        raise VideoError(f"cannot hear {url}: {_reason(error)}") from None
    finally:
        if connection is not None:
            loop.run_until_complete(connection.close())
        loop.close()


def in_url(host: str) -> str:
    """A host's name or address as a URL has it."""
    return f"[{host}]" if ":" in host else host


def import_websockets(part: str) -> Any:
    """A part of the websockets package; RuntimeUnavailableError where it is not installed."""
    try:
        return importlib.import_module(f"websockets.{part}")
    except ImportError:
        raise RuntimeUnavailableError(
            "ws:// needs the websockets package: pip install websockets"
        ) from None


def _reason(error: Exception) -> str:
    """What went wrong, without the addresses that asyncio puts before it."""
    known = isinstance(error, OSError) and error.errno is not None and error.errno > 0
    return os.strerror(error.errno) if known else one_line(error)  # type: ignore[attr-defined]
