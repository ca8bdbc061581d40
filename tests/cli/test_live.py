from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from fractions import Fraction

import pytest

from moue.errors import VideoError
from moue.tracking import Neutral
from moue.video import VideoReader
from moue.wire import channels, receive
from tests.cli import assert_one_line

SUMMARY = re.compile(r"(\d+) frames in [\d.]+ s, [\d.]+ a second; capture to output \d+ ms, .*\n")


@pytest.fixture(scope="module")
def camera(sliding):
    """A second and a half of a face, for a camera."""
    return sliding(22, Fraction(15))


@pytest.fixture
def live(moue, tiny_bundle, photo):
    options = ("--bundle", tiny_bundle, "--threads", 1, "--headless", "--size", 128)
    return lambda *argv: moue("live", photo, *argv, *options)


def test_live_from_a_file(live, camera, tmp_path):
    ran = live("--camera", camera, "--record", tmp_path / "out.mp4")
    said, summary = ran.err.splitlines(keepends=True)
    assert (ran.code, ran.out) == (0, "")
    assert re.match(rf"moue: {tmp_path}/out.mp4: \d+ frames, \d\.\d s", said)
    found = SUMMARY.fullmatch(summary)
    assert found is not None
    assert int(found[1]) >= 3
    assert VideoReader(tmp_path / "out.mp4").size == (128, 128)


def test_the_face_at_rest_is_kept_for_the_next_time(live, camera, tmp_path):
    me = tmp_path / "me.npz"
    assert live("--camera", camera, "--neutral", me, "--seconds", 1).code == 0
    before = me.read_bytes()
    assert live("--camera", camera, "--neutral", me, "--seconds", 1).code == 0
    assert me.read_bytes() == before


def test_tracked_here_played_there(moue, live, camera, monkeypatch, tmp_path):
    ran = moue("track", "--camera", camera)
    assert (ran.code, ran.err) == (0, "")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["frame"] for line in lines] == list(range(len(lines)))
    assert len(lines) >= 3
    assert all(
        line["moue"] == 1 and set(line["pose"]) == {"yaw", "pitch", "roll"} for line in lines
    )
    assert sorted(line["time"] for line in lines) == [line["time"] for line in lines]
    piped = tmp_path / "piped"
    piped.write_text(ran.out)
    with piped.open() as stdin:
        monkeypatch.setattr(channels.sys, "stdin", stdin)
        ran = live("--actions", "-")
    assert ran.code == 0
    assert re.match(r"[1-9]\d* frames in", ran.err)


def test_it_ends_while_nothing_comes(tiny_bundle, photo):
    command = [sys.executable, "-m", "moue", "live", photo, "--actions", "-", "--headless"]
    options = ["--bundle", tiny_bundle, "--threads", "1", "--seconds", "0.5"]
    with subprocess.Popen(
        [*command, *options], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as live:
        assert live.stderr is not None
        said = live.stderr.read()
        assert live.wait(60) == 0
    assert re.fullmatch(r"0 frames in .*\n", said)


def wait_for_a_sample(target: str) -> None:
    """Until `moue track` sends there, which takes as long as MediaPipe takes to start."""

    def listen() -> None:
        while True:
            with suppress(VideoError):  # nobody listens at the other end yet
                next(receive(target, pytest.fail))
                return
            time.sleep(0.1)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()


@pytest.mark.parametrize("scheme", ["udp", "osc", "ws"])
def test_from_one_process_to_another(live, camera, scheme):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        target = f"{scheme}://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "moue", "track", "--camera", camera, "--loop", "--to", target]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as track:
        wait_for_a_sample(target)
        ran = live("--actions", target, "--seconds", 3)
        track.send_signal(signal.SIGINT)
        _, said = track.communicate(timeout=60)
    assert (track.returncode, said) == (0, ""), "Ctrl-C is how one ends it"
    found = SUMMARY.fullmatch(ran.err)
    assert found is not None, ran.err
    assert int(found[1]) >= 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_camera_has_no_end_and_the_face_at_rest_is_kept_all_the_same(camera, tmp_path, number):
    me = tmp_path / "me.npz"
    command = [sys.executable, "-m", "moue", "track", "--camera", camera, "--loop"]
    with subprocess.Popen([*command, "--neutral", me], stdout=subprocess.PIPE) as track:
        assert track.stdout is not None
        while b'"yaw"' not in track.stdout.readline():
            assert track.poll() is None
        track.send_signal(number)
        track.communicate(timeout=30)
    assert Neutral.load(me).mesh.any()


def test_track_for_some_seconds(moue, camera):
    ran = moue("track", "--camera", camera, "--loop", "--seconds", 2)
    times = [json.loads(line)["time"] for line in ran.out.splitlines()]
    assert 1 < times[-1] - times[0] <= 2


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--camera", "missing.mp4"], 1, "missing.mp4: No such file"),
        (["--camera", "97"], 1, "camera 97 cannot be opened"),
        (["--actions", "tcp://here:1"], 2, "must be -, udp://HOST:PORT, osc://HOST:PORT or ws"),
        (["--actions", "ws://127.0.0.1:9"], 1, "cannot hear ws://127.0.0.1:9: Connection refused"),
        (["--actions", "-", "--gain", "all=2"], 2, "--gain goes to moue track"),
        (["--actions", "-", "--camera", "0"], 2, "--camera goes to moue track"),
        (["--camera", "videotestsrc ! appsink"], 1, "a pipeline needs an OpenCV with GStreamer"),
        (["--camera", "csi://0"], 1, "csi://0 needs an OpenCV with GStreamer"),
        (["--camera", "csi://"], 2, "csi:// takes the number of a camera, as csi://0"),
        (["--record", "out.png"], 2, "--record takes a clip"),
        (["--size", "9"], 2, "must be a number of pixels"),
        (["--virtual-camera"], 1, "pip install pyvirtualcam"),
    ],
)
def test_refusals(live, tmp_path, monkeypatch, options, code, words):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    monkeypatch.chdir(tmp_path)
    assert_one_line(live(*options), code, words)
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_never_recorded_over(live, camera):
    before = camera.read_bytes()
    assert_one_line(live("--camera", camera, "--record", camera), 2, "is what is read")
    assert camera.read_bytes() == before


def test_no_screen(moue, photo, tiny_bundle, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert_one_line(moue("live", photo, "--bundle", tiny_bundle), 1, "add --headless")
