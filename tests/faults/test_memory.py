"""Damaged and hostile bundles: each is refused, in no more memory than its files and 64 MB."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from moue.actions import ACTIONS
from tests.tiny import write_manifest, write_tiny_bundle

ROOT = Path(__file__).parents[2]
MARGIN = 64  # MB beyond the files
LARGE = 50_000_000  # bytes of a graph, which must not be held twice
# Prepares a portrait and makes a frame with each bundle; prints, of each, the most memory that it took
# in MB beyond what a sound one had left, and what was said of it.
OPEN = """
import json, sys
from pathlib import Path
import numpy as np
from moue import Animator, MoueError
from moue.crop import Face, Square

def memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1.024e-3

def opened(folder):
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what it now is
    try:
        with Animator(folder, "cpu", threads=1) as animator:
            face = Face(Square(50, 50, 80, 0), np.zeros((478, 3), np.float32), 1.0)
            portrait = animator.prepare(np.zeros((100, 100, 3), np.uint8), face)
            animator.frame(portrait, {animator.actions[0]: 0.5})
        said = ""
    except MoueError as error:
        said = str(error)
    return said, memory("VmHWM")

sound, *folders = sys.argv[1:]
assert opened(sound)[0] == ""
before = memory("VmRSS")
for folder in folders:
    said, peak = opened(folder)
    print(json.dumps([peak - before, said]))
"""
Harm = Callable[[Path], None]


def cut(path: str, share: float) -> Harm:
    """A file loses its end."""
    return lambda folder: os.truncate(folder / path, int(share * (folder / path).stat().st_size))


def grown(path: str, size: int) -> Harm:
    """A file gets a hole at its end that takes no room on the disk."""
    return lambda folder: os.truncate(folder / path, size)


def flipped(path: str, share: float) -> Harm:
    """One bit of a file is another."""

    def flip(folder: Path) -> None:
        data = bytearray((folder / path).read_bytes())
        data[int(share * len(data))] ^= 1
        (folder / path).write_bytes(data)

    return flip


def said(change: Callable[[dict[str, Any]], None]) -> Harm:
    """The manifest says something else, and its checksum is right."""

    def write(folder: Path) -> None:
        fields = json.loads((folder / "manifest.json").read_bytes())
        fields.pop("sha256")
        change(fields)
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps({**fields, "sha256": digest}))

    return write


def drawn(change: Callable[[onnx.GraphProto], None]) -> Harm:
    """The decoder is another graph, and listed as it is."""

    def write(folder: Path) -> None:
        model = onnx.load(folder / "decoder.onnx")
        change(model.graph)
        (folder / "decoder.onnx").write_bytes(model.SerializeToString())
        write_manifest(folder, ACTIONS[:4])

    return write


def wide_weights(graph: onnx.GraphProto) -> None:
    graph.initializer[0].dims[0] = 2**40


def wide_input(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**40


def large(harm: Harm) -> Harm:
    """The same of a bundle whose decoder is large."""

    def pad(graph: onnx.GraphProto) -> None:
        graph.initializer.append(numpy_helper.from_array(np.zeros(LARGE, np.uint8), "pad"))

    def write(folder: Path) -> None:
        drawn(pad)(folder)
        harm(folder)

    return write


def picture(side: int) -> Harm:
    """The mouth's picture is large and one colour, and cut short."""

    def write(folder: Path) -> None:
        file = io.BytesIO()
        Image.new("RGB", (side, side)).save(file, "PNG")
        (folder / "mouth.png").write_bytes(file.getvalue()[:-100])
        write_manifest(folder, ACTIONS[:4])

    return write


HARMS = {
    "manifest cut": cut("manifest.json", 0.5),
    "manifest flipped": flipped("manifest.json", 0.3),
    "manifest of 4 GB": grown("manifest.json", 2**32),
    "manifest of brackets": lambda folder: (folder / "manifest.json").write_bytes(b"[" * 2**20),
    "graph cut": cut("decoder.onnx", 0.9),
    "graph flipped": flipped("encoder.onnx", 0.9),
    "graph of 1 GB": grown("decoder.onnx", 2**30),
    "large graph cut": large(cut("decoder.onnx", 0.99)),
    "large graph flipped": large(flipped("decoder.onnx", 0.99)),
    "graph said to have 1 GB": said(lambda it: it["graphs"]["decoder"].update(bytes=2**30)),
    "picture said to have 32 MB": said(lambda it: it["mouth"].update(bytes=2**25)),
    "input of 2048²": said(lambda it: it.update(input_size=2048)),
    "8192 channels": said(lambda it: it["levels"][2].update(channels=8192)),
    "512 actions": said(
        lambda it: it.update(actions=[f"a{k}" for k in range(512)], expressions={})
    ),
    "weights of 2 TB": drawn(wide_weights),
    "an input of 2 TB": drawn(wide_input),
    "picture of 2048² cut": picture(2048),
    "picture of 4096² cut": picture(4096),
    "picture of 5000² cut": picture(5000),
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_damaged_bundles_take_their_size_and_little_more(tmp_path: Path) -> None:
    folders = [write_tiny_bundle(tmp_path / "sound", ACTIONS[:4])]
    for name, harm in HARMS.items():
        folders.append(write_tiny_bundle(tmp_path / name, ACTIONS[:4]))
        harm(folders[-1])
    words = [sys.executable, "-c", OPEN, *map(str, folders)]
    lines = subprocess.check_output(words, cwd=ROOT, text=True).splitlines()
    for folder, line in zip(folders[1:], lines, strict=True):
        taken, refusal = json.loads(line)
        on_disk = sum(path.stat().st_blocks * 512 for path in folder.iterdir()) / 1e6
        assert refusal, folder.name
        assert taken < on_disk + MARGIN, folder.name
