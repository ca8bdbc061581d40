"""Whoever connects and says nothing, or says it slowly, keeps nobody out."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from moue.studio import connection
from tests.studio.conftest import wait_for

SMALL = """
import resource
from moue.studio.command import listen, server

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
with listen("127.0.0.1", 0) as listener:
    print(listener.getsockname()[1], flush=True)
    server(app).run([listener])
"""
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def silent(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def is_over(connection: socket.socket) -> bool:
    connection.settimeout(30)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def is_open(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def test_hundreds_who_say_nothing_keep_nobody_out():
    code = [sys.executable, "-c", SMALL]
    with (
        subprocess.Popen(
            code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout is not None
        port = int(process.stdout.readline())
        mute = [stack.enter_context(silent(port)) for _ in range(300)]
        for _ in range(3):
            with silent(port) as asking:
                asking.sendall(GET)
                assert asking.recv(100).startswith(b"HTTP/1.1 204")
        over = mute[: -connection.MOST]
        assert all(map(is_over, over))
        process.terminate()
        assert process.communicate(timeout=30)[1] == ""


def test_with_one_too_many_the_one_goes_that_said_nothing_longest(studio, key, monkeypatch):
    monkeypatch.setattr(connection, "MOST", 4)
    with ExitStack() as stack:
        live = stack.enter_context(studio.live())
        sending = stack.enter_context(studio.begin("POST", "/api/portraits", "Content-Length: 9"))
        wait_for(lambda: sum(studio.guard.busy.values()) == 2)
        first, second, third = (stack.enter_context(silent(studio.port)) for _ in range(3))
        assert is_over(first)
        assert studio.ask("GET", "/api/model").status == 200
        assert is_over(second)
        assert is_open(third)
        sending.sendall(b"no photo!")
        assert sending.recv(100).startswith(b"HTTP/1.1 415")
        live.send("{}")
        assert "error" in str(live.recv(timeout=30))


def test_where_all_have_said_what_they_want_the_next_is_turned_away(studio, monkeypatch):
    monkeypatch.setattr(connection, "MOST", 3)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(studio.begin("POST", "/api/portraits", "Content-Length: 9"))
        wait_for(lambda: studio.guard.busy["http"] == 3)
        assert is_over(stack.enter_context(silent(studio.port)))


@pytest.mark.parametrize("head", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: "], ids=len)
def test_a_head_that_does_not_come(studio, monkeypatch, head):
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    with silent(studio.port) as waiting:
        waiting.sendall(head)
        assert is_over(waiting)
    wait_for(lambda: not studio.serving.server_state.connections)


def test_a_head_that_trickles(studio, monkeypatch):
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    with silent(studio.port) as waiting:
        for byte in GET[:-1]:
            waiting.sendall(bytes([byte]))
            time.sleep(0.02)
            if not is_open(waiting):
                return
    pytest.fail("the whole head could be sent")


def test_what_has_begun_may_take_its_time(studio, key, monkeypatch):
    monkeypatch.setattr(connection, "PATIENCE", 0.5)
    with ExitStack() as stack:
        live = stack.enter_context(studio.live())
        sending = stack.enter_context(studio.begin("POST", "/api/portraits", "Content-Length: 9"))
        idle = stack.enter_context(studio.begin("DELETE", "/api/portraits/none"))
        answer = b""
        while not answer.endswith(b"}"):
            answer += idle.recv(1000)
        time.sleep(1)
        assert is_open(idle)
        live.send("{}")
        assert "error" in str(live.recv(timeout=30))
        sending.sendall(b"no photo!")
        assert sending.recv(100).startswith(b"HTTP/1.1 415")
        idle.sendall(b"GET /")  # and no more: this is the head of another
        assert is_over(idle)
