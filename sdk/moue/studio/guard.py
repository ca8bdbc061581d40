"""Who may talk to the studio: it is this machine's own, whatever pages its browser has open.

Any site's page can send requests to localhost, and a name of its own may lead here (DNS rebinding).
So Host and Origin must be exactly the studio's, and only who was given the launch token is heard; all
three are judged before a byte of the body is read, for HTTP and WebSocket alike.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from moue.errors import with_kind
from moue.studio.refusal import Refusal
from moue.wire.websocket import in_url

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST = {"http": 32, "websocket": 4}  # that are served at once
HTTP_PORT = 80  # the one that a browser leaves out of Host and Origin
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

log = logging.getLogger("moue")


class Guard:
    """Lets through to an ASGI app what comes from the studio's own page, or with its token.

    Args:
        app: answers what is let through.
        token: who knows it, as a cookie or as `Authorization: Bearer`, is let in.
        host: the name or address the studio was opened at, beside this machine's own.
        port: it listens at.

    Attributes:
        ticket: lets one browser in once, in place of the token; None when it is spent. For a browser's
            command line, which everyone on the machine can read.
    """

    def __init__(self, app: App, token: str, host: str, port: int) -> None:
        self._app, self._token = app, token.encode()
        self.ticket: str | None = secrets.token_urlsafe(24)
        self._cookie = f"moue-{port}"
        names = {"127.0.0.1", "localhost", "[::1]", in_url(host.lower())}
        hosts = {f"{name}:{port}" for name in names} | (names if port == HTTP_PORT else set())
        self._hosts = {host.encode() for host in hosts}
        self._origins = {b"http://" + host for host in self._hosts}
        self.busy = dict.fromkeys(MOST, 0)  # how many are being served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in MOST:  # the server's own events
            return await self._app(scope, receive, send)
        send = _with_headers(send)
        try:
            self._judge(scope)
            if self.busy[kind] >= MOST[kind]:
                raise Refusal(503, f"{MOST[kind]} are being served already; try again")
        except Refusal as refusal:
            return await _answer(scope, send, refusal.status, {"error": str(refusal)})
        if kind == "http" and (by := self._launches(scope)):
            self.ticket = None if by == "ticket" else self.ticket
            cookie = f"{self._cookie}={self._token.decode()}; Path=/; HttpOnly; SameSite=Strict"
            return await _answer(scope, send, 303, {}, {"location": "/", "set-cookie": cookie})
        self.busy[kind] += 1
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - answered already; here it is one line, not a page
            log.warning("the studio met an unforeseen %s; please report it", with_kind(error))
        finally:
            self.busy[kind] -= 1

    def _judge(self, scope: Scope) -> None:
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise Refusal(403, "this is not the studio's address; open the one it printed")
        if any(origin not in self._origins for origin in origins):
            raise Refusal(403, "only the studio's own page may ask, not another site's")
        if not (self._launches(scope) or any(map(self._is_token, self._given(scope)))):
            raise Refusal(401, "open the studio at the address it printed, token included")

    def _launches(self, scope: Scope) -> str:
        """`token` or `ticket` if this is `GET /?…=…` with it, which a browser is first sent to."""
        if (scope["type"], scope["path"], scope.get("method")) != ("http", "/", "GET"):
            return ""
        asked = parse_qs(scope["query_string"].decode("latin-1"), encoding="latin-1")
        known = {"token": self._token, "ticket": (self.ticket or "").encode()}
        for name, secret in known.items():
            for given in asked.get(name, []):
                if secret and secrets.compare_digest(given.encode("latin-1"), secret):
                    return name
        return ""

    def _given(self, scope: Scope) -> list[bytes]:
        """Every token that the headers hold."""
        bearers = [
            value[7:]
            for value in _values(scope, b"authorization")
            if value[:7].lower() == b"bearer "
        ]
        crumbs = (part.strip() for line in _values(scope, b"cookie") for part in line.split(b";"))
        name = self._cookie.encode() + b"="
        return bearers + [crumb.removeprefix(name) for crumb in crumbs if crumb.startswith(name)]

    def _is_token(self, given: bytes) -> bool:
        return secrets.compare_digest(given, self._token)


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key.lower() == name]


def _with_headers(send: Send) -> Send:
    """Adds `HEADERS` to every answer that does not have its own."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            given = {key.decode().lower() for key, _ in message.get("headers", [])}
            added = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k not in given]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return send_with_headers


async def _answer(
    scope: Scope, send: Send, status: int, content: object, headers: dict[str, str] | None = None
) -> None:
    """A whole answer that leaves the request's body unread, and so parts with the connection."""
    start = "http.response" if scope["type"] == "http" else "websocket.http.response"
    body = json.dumps(content).encode()
    named = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **(headers or {}),
    }
    pairs = [(key.encode(), value.encode()) for key, value in named.items()]
    await send({"type": f"{start}.start", "status": status, "headers": pairs})
    await send({"type": f"{start}.body", "body": body})
