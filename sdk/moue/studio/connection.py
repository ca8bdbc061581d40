"""A connection to the studio: it says soon what it wants, and there are not too many of them.

`Guard` counts requests, whose heads have come; this counts whoever connects, with the token or without.
Each takes one of the few files that a process may have open, 256 in some systems.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 100  # that are open, those of live pages among them
AT_ONCE = 32  # that are taken up before any is judged
PATIENCE = 10.0  # s for the head of a request


class Connection(H11Protocol):
    """uvicorn's own, which would wait for a request's head for ever, and for as many as there come.

    Where there is one too many, the one that has waited longest goes: who says nothing keeps nobody
    out. Between requests uvicorn's timeout applies, and after an upgrade that of its WebSockets.
    """

    waiting: asyncio.TimerHandle | None = None  # for a head, until then

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MOST:
            silent = {
                each: each.waiting.when()
                for each in self.connections
                if isinstance(each, Connection) and each.waiting
            }
            min(silent, key=silent.__getitem__)._leave()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._wait_no_more()
        elif self.waiting is None:  # it has begun the next head
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self.waiting = self.loop.call_later(PATIENCE, self._leave)

    def _wait_no_more(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    def _leave(self) -> None:
        self._wait_no_more()
        self.transport.abort()
