"""`moue live` in a real window, its keys pressed by another program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from moue.video import VideoReader, write_frames

pytestmark = pytest.mark.skipif(
    not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="needs Xvfb and xdotool"
)


@pytest.fixture
def screen() -> Iterator[dict[str, str]]:
    """The environment of a program on a screen of its own."""
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        number = server.stdout.readline().decode().strip()
        environment = {**os.environ, "DISPLAY": f":{number}", "QT_LOGGING_RULES": "*=false"}
        environment.pop("WAYLAND_DISPLAY", None)
        yield environment
        server.terminate()


def press(key: str, screen: dict[str, str], until: Callable[[], object]) -> None:
    """Presses a key in the window until it has done its work: a window may not listen at first."""
    end = time.monotonic() + 60
    command = ["xdotool", "search", "--name", "^moue$", "mousemove", "100", "100", "key", key]
    while not until():
        assert time.monotonic() < end, f"nothing came of {key}"
        subprocess.run(command, env=screen, capture_output=True)
        time.sleep(1)


def test_live_in_a_window(screen, tmp_path, tiny_bundle, portrait_photo):
    Image.fromarray(portrait_photo).save(tmp_path / "photo.png", compress_level=1)
    frames = (np.ascontiguousarray(portrait_photo[:300]) for _ in range(15))
    write_frames(frames, tmp_path / "camera.mp4", Fraction(15))
    command = [sys.executable, "-m", "moue", "live", "photo.png", "--camera", "camera.mp4"]
    command += ["--loop", "--size", "200", "--bundle", str(tiny_bundle)]
    with subprocess.Popen(
        command, env=screen, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as live:
        press("r", screen, until=lambda: list(tmp_path.glob(".moue-*.part")))
        press("q", screen, until=lambda: live.poll() is not None)
        _, said = live.communicate()
    assert live.returncode == 0, said
    assert "a second; capture to output" in said
    assert VideoReader(tmp_path / "moue.mp4").size == (200, 200)
