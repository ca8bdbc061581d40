"""Samples on their way: lines, datagrams and connections, kept up whoever is at the other end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from moue.actions import ACTIONS
from moue.errors import OutputError, RuntimeUnavailableError, UsageError, VideoError
from moue.video import feed
from moue.video.feed import Feed
from moue.wire import Sample, channels, check_target, receive, sender, websocket
from moue.wire.lines import decode, encode

JAW = ACTIONS.index("jawOpen")
WEBSOCKET_STALL = 1 << 20  # bytes: more than a stalled connection takes up


def sample(frame: int = 0, jaw: float = 0.25) -> Sample:
    weights = np.zeros(len(ACTIONS), np.float32)
    weights[JAW] = jaw
    return Sample(weights, 1.0, None, frame, 0.0)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Clients in a thread of their own, so that they run while the test does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_bad_lines_are_passed_over_and_said_once(monkeypatch, tmp_path):
    good = b'{"moue": 1, "actions": {"jawOpen": 0.5}}\n'
    piped = tmp_path / "piped"
    piped.write_bytes(good + b"nonsense\n" + b"x" * 50_000 + b"\n" + good)
    told: list[str] = []
    with piped.open() as stdin:
        monkeypatch.setattr(channels.sys, "stdin", stdin)
        received = list(receive("-", told.append))
    assert [each.weights[JAW] for each in received] == [0.5, 0.5]
    assert len(told) == 1
    assert "is passed over" in told[0]


def test_lines_are_printed(capsys):
    with sender("-") as send:
        send(sample(1))
        send(sample(2))
    assert [decode(line.encode()).weights[JAW] for line in capsys.readouterr().out.split()] == [
        np.float32(0.25)
    ] * 2


@pytest.mark.parametrize("scheme", ["udp", "osc"])
def test_datagrams(scheme):
    port = free_port()
    target = f"{scheme}://127.0.0.1:{port}"
    told: list[str] = []
    incoming = receive(target, told.append)
    got: list[float] = []
    listener = threading.Thread(target=lambda: got.append(next(incoming).weights[JAW]), daemon=True)
    with sender(target) as send, socket.socket(type=socket.SOCK_DGRAM) as stranger:
        send(sample())  # nobody listens yet
        listener.start()
        for _ in range(200):
            stranger.sendto(b"nonsense", ("127.0.0.1", port))
            send(sample())
            listener.join(0.01)
            if got:
                break
    assert got == [0.25]
    assert len(told) <= 1
    with pytest.raises(VideoError, match="cannot listen"):
        next(receive(target, pytest.fail))
    incoming.close()


def test_a_websocket_gives_everyone_the_newest(loop):
    target = f"ws://127.0.0.1:{free_port()}"
    stop = threading.Event()

    async def read() -> list[float]:
        async with connect(target, proxy=None) as connection:
            return [decode((await connection.recv()).encode()).weights[JAW] for _ in range(3)]

    with sender(target) as send:
        readers = [asyncio.run_coroutine_threadsafe(read(), loop) for _ in range(3)]

        def play() -> None:
            while not stop.wait(0.01):
                send(sample())

        player = threading.Thread(target=play)
        player.start()
        try:
            assert [reader.result(10) for reader in readers] == [[0.25] * 3] * 3
            assert next(receive(target, pytest.fail)).weights[JAW] == 0.25
        finally:
            stop.set()
            player.join()


def test_one_who_comes_late_gets_the_newest_at_once():
    target = f"ws://127.0.0.1:{free_port()}"
    with sender(target) as send:
        for frame in range(100):
            send(sample(frame, jaw=frame / 100))
        assert next(receive(target, pytest.fail)).weights[JAW] == np.float32(0.99)


def test_a_reader_that_stands_still_costs_no_one_anything(loop, monkeypatch):
    monkeypatch.setitem(websocket.LIMITS, "ping_timeout", 600.0)
    target = f"ws://127.0.0.1:{free_port()}"
    long = "x" * 10_000  # so that the connection is soon full
    monkeypatch.setattr(channels.lines, "encode", lambda sample: f"{sample.frame} {long}".encode())
    numbers: list[int] = []

    async def stand_still() -> Any:
        connection = await connect(target, proxy=None, max_queue=1)
        connection.transport.pause_reading()
        return connection

    async def read() -> None:
        async with connect(target, proxy=None) as connection:
            async for message in connection:
                numbers.append(int(message.split()[0]))

    with sender(target) as send:
        still = asyncio.run_coroutine_threadsafe(stand_still(), loop).result(10)
        reading = asyncio.run_coroutine_threadsafe(read(), loop)
        took, frames = 0.0, 0
        while not numbers or numbers[-1] < 2000:
            start = time.perf_counter()
            send(sample(frames))
            took, frames = took + time.perf_counter() - start, frames + 1
            time.sleep(0.0002)
            assert frames < 100_000
        assert took / frames < 0.01, "nothing waits for it"
        assert numbers == sorted(numbers)

        async def wake() -> list[int]:
            still.transport.resume_reading()
            seen = []
            while not seen or seen[-1] < frames - 1:
                seen.append(int((await still.recv()).split()[0]))
            await still.close()
            return seen

        seen = asyncio.run_coroutine_threadsafe(wake(), loop).result(10)
        assert len(seen) * len(long) < 10 * WEBSOCKET_STALL, "what waited for it"
        assert max(np.diff(seen)) > 100, "and what it never got"
    reading.result(10)


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (None, True),
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
        ("http://127.evil.com", False),
        ("http://localhost.evil.com", False),
        ("https://evil.com", False),
        ("null", False),
    ],
)
def test_pages_of_other_sites_are_turned_away(loop, origin, welcome):
    target = f"ws://127.0.0.1:{free_port()}"

    async def read() -> object:
        async with connect(target, proxy=None, origin=origin) as connection:
            return await connection.recv()

    with sender(target) as send:
        send(sample())
        reading = asyncio.run_coroutine_threadsafe(read(), loop)
        if welcome:
            assert reading.result(10)
        else:
            with pytest.raises(InvalidHandshake):
                reading.result(10)


def test_too_many_and_those_who_talk_or_mumble(loop, capfd):
    port = free_port()
    target = f"ws://127.0.0.1:{port}"

    async def crowd() -> int:
        ones = [await connect(target, proxy=None) for _ in range(websocket.MOST)]
        for one in ones:
            await one.recv()
        late = await connect(target, proxy=None)
        with pytest.raises(ConnectionClosed, match="connected already"):
            await late.recv()
        for one in ones[1:]:
            await one.close()
        await asyncio.sleep(0.1)
        again = await connect(target, proxy=None)
        await again.recv()
        await again.close()
        await ones[0].send("x" * 100_000)  # more than anyone need say
        with pytest.raises(ConnectionClosed):
            await ones[0].recv()
        return len(ones)

    with sender(target) as send:
        send(sample())
        for junk in (b"", b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", b"A" * 100_000):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(junk)
        assert asyncio.run_coroutine_threadsafe(crowd(), loop).result(20) == websocket.MOST
        assert next(receive(target, pytest.fail)).weights[JAW] == 0.25
    assert capfd.readouterr() == ("", "")


def test_a_connection_that_is_lost_is_taken_up_again(caplog, monkeypatch):
    monkeypatch.setattr(feed, "RETRY", 0.01)
    caplog.set_level(logging.WARNING, "moue")
    target = f"ws://127.0.0.1:{free_port()}"
    with sender(target) as send:
        send(sample())
        got = Feed(target, lambda: receive(target, pytest.fail), endless=True, first=None)
        assert got.newer(-1, 10.0) is not None
        open_files = len(os.listdir("/proc/self/fd"))
    with got:
        for cycle in range(10):
            wait_for(lambda cycle=cycle: got.losses == cycle + 1)
            fresh = got.newer(-1, 0)
            with sender(target) as send:
                send(sample(jaw=0.5))
                assert fresh is not None
                fresh = got.newer(fresh.number, 10.0)
                assert fresh is not None
                assert fresh.item.weights[JAW] == 0.5
                assert len(os.listdir("/proc/self/fd")) <= open_files
        wait_for(lambda: len(caplog.records) == 21)
    said = [record.getMessage() for record in caplog.records]
    assert said[1::2] == [f"{target} is back"] * 10
    assert all("cannot hear" in line and "waiting for it" in line for line in said[::2])


def test_a_sender_that_sends_nonsense(loop, monkeypatch):
    port = free_port()
    told: list[str] = []
    good = encode(sample()).decode()

    async def talk(connection: Any) -> None:
        for message in ("nonsense", b"\xff\xfe", '{"moue": 1, "actions": {"jawOpen": NaN}}', good):
            await connection.send(message)
        await connection.send("x" * 1_000_000)
        await connection.wait_closed()

    async def start() -> Any:
        return await serve(talk, "127.0.0.1", port)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    incoming = receive(f"ws://127.0.0.1:{port}", told.append)
    assert next(incoming).weights[JAW] == 0.25
    with pytest.raises(VideoError, match=f"cannot hear ws://127.0.0.1:{port}"):
        next(incoming)
    assert len(told) == 1

    async def stop() -> None:
        server.close()
        await server.wait_closed()

    asyncio.run_coroutine_threadsafe(stop(), loop).result(10)


def test_what_a_sender_says_as_it_leaves_is_shown_safely(loop):
    port = free_port()

    async def leave(connection: Any) -> None:
        await connection.close(1013, "\x1b[31mgone\x9b\u202e")

    async def start() -> Any:
        return await serve(leave, "127.0.0.1", port)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    with pytest.raises(VideoError, match=r"\\x1b\[31mgone\\x9b\\u202e") as lost:
        next(receive(f"ws://127.0.0.1:{port}", pytest.fail))
    assert str(lost.value).isprintable()

    async def stop() -> None:
        server.close()
        await server.wait_closed()

    asyncio.run_coroutine_threadsafe(stop(), loop).result(10)


def test_places_where_no_one_can_listen_or_answer():
    port = free_port()
    with pytest.raises(VideoError, match=f"cannot hear ws://127.0.0.1:{port}: Connection refused"):
        next(receive(f"ws://127.0.0.1:{port}", pytest.fail))
    with (
        sender(f"ws://127.0.0.1:{port}"),
        pytest.raises(OutputError, match="Address already in use"),
        sender(f"ws://127.0.0.1:{port}"),
    ):
        pass
    with pytest.raises(OutputError, match="cannot send to"), sender("udp://no.such.host.invalid:9"):
        pass


def test_without_the_websockets_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets.asyncio", None)
    with pytest.raises(RuntimeUnavailableError, match="pip install websockets"):
        check_target("ws://127.0.0.1:1")
    assert check_target("osc://[::1]:9").host == "::1"


@pytest.mark.parametrize(
    "target",
    [
        *("", "udp://", "udp://host", "tcp://host:1", "udp://h:99999", "osc://h:1/path"),
        *("ws://h:1?a", "udp://192.168..1.20:9000", f"ws://{'x' * 64}:9000"),
    ],
)
def test_targets_that_are_none(target):
    with pytest.raises(UsageError, match=r"must be -, udp://HOST:PORT"), sender(target):
        pass
