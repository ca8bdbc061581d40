"""Ctrl-C, kill -9, a full disk, a locked folder: real processes, interrupted while they write."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from moue.video import read_frames

PATIENCE = 120  # seconds: a loaded machine is no failure
FRAMES = 40

# Writes the file named on its command line, again and again, each time FRAMES frames.
REWRITE = f"""
import sys
from fractions import Fraction
import numpy as np
from moue.video import write_frames
noise = np.random.default_rng(0).integers(0, 255, ({FRAMES}, 64, 64, 3), np.uint8)
while True:
    write_frames(noise, sys.argv[1], Fraction(30))
    print("written", flush=True)
"""
# Writes it once, where files may not grow over 20 kB; exits 0 when that is refused as it should be.
FILL_DISK = """
import resource, sys
from fractions import Fraction
import numpy as np
from moue.errors import OutputError
from moue.video import write_frames
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0).integers(0, 255, (int(sys.argv[2]), 256, 256, 3), np.uint8)
try:
    write_frames(noise, sys.argv[1], Fraction(30))
except OutputError as error:
    sys.exit(0 if "could not write" in str(error) and "\\n" not in str(error) else str(error))
sys.exit("the disk never filled")
"""


def python(script: str, *argv: object, **options: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", script, *map(str, argv)]
    return subprocess.Popen(words, text=True, **options)


@pytest.fixture
def long_animate(tiny_bundle, portrait_photo, tmp_path) -> Iterator[subprocess.Popen[str]]:
    """`moue animate` in its own process, busy writing ten minutes of film to out/film.mp4."""
    Image.fromarray(portrait_photo).save(tmp_path / "photo.png", compress_level=1)
    (tmp_path / "out").mkdir()
    words = f"animate photo.png --bundle {tiny_bundle} --expression happy --seconds 600"
    heard = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # not as under nohup, whoever runs this
    process = subprocess.Popen(
        [sys.executable, "-m", "moue", *words.split(), "-o", "out/film.mp4"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGHUP, heard)
    yield process
    process.kill()
    process.communicate()


def bytes_in(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # the first only tries whether the folder can be written to
        return 0


def wait_for_bytes(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(map(bytes_in, folder.glob(".moue-*.part"))):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("before", [None, b"old"])
def test_an_interrupted_film_leaves_what_was_there(long_animate, tmp_path, number, before):
    film = tmp_path / "out" / "film.mp4"
    if before:
        film.write_bytes(before)
    wait_for_bytes(tmp_path / "out", long_animate)
    long_animate.send_signal(number)
    _, err = long_animate.communicate(timeout=PATIENCE)
    assert long_animate.returncode == 128 + number
    assert err == ("moue: error: interrupted\n" if number == signal.SIGINT else "")
    assert list((tmp_path / "out").iterdir()) == ([film] if before else [])
    assert not before or film.read_bytes() == before


def test_a_killed_film_leaves_no_file_under_its_name(long_animate, tmp_path):
    wait_for_bytes(tmp_path / "out", long_animate)
    long_animate.kill()
    long_animate.communicate(timeout=PATIENCE)
    assert not (tmp_path / "out" / "film.mp4").exists()


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.007, 0.013, 0.029, 0.051])
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path, delay):
    with python(REWRITE, tmp_path / "out.mp4", stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "written\n"
        time.sleep(delay)
        process.kill()
    assert len(list(read_frames(tmp_path / "out.mp4"))) == FRAMES


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out.webp", "out.png", "frames/"])
def test_a_full_disk_leaves_what_was_there(tmp_path, name, before):
    old = tmp_path / (f"{name}000.png" if name.endswith("/") else name)
    if before:
        old.parent.mkdir(exist_ok=True)
        old.write_bytes(b"old")
    there = sorted(tmp_path.rglob("*"))
    count = 1 if name == "out.png" else 20
    with python(FILL_DISK, f"{tmp_path}/{name}", count, stderr=subprocess.PIPE) as process:
        assert process.wait(PATIENCE) == 0, process.stderr.read()
    assert sorted(tmp_path.rglob("*")) == there
    assert not before or old.read_bytes() == b"old"


def test_a_full_disk_in_one_line(tiny_bundle, tmp_path):
    words = f"export --bundle {tiny_bundle} -o {tmp_path}/g.onnx"
    ran = subprocess.run(
        [sys.executable, "-m", "moue", *words.split()],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("moue: error: could not write")
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "locked",
    [
        pytest.param("/proc", marks=pytest.mark.skipif(not Path("/proc").is_dir(), reason="/proc")),
        pytest.param("", marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may write it")),
    ],
)
def test_a_locked_folder_in_one_line(tmp_path, locked):
    tmp_path.chmod(0o500)
    folder = locked or tmp_path
    words = f"animate no-photo.jpg --expression happy -o {folder}/out.mp4"
    ran = subprocess.run(
        [sys.executable, "-m", "moue", *words.split()],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"moue: error: cannot write in the folder {folder}: ")
    assert ran.stderr.count("\n") == 1
