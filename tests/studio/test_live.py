"""`/api/live`: the newest face wins, and a page that stands still costs one frame."""

from __future__ import annotations

import io
import json
import socket
from contextlib import ExitStack
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection

from moue.studio import pictures
from moue.studio.guard import MOST
from moue.studio.live import Said
from tests.studio.conftest import wait_for


def say(connection: ClientConnection, **message: Any) -> None:
    connection.send(json.dumps(message))


def hear(connection: ClientConnection) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """A frame, and what is said of it."""
    told = json.loads(connection.recv(timeout=30))
    assert "error" not in told
    picture = connection.recv(timeout=30)
    assert isinstance(picture, bytes)
    return told, np.asarray(Image.open(io.BytesIO(picture)))


def test_the_newest_wins_and_nothing_comes_unseen(studio, key):
    with studio.live() as live:
        say(live, portrait=key, actions={}, side=256)
        told, rest = hear(live)
        assert (told["frame"], told["said"], told["ms"] > 0) == (1, 1, True)
        assert rest.shape == (256, 256, 3)
        for k in range(1, 51):
            say(live, portrait=key, actions={"jawOpen": k / 50}, side=256)
        say(live, seen=99)  # no such frame
        with pytest.raises(TimeoutError):
            live.recv(timeout=0.3)
        say(live, seen=1)
        told, newest = hear(live)
        assert (told["frame"], told["said"]) == (2, 51)
        wanted = studio.still(key, "action=jawOpen=1&side=256&format=jpeg")
        np.testing.assert_array_equal(newest, wanted)
        assert (newest != rest).any()
        say(live, seen=2)
        with pytest.raises(TimeoutError):
            live.recv(timeout=0.1)  # nothing new was said


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ('{"portrait": KEY, "actions": {"jawOpen": NaN}}', "'jawOpen' must be"),
        ('{"portrait": KEY, "actions": {"jawOpen": -Infinity}}', "'jawOpen' must be"),
        ('{"portrait": KEY, "actions": {"jawOpen": 1e999}}', "'jawOpen' must be"),
        ('{"portrait": KEY, "actions": {"jawOpen": "1"}}', "'jawOpen' must be"),
        ('{"portrait": KEY, "actions": {"jaw": 1}}', "unknown action 'jaw'"),
        ('{"portrait": KEY, "actions": [1]}', "weights by name"),
        ('{"portrait": KEY, "side": 1e9}', "side must be"),
        ('{"portrait": KEY, "side": 9}', "side must be"),
        ('{"portrait": KEY, "side": true}', "side must be"),
        ('{"portrait": KEY, "side": "\\ud800"}', "but got '\\ud800'"),
        ('{"portrait": KEY, "side": ' + "[" * 960 + "]" * 960 + "}", "but got [[["),
        ('{"portrait": KEY, "actions": {"jawOpen": "\\ud800\\u001b"}}', "got '\\ud800\\x1b'"),
        ('{"portrait": KEY, "actions": {"\\ud800": 1}}', "unknown action '\\ud800'"),
        ('{"portrait": "\\ud800"}', "no such portrait"),
        ('{"portrait": "../x"}', "no such portrait"),
        ('{"portrait": [1]}', "no such portrait"),
        ("{}", "no such portrait"),
        ("[1]", "in JSON"),
        ("[" * 9000, "in JSON"),
        ("", "in JSON"),
        ("{'a': 1}", "in JSON"),
        (b"\xff\x00", "in JSON"),
    ],
)
def test_nonsense_is_named_and_changes_nothing(studio, key, message, words):
    with studio.live() as live:
        say(live, portrait=key, actions={"jawOpen": 0.5}, side=64)
        _, before = hear(live)
        live.send(message if isinstance(message, bytes) else message.replace("KEY", f'"{key}"'))
        say(live, seen=1)
        told = json.loads(live.recv(timeout=30))
        assert (list(told), words in told["error"]) == (["error"], True), told
        say(live, portrait=key, actions={"jawOpen": 0.5}, side=64)
        np.testing.assert_array_equal(hear(live)[1], before)


def test_a_message_that_is_too_long_ends_the_connection(studio, key):
    with studio.live() as live:
        live.send("x" * 20_000)
        with pytest.raises(ConnectionClosed):
            live.recv(timeout=30)


def test_four_connections_and_those_that_vanish_leave_nothing(studio, key, caplog):
    with ExitStack() as stack:
        lives = [stack.enter_context(studio.live()) for _ in range(MOST["websocket"])]
        with pytest.raises(InvalidStatus) as refused:
            stack.enter_context(studio.live())
        assert refused.value.response.status_code == 503
        for k, live in enumerate(lives):  # in the middle of what they were doing
            for _ in range(k):
                say(live, portrait=key, actions={"jawOpen": 1}, side=512)
            live.socket.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: studio.guard.busy["websocket"] == 0)
        with studio.live() as live:
            say(live, portrait=key, side=64)
            assert hear(live)[1].shape == (64, 64, 3)
    assert [record.getMessage() for record in caplog.records] == []


def text(**message: Any) -> bytes:
    return Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)


def test_what_waits_for_a_stalled_page_is_two_frames(studio, key, monkeypatch):
    """Of one that reads nothing, and says that it has seen it."""
    sizes: list[int] = []  # of the pictures that were made for it
    heard: list[str] = []

    def counted(frame: NDArray[np.uint8], kind: str) -> bytes:
        sizes.append(len(file := pictures.encoded(frame, kind)))
        return file

    def hear(said: Said, message: str) -> None:
        original(said, message)
        heard.append(message)

    original = Said.hear
    monkeypatch.setattr(Said, "hear", hear)
    monkeypatch.setattr("moue.studio.live.encoded", counted)
    picture = text(portrait=key, actions={"jawOpen": 1}, side=512)
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    given = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    with studio.begin("GET", "/api/live", *upgrade, given) as page:
        assert page.recv(1000).startswith(b"HTTP/1.1 101")
        (protocol,) = studio.serving.server_state.connections
        waiting = protocol.transport.get_write_buffer_size
        for end, size in (
            (protocol.transport.get_extra_info("socket"), SO_SNDBUF),
            (page, SO_RCVBUF),
        ):
            end.setsockopt(SOL_SOCKET, size, 1 << 16)  # or the kernel takes megabytes
        while waiting() <= HIGH_WATER_LIMIT:
            made = len(sizes)
            page.sendall(picture)
            wait_for(lambda: len(sizes) > made or waiting() > HIGH_WATER_LIMIT)  # noqa: B023
            page.sendall(text(seen=len(sizes)))
        made = len(sizes)
        for count in range(100):
            asked = {"portrait": key, "side": 512} if count < 50 else {"side": "nonsense"}
            page.sendall(text(seen=len(sizes)) + text(count=count, **asked))
            wait_for(lambda: f'"count": {count},' in heard[-1])  # noqa: B023
        assert len(sizes) <= made + 1
        assert waiting() < HIGH_WATER_LIMIT + max(sizes) + 1000


def test_a_stalled_page_slows_nobody(studio, key):
    with studio.live() as stalled, studio.live() as live:
        say(stalled, portrait=key, actions={"jawOpen": 1}, side=512)
        say(stalled, portrait=key, actions={"jawOpen": 0.5}, side=512)
        for frame in range(1, 6):
            say(live, portrait=key, actions={"jawOpen": frame / 5}, side=64)
            assert hear(live)[0]["frame"] == frame
            say(live, seen=frame)
