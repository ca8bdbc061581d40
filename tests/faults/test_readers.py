"""Damaged and hostile files: each reader gives what it reads or one of moue's errors, in time."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moue.actions import ACTIONS, ActionCurve
from moue.bundle import Manifest, load_bundle
from moue.errors import ActionError, BundleError, CurveError, MoueError, PhotoError
from moue.expressions import expression, mix, save_expression
from moue.photo import read_photo
from moue.provenance import SYNTHETIC, mark, verify
from tests.tiny import write_manifest, write_tiny_bundle

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


def curve() -> bytes:
    values = np.random.default_rng(0).uniform(size=(3, 4)).astype(np.float32)
    return ActionCurve(ACTIONS[:4], values, "30000/1001").to_json().encode()


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
    refused = 0
    for _ in range(times):
        data = mutated(sound, rng)
        started = time.process_time()
        try:
            read(data)
        except refusal as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
            assert len(str(error)) < 1000  # noqa: PT017
        assert time.process_time() - started < LONGEST, data
    assert refused > times / 20  # the injuries are not all harmless


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_photos(kind: str) -> None:
    assert_read_or_refused(read_photo, picture(kind), PhotoError, 500)


def test_curves() -> None:
    assert_read_or_refused(ActionCurve.from_json, curve(), CurveError, 3000)


@pytest.mark.parametrize("read", [Manifest.from_json, signed], ids=["as it is", "signed"])
def test_manifests(tiny_bundle: Path, read: Callable[[bytes], object]) -> None:
    fields = json.loads((tiny_bundle / "manifest.json").read_bytes())
    fields.update(actions=list(ACTIONS[:4]), expressions={"wide": {ACTIONS[3]: 0.5}})
    sound = signed(json.dumps(fields).encode()).to_json().encode()
    assert_read_or_refused(read, sound, BundleError, 3000)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_graphs_that_are_as_listed(tmp_path: Path, name: str) -> None:
    folder = write_tiny_bundle(tmp_path / "bundle", actions=ACTIONS[:4])
    path = folder / f"{name}.onnx"

    def read(data: bytes) -> object:
        path.write_bytes(data)
        write_manifest(folder, ACTIONS[:4])
        return load_bundle(folder).graph(name)

    assert_read_or_refused(read, path.read_bytes(), BundleError, 300)


def test_saved_expressions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = save_expression("wink", mix({"happy": 0.7, "fear": 0.4}))

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return expression("wink")

    assert_read_or_refused(read, path.read_bytes(), ActionError, 2000)


def test_marks(tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    path.write_bytes(picture("PNG"))
    mark(path)
    sound = path.read_bytes()
    packet = sound[sound.index(b"<?xpacket begin") : sound.index(b"IDAT")]
    found = set()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        if (mark := verify(path)) is None or not mark.intact:
            raise PhotoError("what was marked is not there as it was")
        found.add(mark.source)

    assert_read_or_refused(read, sound, PhotoError, 500)
    assert_read_or_refused(lambda data: read(sound.replace(packet, data)), packet, PhotoError, 2000)
    assert found <= set(SYNTHETIC)
