"""`moue studio` as it is typed: what it refuses, what it prints, how it ends."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from PIL import Image

from moue import cli
from moue.studio import command
from tests.cli import Ran, assert_one_line


@pytest.fixture
def moue(capfd, tiny_bundle):
    def run(*argv: object) -> Ran:
        words = ["studio", "--bundle", tiny_bundle, "--threads", 1, *argv]
        code = cli.main([str(word) for word in words])
        return Ran(code, *capfd.readouterr())

    return run


def test_help(moue):
    ran = moue("--help")
    assert (ran.code, ran.err) == (0, "")
    out = " ".join(ran.out.split())
    for words in (" moue studio photo.jpg", "[PHOTO ...]", "(default: 127.0.0.1", "8000", "-v"):
        assert words in out


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--host", "0.0.0.0"], 2, "--host must be one address"),
        (["--host", "::"], 2, "--host must be one address"),
        (["--host", "0"], 2, "--host must be one address"),
        (["--host", "*"], 2, "--host must be one address"),
        (["--host", ""], 2, "--host must be one address"),
        (["--host", "nowhere.invalid"], 1, "cannot listen at nowhere.invalid"),
        (["--host", "192.0.2.1", "--port", "0"], 1, "cannot listen at 192.0.2.1"),
        (["--port", "65536"], 2, "must be a port from 0 to 65535"),
        (["--port", "-1"], 2, "must be a port"),
        (["--port", "http"], 2, "must be a port"),
        (["none.jpg", "--port", "0"], 1, "No such file"),
    ],
)
def test_refusals(moue, argv, code, words):
    assert_one_line(moue(*argv), code, words)


def test_a_port_in_use(moue):
    with command.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        words = f"cannot listen at 127.0.0.1, port {port}: Address already in use"
        assert_one_line(moue("--port", port), 1, words)


def test_connections_send_at_once():
    with command.listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # what asyncio turns Nagle's algorithm off for


@pytest.mark.parametrize("package", command.PACKAGES)
def test_without_the_extra(moue, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert_one_line(moue(), 1, f"needs {package}: pip install fastapi uvicorn websockets")


@pytest.mark.parametrize(
    ("options", "display", "opens"),
    [([], ":0", True), ([], "", False), (["--no-browser"], ":0", False)],
)
def test_the_browser_is_opened_where_there_is_a_screen(moue, monkeypatch, options, display, opens):
    class Server:
        def run(self, sockets: object) -> None: ...

    opened: list[str] = []
    monkeypatch.setattr(command, "server", lambda app: Server())
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    ran = moue("--port", 0, *options)
    assert (ran.code, ran.err, ran.out.count("\n")) == (0, "", 1)
    start, _, token = ran.out.strip().partition("?token=")
    assert [url.partition("?ticket=")[0] for url in opened] == ([start] if opens else [])
    assert not [url for url in opened if token in url]  # a command line is everyone's to read


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_from_start_to_end(tiny_bundle, portrait_photo, tmp_path, number, code):
    photo = tmp_path / "astronaut.png"
    Image.fromarray(portrait_photo).save(photo, compress_level=1)
    words = ["studio", photo, "--bundle", tiny_bundle, "--port", "0", "--no-browser"]
    process = subprocess.Popen(
        [sys.executable, "-m", "moue", *words],
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        url = urlsplit(process.stdout.readline().strip())
        assert (url.scheme, url.hostname, url.path) == ("http", "127.0.0.1", "/")
        bearer = {"Authorization": f"Bearer {url.query.removeprefix('token=')}"}
        asking = http.client.HTTPConnection(url.netloc, timeout=30)
        asking.request("GET", "/api/model", headers=bearer)
        (shown,) = json.loads(asking.getresponse().read())["portraits"]
        assert (shown["name"], shown["face"]) == (str(photo), "largest")
        minute = json.dumps({"expression": "happy", "seconds": 60, "fps": 60})
        asking.request("POST", f"/api/portraits/{shown['id']}/clip", minute, bearer)
        process.send_signal(number)
        assert process.communicate(timeout=60) == ("", "")
        asking.close()
    assert process.returncode == code
    assert list(tmp_path.glob("moue-*")) == []
