"""Who may import whom: the layers of the SDK, and what each heavy library is confined to."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SDK = ROOT / "sdk" / "moue"

# A module imports from its own line or one above.
LAYERS = (
    ("errors", "actions", "curves", "mouth", "rates", "reading", "version"),
    (
        "bundle",
        "crop",
        "expressions",
        "features",
        "files",
        "glossary",
        "graphs",
        "kernels",
        "photo",
        "progress",
        "provenance",
        "streams",
        "xmp",
    ),
    ("runtimes",),
    ("animator",),
    ("parity", "tracking", "video", "wire"),
    ("drive", "live", "performers", "studio"),
    ("benchmark", "cli", "doctor", "examples", "face_commands", "options", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
PACKAGE = RANK["drive"]  # `import moue` itself hands out performances and what is above them

# The parts of the SDK that may import a library; training and export may import all of them.
CONFINED = {
    "onnxruntime": {"runtimes"},
    "tensorrt": {"runtimes"},
    "tensorrt_rtx": {"runtimes"},
    "cuda": {"runtimes"},
    "moue._core": {"kernels"},
    "mediapipe": {"crop", "tracking"},
    "cv2": {"video"},
    "pyvirtualcam": {"video"},
    "websockets": {"wire"},
    "fastapi": {"studio"},
    "starlette": {"studio"},
    "uvicorn": {"studio"},
    "matplotlib": set(),
    "torch": set(),
    "training": set(),
    "export": set(),
    "benchmarks": set(),
    "tests": set(),
}


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py")) + sorted(folder.rglob("*.pyi"))


def part_of(path: Path) -> str:
    """The part of the SDK that a source file belongs to: `runtimes` for runtimes/base.py."""
    return path.relative_to(SDK).parts[0].partition(".")[0]


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere in it, also under `if TYPE_CHECKING`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


@pytest.mark.parametrize("path", sources(SDK), ids=lambda path: str(path.relative_to(SDK)))
def test_the_sdk_imports_upwards_only(path):
    part = part_of(path)
    if part in ("__init__", "_core"):
        rank = PACKAGE
    else:
        assert part in RANK, f"{part} has no place in LAYERS yet"
        rank = RANK[part]
    for name in imported(path):
        if is_within(name, "moue") and not is_within(name, "moue._core"):
            wanted = RANK.get(name.split(".")[1], PACKAGE) if "." in name else PACKAGE
            assert wanted <= rank, f"{part} must not import {name}"
        for library, allowed in CONFINED.items():
            if is_within(name, library):
                assert part in allowed, f"{part} must not import {library}"


@pytest.mark.parametrize("folder", ["benchmarks", "tests"])
def test_only_training_and_export_import_torch(folder):
    # The ladder's lowest rungs are the paper's generator, which exists in PyTorch alone; a GPU
    # without TensorRT runs the decoder by PyTorch where the rest of its path is tried out.
    apart = [ROOT / "tests" / name for name in ("training", "export")]
    apart += [ROOT / "benchmarks" / f"{name}.py" for name in ("ladder", "torch_cuda")]
    for path in sources(ROOT / folder):
        if not any(path.is_relative_to(place) for place in apart):
            assert not any(is_within(name, "torch") for name in imported(path)), path


def test_importing_moue_loads_nothing_heavy():
    heavy = {
        "PIL",
        "av",
        "cuda",
        "cv2",
        "jax",
        "mediapipe",
        "onnx",
        "onnxruntime",
        "scipy",
        "torch",
    }
    script = f"import sys, moue; print(*{heavy} & set(sys.modules))"
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True)
    assert (loaded.stdout.strip(), loaded.stderr) == ("", "")
