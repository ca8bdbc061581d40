"""Damaged and hostile files: each reader gives what it reads or one of moue's errors, in time.

`make fuzz` tries a million of each form of a file: MOUE_FUZZ says how many.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from moue.actions import ACTIONS
from moue.bundle import Manifest, load_bundle
from moue.curves import ActionCurve
from moue.errors import (
    ActionError,
    BundleError,
    CurveError,
    MoueError,
    OutputError,
    PhotoError,
    UsageError,
    VideoError,
)
from moue.expressions import expression, mix, save_expression
from moue.photo import read_photo
from moue.provenance import SYNTHETIC, mark, mark_file, verify
from moue.tracking.mesh import POINTS
from moue.tracking.neutral import Neutral
from moue.video import VideoReader
from tests.tiny import write_manifest, write_tiny_bundle

INPUTS = int(os.environ.get("MOUE_FUZZ", "0"))  # 0: as many as each test says, for CI
LONGEST = 1.0  # s of computing that one file may take
HOSTILE = [
    *(b"[]", b"{}", b"null", b"true", b'""', b"NaN", b"-Infinity", b"1e999", b"-0", b"1e-400"),
    *(b"9" * 5000, b"[" * 5000, b"\xff\xfe", b"\0", b"\\ud800", b'"fps":', b"\r\n", b"//"),
]


def mutated(sound: bytes, rng: np.random.Generator) -> bytes:
    """Up to four injuries: bytes changed, cut out, doubled, moved in from `HOSTILE`; an end lost."""
    data = bytearray(sound)
    for _ in range(rng.integers(1, 5)):
        start = int(rng.integers(0, len(data) + 1))
        end = start + int(rng.integers(0, 9))
        kind = rng.integers(0, 10)
        if kind < 5:
            data[start:end] = rng.bytes(len(data[start:end]))
        elif kind == 5:
            del data[start:end]
        elif kind == 6:
            data[start:start] = data[start : start + int(rng.integers(0, 99))]
        elif kind < 9:
            data[start:end] = HOSTILE[rng.integers(len(HOSTILE))]
        else:
            del data[start:]
    return bytes(data)


def picture(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    image = Image.fromarray(noise).resize((50, 40), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}))
    return file.getvalue()


def clip(container: str, encoder: str, pixels: str, scale: int = 8) -> bytes:
    """Five frames of a video, 6 × `scale` pixels wide and 4 × `scale` high."""
    file, noise = io.BytesIO(), np.random.default_rng(0)
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(encoder, rate=30)
        stream.width, stream.height, stream.pix_fmt = 6 * scale, 4 * scale, pixels
        for _ in range(5):
            frame = noise.integers(0, 256, (4, 6, 3), np.uint8).repeat(scale, 0).repeat(scale, 1)
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            output.mux(stream.encode(picture.reformat(format=pixels)))
        output.mux(stream.encode(None))
    return file.getvalue()


def rows() -> bytes:
    values = np.random.default_rng(0).uniform(size=(3, 4)).astype(np.float32)
    return ActionCurve(ACTIONS[:4], values, "30000/1001").to_json().encode()


def keys() -> bytes:
    poses = [{"at": 0}, {"at": 0.5, "mouthSmile": 0.8, "headYaw": -0.3}, {"at": 1.25, "jawOpen": 1}]
    return json.dumps({"fps": "30000/1001", "keys": poses}).encode()


def put(path: Path, data: bytes) -> None:
    """A new file: ext4 puts one that is written over on the disk at once, a hundred times as slow."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def signed(data: bytes) -> Manifest:
    """A damaged manifest whose checksum fits, so that the damage itself is what is judged."""
    try:
        fields = json.loads(data)
        fields.pop("sha256", None)
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        data = json.dumps({**fields, "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    return Manifest.from_json(data)


def assert_read_or_refused(
    read: Callable[[bytes], object], sound: bytes, refusal: type[MoueError], times: int
) -> None:
    rng = np.random.default_rng(0)
    read(sound)
    refused, times = 0, INPUTS or times
    for _ in range(times):
        data = mutated(sound, rng)
        started = time.process_time()
        try:
            read(data)
        except refusal as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
            assert len(str(error)) < 1000  # noqa: PT017
        except Exception as error:
            raise AssertionError(data) from error
        assert time.process_time() - started < LONGEST, data
    assert refused > times / 200  # the injuries are not all harmless


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_photos(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("moue.photo.MAX_PIXELS", 10_000_000)  # larger ones take long rightly
    assert_read_or_refused(read_photo, picture(kind), PhotoError, 1000)


@pytest.mark.parametrize(
    ("container", "encoder", "pixels"),
    [
        ("mp4", "libx264", "yuv420p"),
        ("mpegts", "libx264", "yuv420p"),
        ("webm", "libvpx-vp9", "yuv420p"),
        ("avi", "mpeg4", "yuv420p"),
        ("gif", "gif", "rgb8"),
    ],
)
def test_videos(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    container: str,
    encoder: str,
    pixels: str,
) -> None:
    monkeypatch.setattr("moue.video.ffmpeg.MAX_PIXELS", 4_000_000)  # larger ones take long rightly
    path = tmp_path / "clip"

    def read(data: bytes) -> object:
        put(path, data)
        return [frame.shape for frame in VideoReader(path)]

    sound = clip(container, encoder, pixels)
    assert read(sound) == [(32, 48, 3)] * 5
    assert_read_or_refused(read, sound, VideoError, 400)


def test_frames_that_turn_out_larger_than_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = (clip("mpegts", "libx264", "yuv420p", scale) for scale in (8, 32))
    path = tmp_path / "clip.ts"
    path.write_bytes(small + large)
    monkeypatch.setattr("moue.video.ffmpeg.MAX_PIXELS", 10_000)
    frames = iter(VideoReader(path))
    assert next(frames).shape == (32, 48, 3)
    with pytest.raises(VideoError):
        assert {frame.shape for frame in frames} == {(32, 48, 3)}


@pytest.mark.parametrize("sound", [rows(), keys()], ids=["rows", "keys"])
def test_curves(sound: bytes) -> None:
    assert_read_or_refused(ActionCurve.from_json, sound, CurveError, 5000)


@pytest.mark.parametrize("read", [Manifest.from_json, signed], ids=["as it is", "signed"])
def test_manifests(tiny_bundle: Path, read: Callable[[bytes], object]) -> None:
    fields = json.loads((tiny_bundle / "manifest.json").read_bytes())
    fields.update(actions=list(ACTIONS[:4]), expressions={"wide": {ACTIONS[3]: 0.5}})
    sound = signed(json.dumps(fields).encode()).to_json().encode()
    assert_read_or_refused(read, sound, BundleError, 5000)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", "mouth.png"])
def test_bundles_whose_files_are_as_listed(tmp_path: Path, name: str) -> None:
    folder = write_tiny_bundle(tmp_path / "bundle", actions=ACTIONS[:4])
    manifest = folder / "manifest.json"

    def read(data: bytes) -> object:
        put(folder / name, data)
        manifest.unlink()
        write_manifest(folder, ACTIONS[:4])
        bundle = load_bundle(folder)
        return bundle.mouth if name == "mouth.png" else bundle.graph(Path(name).stem)

    assert_read_or_refused(read, (folder / name).read_bytes(), BundleError, 500)


def test_saved_expressions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = save_expression("wink", mix({"happy": 0.7, "fear": 0.4}))

    def read(data: bytes) -> object:
        put(path, data)
        return expression("wink")

    assert_read_or_refused(read, path.read_bytes(), ActionError, 3000)


def test_neutral_faces(tmp_path: Path) -> None:
    path, rng = tmp_path / "neutral.npz", np.random.default_rng(0)
    parts = [rng.normal(size=shape).astype(np.float32) for shape in ((POINTS, 3), (51,), (3,))]
    Neutral(*parts).save(path)

    def read(data: bytes) -> object:
        put(path, data)
        return Neutral.load(path)

    assert_read_or_refused(read, path.read_bytes(), UsageError, 2000)


def test_marks(tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    path.write_bytes(picture("PNG"))
    mark(path)
    sound = path.read_bytes()
    packet = sound[sound.index(b"<?xpacket begin") : sound.index(b"IDAT")]
    found = set()

    def read(data: bytes) -> None:
        put(path, data)
        if (mark := verify(path)) is None or not mark.intact:
            raise PhotoError("what was marked is not there as it was")
        found.add(mark.source)

    assert_read_or_refused(read, sound, PhotoError, 1000)
    assert_read_or_refused(lambda data: read(sound.replace(packet, data)), packet, PhotoError, 3000)
    assert found <= set(SYNTHETIC)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_pictures_to_be_marked(kind: str) -> None:
    def read(data: bytes) -> None:
        mark_file(io.BytesIO(data))

    assert_read_or_refused(read, picture(kind), OutputError, 1000)
