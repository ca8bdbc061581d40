from __future__ import annotations

import io
import json
import socket
import threading
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moue import wire
from moue.actions import ACTIONS
from moue.errors import UsageError, VideoError
from moue.tracking import Pose, Tracked

JAW = ACTIONS.index("jawOpen")


def tracked(weights: np.ndarray, pose: Pose | None = None) -> Tracked:
    return Tracked(1.0, weights, 0.9, pose or Pose(1.23, -4.56, 0), None)


@given(st.lists(st.floats(0, 1, width=32), min_size=51, max_size=51))
def test_what_is_sent_is_what_is_played(values):
    weights = np.array(values, np.float32)
    line = wire.encode(weights, tracked(weights), 7, 1795170202.92345)
    assert "\n" not in line
    assert len(line) < 1500, "one datagram"
    received = wire.decode(line.encode())
    assert np.abs(received.weights - weights).max() <= 0.00006
    assert received.confidence == 0.9


def test_the_documented_form():
    weights = np.zeros(51, np.float32)
    weights[JAW] = 0.31
    assert json.loads(wire.encode(weights, tracked(weights), 7, 1795170202.92345)) == {
        "moue": 1,
        "time": 1795170202.9234,
        "frame": 7,
        "confidence": 0.9,
        "pose": {"yaw": 1.2, "pitch": -4.6, "roll": 0},
        "actions": {"jawOpen": 0.31},
    }
    unseen = Tracked(1.0, weights, 0.0, None, None)
    assert json.loads(wire.encode(weights, unseen, 8, 0.0))["pose"] is None


def test_less_is_enough_and_more_is_ignored():
    line = b'{"moue": 1, "actions": {"jawOpen": 1, "tongueOut": 7}, "extra": []}'
    received = wire.decode(line)
    assert (received.weights[JAW], received.weights.sum(), received.confidence) == (1, 1, 1)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b'{"moue": 2, "actions": {}}',
        b'{"moue": 1, "actions": []}',
        b'{"moue": 1, "actions": {"jawOpen": NaN}}',
        b'{"moue": 1, "actions": {"jawOpen": 1e999}}',
        b'{"moue": 1, "actions": {"jawOpen": -0.1}}',
        b'{"moue": 1, "actions": {"jawOpen": true}}',
        b'{"moue": 1, "actions": {"jawOpen": "1"}}',
        b'{"moue": 1, "actions": {}, "confidence": 2}',
        b"[" * 100_000,
        b'{"moue": 1, "actions": {"x": "' + b"a" * 20_000 + b'"}}',
    ],
)
def test_lines_that_make_no_sense(line):
    with pytest.raises(ValueError, match=r"."):
        wire.decode(line)


@given(st.binary(max_size=200))
def test_nothing_but_a_value_error(line):
    with suppress(ValueError):
        wire.decode(line)


def test_bad_lines_are_passed_over_and_said_once(monkeypatch):
    good = b'{"moue": 1, "actions": {"jawOpen": 0.5}}\n'
    stream = io.BytesIO(good + b"nonsense\n" + b"x" * 50_000 + b"\n" + good)
    monkeypatch.setattr(wire.sys, "stdin", SimpleNamespace(buffer=stream))
    told: list[str] = []
    received = list(wire.receive("-", told.append))
    assert [each.weights[JAW] for each in received] == [0.5, 0.5]
    assert len(told) == 1
    assert "is passed over" in told[0]


def test_over_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    target = f"udp://127.0.0.1:{port}"
    weights = np.zeros(51, np.float32)
    weights[JAW] = 0.25
    incoming = wire.receive(target, pytest.fail)
    got: list[wire.Received] = []
    listener = threading.Thread(target=lambda: got.append(next(incoming)), daemon=True)
    with wire.sender(target) as send:
        send("nobody listens yet")
        listener.start()
        for _ in range(200):
            send(wire.encode(weights, tracked(weights), 0, 0.0))
            listener.join(0.01)
            if got:
                break
    assert got[0].weights[JAW] == 0.25
    with pytest.raises(VideoError, match="cannot listen"):
        next(wire.receive(target, pytest.fail))
    incoming.close()


@pytest.mark.parametrize("target", ["", "udp://", "udp://host", "tcp://host:1", "udp://h:99999"])
def test_targets_that_are_none(target):
    with pytest.raises(UsageError, match=r"must be - or udp://HOST:PORT"), wire.sender(target):
        pass
