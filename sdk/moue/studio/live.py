"""`/api/live`: a page says what the face is to do, and gets a picture of it, again and again.

The page sends `{"portrait": ID, "actions": {"jawOpen": 0.4}, "side": PX}`; what it said last is played.
It gets `{"frame": N, "said": HOW_MANY_MESSAGES_THAT_ANSWERS, "ms": TO_MAKE_IT}` and then the frame, a
JPEG; the next one is made when it has sent `{"seen": N}`. So a page that stands still costs one frame.
What cannot be played is answered with `{"error": ONE_LINE}` and changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from moue.errors import MoueError, shown
from moue.studio.pictures import encoded
from moue.studio.refusal import Refusal
from moue.studio.stage import Sitter, Stage

LEAST_SIDE, MOST_SIDE = 64, 4096  # px, of a live picture


@dataclass
class Said:
    """What a page has said so far: what is to be played next, if anything, and what it has seen."""

    count: int = 0
    newest: dict[str, Any] | MoueError | None = None
    waiting_for: int | None = None  # the frame that it must have seen before it gets another
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, text: str) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict) and "seen" in message:
            if message["seen"] == self.waiting_for:
                self.waiting_for = None
        elif isinstance(message, dict):
            self.count, self.newest = self.count + 1, message
        else:
            self.newest = Refusal(400, 'say {"portrait": …, "actions": {…}, "side": 512}, in JSON')
        self.changed.set()

    async def next(self) -> dict[str, Any] | MoueError:
        """What is to be answered now."""
        while self.newest is None or (
            self.waiting_for is not None and not isinstance(self.newest, MoueError)
        ):
            self.changed.clear()
            await self.changed.wait()
        newest, self.newest = self.newest, None
        return newest


async def play(socket: WebSocket, stage: Stage) -> None:
    """Keeps one connection until it closes."""
    await socket.accept()
    said = Said()
    tasks = [asyncio.ensure_future(work(socket, said, stage)) for work in (_hear, _show)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with suppress(WebSocketDisconnect):
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended


async def _hear(socket: WebSocket, said: Said, _: Stage) -> None:
    while (message := await socket.receive())["type"] == "websocket.receive":
        said.hear(message.get("text") or "")


async def _show(socket: WebSocket, said: Said, stage: Stage) -> None:
    frame = 0
    while True:
        wanted, count = await said.next(), said.count
        try:
            if isinstance(wanted, MoueError):
                raise wanted
            start = time.perf_counter()
            picture = await _picture(wanted, stage)
            milliseconds = round(1000 * (time.perf_counter() - start), 1)
        except MoueError as error:
            await socket.send_json({"error": str(error)})
            continue
        said.waiting_for = frame = frame + 1
        await socket.send_json({"frame": frame, "said": count, "ms": milliseconds})
        await socket.send_bytes(picture)


async def _picture(wanted: dict[str, Any], stage: Stage) -> bytes:
    sitter, actions, side = asked_for(wanted, stage)
    return await asyncio.to_thread(encoded, await stage.frame(sitter, actions, side), "jpeg")


def asked_for(wanted: dict[str, Any], stage: Stage) -> tuple[Sitter, dict[str, Any], int]:
    """Whose face, its weights by name, which its frame is to check, and its pixels a side."""
    actions, side = wanted.get("actions", {}), wanted.get("side", 720)
    if type(side) is not int or not LEAST_SIDE <= side <= MOST_SIDE:
        raise Refusal(422, f"side must be {LEAST_SIDE} … {MOST_SIDE} pixels, but got {shown(side)}")
    if not isinstance(actions, dict):
        raise Refusal(422, 'actions must be weights by name, such as {"jawOpen": 0.4}')
    return stage.find(wanted.get("portrait")), actions, side
