"""`/api/live`: the newest face wins, and a page that stands still costs one frame."""

from __future__ import annotations

import io
import json
import socket
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from moue.studio.guard import MOST
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


def test_a_stalled_page_slows_nobody(studio, key):
    with studio.live() as stalled, studio.live() as live:
        say(stalled, portrait=key, actions={"jawOpen": 1}, side=512)
        say(stalled, portrait=key, actions={"jawOpen": 0.5}, side=512)
        for frame in range(1, 6):
            say(live, portrait=key, actions={"jawOpen": frame / 5}, side=64)
            assert hear(live)[0]["frame"] == frame
            say(live, seen=frame)
