"""`moue studio`: opens the page, and keeps it open until Ctrl-C."""

from __future__ import annotations

import argparse
import importlib
import os
import secrets
import socket
import sys
import webbrowser
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from moue.animator import Animator
from moue.errors import OutputError, RuntimeUnavailableError, UsageError, reason_of
from moue.streams import print_line
from moue.studio.guard import App, Guard
from moue.wire.websocket import in_url

if TYPE_CHECKING:
    import uvicorn

PACKAGES = ("fastapi", "uvicorn", "websockets")
MAX_MESSAGE = 16_384  # bytes that a page may say at once; all 54 weights take 1,500
FAREWELL = 1  # s that what is being answered still has when the studio closes


def open_studio(arguments: argparse.Namespace) -> int:
    """`moue studio`: the address is taken before the model is loaded. Ctrl-C ends it well."""
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError:
            raise RuntimeUnavailableError(
                f"moue studio needs {package}: pip install {' '.join(PACKAGES)}"
            ) from None
    from moue.studio.app import studio_app
    from moue.studio.stage import MOST, Stage

    with ExitStack() as stack:
        listener = stack.enter_context(listen(arguments.host, arguments.port))
        port = listener.getsockname()[1]
        animator = stack.enter_context(
            Animator(arguments.bundle, arguments.device, arguments.runtime, arguments.threads)
        )
        stage = stack.enter_context(Stage(animator))
        if len(arguments.photo) > MOST:
            raise UsageError(f"the studio keeps {MOST} portraits; name as many photos, not more")
        for photo in arguments.photo:
            name = photo.encode("utf-8", "replace").decode()  # a file's name may be no text
            stage.keep(animator.prepare(photo, arguments.face), name, arguments.face)
        token = secrets.token_urlsafe(24)
        guard = Guard(studio_app(stage), token, arguments.host, port)
        url = f"http://{in_url(arguments.host.lower())}:{port}/"
        print_line(f"{url}?token={token}")
        if not arguments.no_browser and _has_screen():
            webbrowser.open(f"{url}?ticket={guard.ticket}")
        with suppress(KeyboardInterrupt):
            server(guard).run([listener])  # then whatever signal stopped it has its way
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A socket that is this machine's own `host`, and no wildcard, at `port`; 0 takes a free one.

    Raises:
        UsageError: the host is a wildcard.
        OutputError: it is unknown or not of this machine, or the port is taken.
    """
    try:
        named = "0.0.0.0" if host in ("", "*") else host  # as others write it
        found = socket.getaddrinfo(named, port, type=socket.SOCK_STREAM)
        *kind, _, address = found[0]
        if ip_address(address[0]).is_unspecified:
            raise UsageError(
                f"--host must be one address, but {host!r} stands for all of this machine's: the"
                " studio answers to one name alone; give the address that others will open"
            )
        listener = socket.socket(*kind)  # said to be TCP, or asyncio lets small frames wait 40 ms
        with ExitStack() as opened:
            opened.enter_context(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
            opened.pop_all()
        return listener
    except (OSError, UnicodeError) as error:
        raise OutputError(
            f"cannot listen at {host}, port {port}: {reason_of(error)};"
            " name another --host or --port"
        ) from None


def server(app: App) -> uvicorn.Server:
    """What serves an ASGI app: what there is to say, the studio says itself."""
    import uvicorn

    from moue.studio.connection import AT_ONCE, Connection

    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            backlog=AT_ONCE,
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE,
            ws_per_message_deflate=False,  # JPEGs do not shrink
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=FAREWELL,
        )
    )


def _has_screen() -> bool:
    """Whether a browser would open in a window, and not in this terminal."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, screens))
