"""Who is heard: the studio's own page and who holds the token, over HTTP and WebSocket alike."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from contextlib import ExitStack

import pytest

from moue.studio.guard import MOST, Guard
from tests.studio.conftest import TOKEN, wait_for

HOST = "Host: 127.0.0.1:PORT"
BEARER = f"Authorization: Bearer {TOKEN}"
KINDS = {
    "http": ("POST /api/portraits", "Content-Length: 9000000", "Expect: 100-continue"),
    "websocket": (
        "GET /api/live",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ),
}


def first_status(port: int, kind: str, headers: list[str]) -> int:
    """The status that a request's head alone is answered with."""
    what, *more = KINDS[kind]
    head = "\r\n".join([f"{what} HTTP/1.1", *more, *headers, "", ""])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.replace("PORT", str(port)).encode("latin-1"))
        with connection.makefile("rb") as answer:
            return int(answer.readline().split()[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([HOST, BEARER], None),
        (["Host: localhost:PORT", BEARER], None),
        (["Host: LocalHost:PORT", BEARER, "Origin: http://127.0.0.1:PORT"], None),
        (["Host: [::1]:PORT", BEARER, "Origin: http://[::1]:PORT"], None),
        ([HOST, f"Cookie: other=1; moue-PORT={TOKEN}"], None),
        ([HOST, f"authorization: bearer {TOKEN}", "Origin: http://localhost:PORT"], None),
        ([HOST], 401),
        ([HOST, "Authorization: Bearer "], 401),
        ([HOST, BEARER[:-1]], 401),
        ([HOST, BEARER + "x"], 401),
        ([HOST, "Authorization: Bearer \xff"], 401),
        ([HOST, f"Authorization: Basic {TOKEN}"], 401),
        ([HOST, f"Cookie: moue-1={TOKEN}"], 401),
        ([HOST, f"Cookie: xmoue-PORT={TOKEN}"], 401),
        (["Host: 127.0.0.1", BEARER], 403),
        (["Host: 127.0.0.1:1", BEARER], 403),
        (["Host: 127.0.0.1:PORT0", BEARER], 403),
        (["Host: 127.evil.com:PORT", BEARER], 403),
        (["Host: 127.0.0.1.evil.com:PORT", BEARER], 403),
        (["Host: localhost.evil.com:PORT", BEARER], 403),
        (["Host: 127.1:PORT", BEARER], 403),
        (["Host: 0.0.0.0:PORT", BEARER], 403),
        ([HOST, BEARER, "Origin: null"], 403),
        ([HOST, BEARER, "Origin: http://evil.com"], 403),
        ([HOST, BEARER, "Origin: http://127.evil.com:PORT"], 403),
        ([HOST, BEARER, "Origin: https://127.0.0.1:PORT"], 403),
        ([HOST, BEARER, "Origin: http://127.0.0.1:1"], 403),
        ([HOST, BEARER, "Origin: http://127.0.0.1"], 403),
        ([HOST, BEARER, "Origin: http://127.0.0.1:PORT.evil.com"], 403),
        ([HOST, BEARER, "Origin: http://127.0.0.1:PORT/"], 403),
        ([HOST, BEARER, "Origin: "], 403),
        ([HOST, BEARER, "Origin: http://127.0.0.1:PORT, null"], 403),
    ],
)
def test_who_is_heard_is_known_before_the_body_is_read(studio, kind, headers, status):
    let_in = {"http": 100, "websocket": 101}[kind]  # go on and send, go on and talk
    assert first_status(studio.port, kind, headers) == (status or let_in)


