"""Every wrong input is answered with one line, and leaves nothing behind."""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.cli import assert_one_line


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(bytes(3 * 99))),
            chunk(b"IEND", b""),
        ]
    )


def grey(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height), 127).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda whole: None, "No such file"),
        (lambda whole: b"", "is not a picture"),
        (lambda whole: whole[: len(whole) // 2], "is damaged"),
        (lambda whole: whole[:20], "is damaged"),
        (lambda whole: b"%PDF-1.4 no picture at all\n" * 99, "is not a picture"),
        (lambda whole: grey(1, 1), "at least 32 a side"),
        (lambda whole: png_of_size(30_000, 30_000), "more than 64 megapixels"),
        (lambda whole: png_of_size(64, 64), "is damaged"),
        (lambda whole: grey(256, 256), "no face found"),
    ],
    ids=["missing", "empty", "half", "header", "text", "tiny", "huge", "short", "faceless"],
)
def test_photos_that_are_none(moue, tiny_bundle, photo, tmp_path, content, words):
    data = content(photo.read_bytes())
    bad = tmp_path / "bad.png"
    if data is not None:
        bad.write_bytes(data)
    before = sorted(tmp_path.iterdir())
    options = ["--bundle", tiny_bundle, "--expression", "happy", "-o", tmp_path / "out.mp4"]
    assert_one_line(moue("animate", bad, *options), 1, words)
    assert sorted(tmp_path.iterdir()) == before


