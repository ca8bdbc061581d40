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

import numpy as np
import pytest
from PIL import Image, ImageSequence

from moue.curves import ActionCurve
from moue.expressions import expression
from moue.provenance import mark, verify
from moue.tracking.neutral import Neutral
from moue.video import VideoReader

PATIENCE = 120  # seconds: a loaded machine is no failure
KILLS = 200
LATEST = 0.06  # s, in which a machine at rest writes each of the files below once or more

# For each line "FILE VERSION SECONDS": in a process of its own, writes the file in that version, in the
# next and so on, says of each when it is written, and is killed when the time is up. Clips have as many
# frames as the version says, and so on; see `version_of`.
REWRITE = """
import os, signal, sys, time
from itertools import count
from pathlib import Path
import av
import numpy as np
from PIL import ImageFile, PngImagePlugin
from moue.actions import ACTIONS
from moue.curves import ActionCurve
from moue.expressions import save_expression
from moue.files import whole_file
from moue.tracking.mesh import POINTS
from moue.tracking.neutral import Neutral
from moue.video import write_frames

noise = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), np.uint8)

def write(path, version):
    if path.suffix == ".npz":
        Neutral(np.ones((POINTS, 3), "f"), np.ones(51, "f"), np.full(3, version, "f")).save(path)
    elif path.stem == "wink":
        save_expression("wink", {name: version / 10 for name in ACTIONS})
    elif path.suffix == ".json":
        curve = ActionCurve(ACTIONS, np.ones((20 * version, len(ACTIONS)), np.float32))
        with whole_file(path) as part:
            part.write_text(curve.to_json(), encoding="utf-8")
    elif path.suffix == ".png":
        write_frames(np.full_like(noise[:1], version), path, 30)
    else:
        write_frames(noise[:version], path, 30)

for line in sys.stdin:
    path, version, seconds = line.split()
    if not (writer := os.fork()):
        for number in count(int(version)):
            write(Path(path), number % 9 + 1)
            os.write(1, b"%d\\n" % number)  # in one piece
    time.sleep(float(seconds))
    os.kill(writer, signal.SIGKILL)
    assert os.wait()[1] == signal.SIGKILL
    print("killed", flush=True)
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


def version_of(path: Path) -> int:
    """Which version of a file this is; fails where it is not whole."""
    if path.suffix == ".npz":
        return int(Neutral.load(path).pose[0])
    if path.stem == "wink":
        return round(10 * expression("wink").weights["jawOpen"])
    if path.suffix == ".json":
        return len(ActionCurve.from_json(path)) // 20
    assert verify(path).intact
    if path.suffix == ".mp4":
        return len(list(VideoReader(path)))
    with Image.open(path) as image:
        frames = [np.asarray(frame) for frame in ImageSequence.Iterator(image)]
    return int(frames[0][0, 0, 0]) if path.suffix == ".png" else len(frames)


def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    names = ("a.mp4", "a.png", "a.gif", "a.webp", "a.json", "a.npz", "moue/expressions/wink.json")
    (tmp_path / "moue" / "expressions").mkdir(parents=True)
    rng, begun = np.random.default_rng(0), 0
    versions = dict.fromkeys(names, 0)  # of the last that was written, whole
    with python(REWRITE, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writers:
        for kill in range(KILLS):
            name = names[kill % len(names)]
            path = tmp_path / name
            writers.stdin.write(f"{path} {versions[name] + 1} {rng.uniform(0, LATEST)}\n")
            writers.stdin.flush()
            for number in iter(writers.stdout.readline, "killed\n"):
                versions[name] = int(number)
            if versions[name] or path.exists():
                old, new = (number % 9 + 1 for number in (versions[name], versions[name] + 1))
                found = version_of(path)
                assert found in (old, new), name
                versions[name] += found == new
            for part in path.parent.glob(".moue-*.part"):
                begun += 1
                part.unlink()
        writers.stdin.close()
    assert begun > KILLS / 4


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out.webp", "out.png", "frames/"])
def test_a_full_disk_leaves_what_was_there(tmp_path, name, before):
    old = tmp_path / (f"{name}000.png" if name.endswith("/") else name)
    if before:
        old.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(old, "png")
        mark(old)  # only moue's own frames are ever replaced
    there = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    count = 1 if name == "out.png" else 20
    with python(FILL_DISK, f"{tmp_path}/{name}", count, stderr=subprocess.PIPE) as process:
        assert process.wait(PATIENCE) == 0, process.stderr.read()
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == there


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