def test_a_request_without_a_host(studio):
    with socket.create_connection(("127.0.0.1", studio.port), timeout=30) as connection:
        connection.sendall(f"GET / HTTP/1.0\r\n{BEARER}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


def test_the_launch_token_becomes_a_cookie(studio):
    answer = studio.ask("GET", f"/?token={TOKEN}", headers={})
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert cookie == f"moue-{studio.port}={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    page = studio.ask("GET", "/", headers={"Cookie": cookie.split(";")[0]})
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"moue studio" in page.body


def test_a_ticket_lets_one_browser_in(studio):
    ticket = studio.guard.ticket = "a-ticket"
    assert studio.ask("GET", "/?ticket=other", headers={}).status == 401
    assert studio.ask("GET", f"/api/model?ticket={ticket}", headers={}).status == 401
    answer = studio.ask("GET", f"/?ticket={ticket}", headers={})
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert TOKEN in answer.headers["Set-Cookie"]
    assert studio.ask("GET", f"/?ticket={ticket}", headers={}).status == 401
    assert studio.ask("GET", "/?ticket=", headers={}).status == 401


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=%ff", "/?token=other", "/?tokens=1"])
def test_no_page_without_the_token(studio, path):
    assert studio.ask("GET", path, headers={}).status == 401


@pytest.mark.parametrize("path", ["/api/model", "/x"])
def test_the_launch_token_opens_nothing_else(studio, path):
    assert studio.ask("GET", f"{path}?token={TOKEN}", headers={}).status == 401


def test_the_page_runs_its_own_script_only(studio):
    page = studio.ask("GET", "/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for tag in (b"script", b"style"):
        (content,) = re.findall(b"<%s>(.*?)</%s>" % (tag, tag), page.body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert f"{tag.decode()}-src 'sha256-{digest}'" in policy
    assert not re.search(rb"""\b(src|href)=["']?(https?:)?//|\son\w+=|\sstyle=""", page.body)


@pytest.mark.parametrize("path", ["/", "/api/model", "/none", "/api/portraits/none/frame"])
@pytest.mark.parametrize("headers", [None, {}])
def test_headers_of_every_answer(studio, path, headers):
    answer = studio.ask("GET", path, headers=headers)
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


def test_32_requests_at_once_and_no_more(studio):
    waiting = [
        studio.begin("POST", "/api/portraits", "Content-Length: 9") for _ in range(MOST["http"])
    ]
    try:
        wait_for(lambda: studio.guard.busy["http"] == MOST["http"])
        assert studio.ask("GET", "/api/model").status == 503
    finally:
        for connection in waiting:
            connection.close()
    wait_for(lambda: not studio.guard.busy["http"])
    assert studio.ask("GET", "/api/model").status == 200


def test_one_too_many_waits_for_nobody(studio, key):
    go_on = threading.Event()
    with ExitStack() as stack:
        stack.callback(go_on.set)
        studio.stage._thread.submit(go_on.wait)  # so that nothing is computed
        for _ in range(MOST["http"]):
            stack.enter_context(studio.begin("GET", f"/api/portraits/{key}/frame?side=64"))
        for _ in range(MOST["websocket"]):
            live = stack.enter_context(studio.live())
            live.send(json.dumps({"portrait": key, "side": 64}))
        wait_for(lambda: studio.guard.busy == MOST)
        for kind in MOST:
            assert first_status(studio.port, kind, [HOST, BEARER]) == 503
        assert not go_on.is_set()


def test_an_unforeseen_fault_is_one_line(studio, key, monkeypatch, caplog):
    monkeypatch.setattr(studio.stage, "find", lambda key: 1 / 0)
    answer = studio.ask("GET", f"/api/portraits/{key}/frame")
    assert answer.status == 500
    assert answer.json["error"].startswith("unforeseen ZeroDivisionError")
    wait_for(lambda: caplog.records)
    assert [record.exc_info for record in caplog.records] == [None]


@pytest.mark.parametrize(("port", "allowed"), [(80, True), (8080, False)])
def test_port_80_may_go_unnamed(port, allowed):
    async def app(*_: object) -> None: ...

    assert (b"studio.local" in Guard(app, TOKEN, "Studio.local", port)._hosts) is allowed