HAPPY = ["--expression", "happy"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "nothing to animate: add --expression"),
        (["--curve", "pulse"], 2, "expressions: happy, sad"),
        (["--expression", "hapy"], 1, "unknown expression 'hapy'; did you mean happy"),
        (["--mix", "happy=.5,sadd=.5"], 1, "did you mean sad"),
        (["--action", "jawopen=1"], 1, "unknown action 'jawopen'; did you mean jawOpen"),
        (["--action", "jawOpen=1.5"], 1, "'jawOpen' must be a number in [0, 1], but got 1.5"),
        (["--action", "jawOpen"], 2, "must be NAME=NUMBER"),
        (["--action", "jawOpen=wide"], 2, "must be numbers"),
        (["--mix", "happy=.5,happy=.5"], 2, "each name once"),
        (["--mix", "happy=2"], 1, "in [0, 1], but got 2.0"),
        ([*HAPPY, "--mix", "sad=1"], 2, "not allowed with argument --expression"),
        ([*HAPPY, "--degrees", "0,1.5"], 1, "degree 1 must be a number in [0, 1], but got 1.5"),
        ([*HAPPY, "--degrees=-0.1,1"], 1, "in [0, 1], but got -0.1"),
        ([*HAPPY, "--degrees", "0,nan"], 1, "in [0, 1], but got nan"),
        ([*HAPPY, "--degrees", "inf,1"], 1, "in [0, 1], but got inf"),
        ([*HAPPY, "--degrees", ""], 2, "must be numbers with commas between"),
        ([*HAPPY, "--degrees", "0,1", "--seconds", "1"], 2, "--seconds goes with --curve"),
        ([*HAPPY, "--degrees", "0,1", "--hold", "1"], 2, "--hold goes with --curve"),
        ([*HAPPY, "--degrees", "0,1", "--degree", "1"], 2, "leave out --degree"),
        ([*HAPPY, "--degree", "1.5"], 1, "degree must be a number in [0, 1], but got 1.5"),
        ([*HAPPY, "--degree", "nan"], 1, "degree must be a number in [0, 1], but got nan"),
        ([*HAPPY, "--degree", "half"], 2, "--degree: invalid float value"),
        ([*HAPPY, "--hold=-1"], 1, "hold must be at least 0 s"),
        ([*HAPPY, "--hold", "nan"], 1, "hold must be at least 0 s"),
        ([*HAPPY, "--hold", "1e9"], 1, "hold must be at least 0 s, and with seconds at most 33333"),
        ([*HAPPY, "--size", "9"], 2, "must be a number of pixels from 64 to 16384, but got '9'"),
        ([*HAPPY, "--size", "9" * 5000], 2, "must be a number of pixels"),
        (["--action", "jaw=1"], 1, "unknown action 'jaw'"),
        (["--action", "blink=1"], 1, "(moue actions lists them)"),
        (["--action", "mouthSmile=2"], 1, "'mouthSmile' must be a number in [0, 1], but got 2.0"),
        (
            ["--curve", "none.json", "--hold", "0"],
            2,
            "leave out --expression, --mix, --action, --d",
        ),
        (["--curve", "none.json", "--degree", "1"], 2, "a curve file has its own actions"),
        (["--curve", '{"fps": 30, "keys": []}'], 1, "1 … 100000 keys, but got 0"),
        (["--curve", '{"fps": 30, "keys": [{"at": 0, "smile": 1}]}'], 1, "key 0: unknown action"),
        ([*HAPPY, "--degrees", "1", "--curve", "rise"], 2, "not allowed with argument --degrees"),
        ([*HAPPY, "--fps", "0"], 1, "fps must be"),
        ([*HAPPY, "--fps", "-1"], 1, "fps must be"),
        ([*HAPPY, "--fps", "nan"], 1, "fps must be"),
        ([*HAPPY, "--fps", "30/0"], 1, "fps must be"),
        ([*HAPPY, "--fps", "500"], 1, "at most 240 frames a second"),
        ([*HAPPY, "--seconds", "0"], 1, "seconds must be above 0"),
        ([*HAPPY, "--seconds", "nan"], 1, "seconds must be above 0"),
        ([*HAPPY, "--seconds", "1e12"], 1, "seconds must be above 0 and at most"),
        ([*HAPPY, "--curve", "none.json"], 2, "a curve file has its own actions"),
        (["--curve", "none.json"], 1, "cannot read the curve none.json"),
        ([*HAPPY, "--face", "0"], 2, "face must be 'largest', 'all' or a number from 1"),
        ([*HAPPY, "--face", "left"], 2, "face must be"),
        ([*HAPPY, "--face", "2"], 1, "face 2 was asked for"),
        ([*HAPPY, "--batch", "0"], 2, "batch must be a whole number from 1"),
        ([*HAPPY, "--threads", "-1"], 2, "threads must be"),
        ([*HAPPY, "--threads", "99999999"], 2, "threads must be 0 (all cores) … 1024"),
        ([*HAPPY, "--threads", "9" * 30], 2, "threads must be 0 (all cores) … 1024"),
        (["--action", "jawOpen=1", "--action", "jawOpen=0.5"], 2, "names jawOpen twice"),
        (["--curve", "pulses"], 2, "there is no 'pulses'; did you mean pulse?"),
        (["--expression", "happy", "--curve", "Rise"], 2, "no 'Rise'; did you mean rise?"),
        (
            ["--curve", "/dev/zero"],
            1,
            "cannot read the curve /dev/zero: it is larger than 64 MB; write it as keys",
        ),
        (["--curve", "{\udcff"], 1, "a curve must be JSON"),
        ([*HAPPY, "--device", "gpu"], 2, "device must be auto, cpu, cuda"),
        ([*HAPPY, "--runtime", "torch"], 2, "runtime must be auto"),
        ([*HAPPY, "--bundle", "none"], 1, "no bundle is named 'none' (shipped: edge)"),
        ([*HAPPY, "--bundle", "./none"], 1, "is not a folder"),
        ([*HAPPY, "--loud"], 2, "unrecognized arguments: --loud"),
        ([*HAPPY, "--express", "sad"], 2, "unrecognized arguments"),
    ],
)
def test_what_cannot_be_animated(animate, tmp_path, options, code, words):
    assert_one_line(animate("-o", tmp_path / "out.mp4", *options), code, words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        ("out.avi", 1, "end it with .mp4"),
        ("taken", 1, "is a folder; end it with /"),
        ("taken.mp4", 1, "is a folder; name a file"),
        ("taken/", 1, "holds 'letter.txt'"),
        ("none/out.mp4", 1, "there is no folder"),
        (f"{'n' * 300}.mp4", 1, "File name too long; name another"),
        (f"{'n' * 300}/", 1, "File name too long; name another"),
        (f"{'n' * 300}/out.mp4", 1, "File name too long; name another"),
        ("clip.png", 2, "a .png holds one frame, but 60 were asked for"),
        ("fast.gif", 1, "at most 50 frames a second, but got 60"),
        ("photo.png", 2, "is what is read"),
        ("", 1, "holds 'photo.png', which is not one of moue's frames"),
    ],
)
def test_where_nothing_can_be_written(moue, tiny_bundle, photo, tmp_path, output, code, words):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").touch()
    (tmp_path / "taken.mp4").mkdir()
    shutil.copy(photo, tmp_path / "photo.png")
    before = sorted(tmp_path.rglob("*"))
    options = ["--expression", "happy", "--curve", "rise", "--bundle", tiny_bundle]
    rate = ["--seconds", "1", "--fps", "60"]
    ran = moue("animate", tmp_path / "photo.png", *options, *rate, "-o", f"{tmp_path}/{output}")
    assert_one_line(ran, code, words)
    assert sorted(tmp_path.rglob("*")) == before


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip(folder / "decoder.onnx"),
        lambda folder: flip(folder / "manifest.json"),
        lambda folder: (folder / "encoder.onnx").write_bytes(b""),
        lambda folder: (folder / "encoder.onnx").unlink(),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{}"),
        lambda folder: (folder / "extra.so").touch(),
    ],
)
@pytest.mark.parametrize("command", ["animate", "export", "doctor"])
def test_a_damaged_bundle(moue, tiny_bundle, photo, tmp_path, command, damage):
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    damage(folder)
    (tmp_path / "out").mkdir()
    options = {
        "animate": [photo, "--expression", "happy", "-o", tmp_path / "out" / "out.mp4"],
        "export": ["-o", tmp_path / "out" / "out.onnx"],
        "doctor": [],
    }
    ran = moue(command, *options[command], "--bundle", folder)
    assert ran.code == 1
    if command == "doctor":
        assert "BROKEN  bundle" in ran.out
    else:
        assert_one_line(ran, 1, "")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            ("benchmark", "--photo", "photo.png", "--plot", "photo.png"),
            "--plot photo.png is what is",
        ),
        (
            (
                "drive",
                "x.png",
                "x.mp4",
                "-o",
                "o.mp4",
                "--neutral",
                "a.npz",
                "--save-curve",
                "a.npz",
            ),
            "--save-curve a.npz is what is read",
        ),
        (("drive", "x.png", "x.mp4", "-o", "o.mp4", "--save-curve", "n" * 300), "too long; name"),
        (("export", "-o", f"{'n' * 300}.onnx"), "File name too long; name another"),
        (("track", "--neutral", "n" * 300), "File name too long; name another"),
        (
            ("track", "--scores", "/dev/zero"),
            "cannot read /dev/zero: it is larger than 64 MB; --scores takes",
        ),
    ],
)
def test_what_is_read_is_not_written_over_and_names_have_an_end(
    moue, photo, tmp_path, monkeypatch, command, words
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(photo, "photo.png")
    Path("a.npz").touch()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ran = moue(*command)
    assert_one_line(ran, ran.code, words)
    assert ran.code in (1, 2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
