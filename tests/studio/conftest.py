"""A real studio on a port of its own, with the tiny bundle, and ways to talk to it."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from moue.studio.app import studio_app
from moue.studio.command import listen, server
from moue.studio.guard import Guard
from moue.studio.stage import Stage

TOKEN = "the-token"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def picture(self) -> NDArray[np.uint8]:
        return np.asarray(Image.open(io.BytesIO(self.body)))


@dataclass
class Studio:
    port: int
    stage: Stage
    guard: Guard
    serving: uvicorn.Server

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request with the token, unless `headers` says otherwise; a dict goes as JSON."""
        body = json.dumps(body) if isinstance(body, dict) else body
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {"Authorization": f"Bearer {TOKEN}"} if headers is None else headers
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def refusal(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Status and line of an answer that must be an error."""
        answer = self.ask(method, path, body)
        assert list(answer.json) == ["error"]
        line = answer.json["error"]
        assert "\n" not in line
        assert "Traceback" not in line
        return answer.status, line

    def begin(self, method: str, path: str, *headers: str) -> socket.socket:
        """A connection on which a request's head was sent, with the token, and no body."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        lines = (f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *headers)
        head = "\r\n".join((*lines, f"Authorization: Bearer {TOKEN}", "", ""))
        connection.sendall(head.encode())
        return connection

    def live(self) -> ClientConnection:
        return connect(
            f"ws://127.0.0.1:{self.port}/api/live",
            additional_headers={"Authorization": f"Bearer {TOKEN}"},
            proxy=None,
        )

    def still(self, key: str, query: str = "") -> NDArray[np.uint8]:
        return self.ask("GET", f"/api/portraits/{key}/frame?{query}").picture


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


@pytest.fixture(scope="module")  # gone before the tests that set the clock, which its loop goes by
def opened(animator) -> Iterator[Studio]:
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    with Stage(animator) as stage:
        guard = Guard(studio_app(stage), TOKEN, "127.0.0.1", port)
        serving = server(guard)
        thread = threading.Thread(target=serving.run, args=([listener],))
        thread.start()
        wait_for(lambda: serving.started)
        yield Studio(port, stage, guard, serving)
        serving.should_exit = True
        thread.join()


@pytest.fixture
def studio(opened) -> Iterator[Studio]:
    """With no portrait open; whatever a test began is over when it ends."""
    opened.stage.sitters.clear()
    yield opened
    wait_for(lambda: not any(opened.guard.busy.values()))


@pytest.fixture
def key(studio, portrait) -> str:
    """The id of the astronaut."""
    return studio.stage.keep(portrait, "astronaut.png")
