"""Where engines are kept, and what is checked before one is used.

An engine is native code. It is loaded only from a file that this user wrote, whose hash is the one
in its header and whose header names this graph, this TensorRT and this GPU; anything else is
built anew, and one line says why.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moue.bundle import Bundle
from moue.errors import OutputError
from moue.files import user_folder, whole_file
from moue.runtimes.device import Gpu
from moue.runtimes.trt_import import TensorRt

FRAMES = (1, 8, 32)  # frames at a time: the fewest, those the engine is tuned for, the most
PRECISION = "fp16"  # that of the bundle's graphs, which are strongly typed
ANY = "any"
FORMAT = 2
MOST_HEADER = 2**16  # bytes

log = logging.getLogger("moue")


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on.

    Attributes:
        graph: `encoder` or `decoder`.
        sha256: of its ONNX file.
        flavour, version: of TensorRT.
        compute_capability: of the GPU, as `86`.
        model: of the GPU, or `any`: TensorRT measures kernels on one, TensorRT-RTX does not.
        driver: CUDA driver version, or `any`: TensorRT-RTX finishes its engines where they load.
        precision: of weights and features.
        frames: fewest, usual and most frames at a time.
    """

    graph: str
    sha256: str
    flavour: str
    version: str
    compute_capability: str
    model: str
    driver: str
    precision: str = PRECISION
    frames: tuple[int, int, int] = FRAMES

    @staticmethod
    def of(bundle: Bundle, graph: str, trt: TensorRt, gpu: Gpu) -> EngineKey:
        sha256 = bundle.manifest.graphs[graph].sha256
        model, driver = (ANY, ANY) if trt.targets else (gpu.model, gpu.driver)
        return EngineKey(
            graph, sha256, trt.flavour, trt.version, gpu.compute_capability, model, driver
        )

    @property
    def file(self) -> str:
        frames = "-".join(map(str, self.frames))
        return (
            f"{self.graph}-{self.sha256[:16]}-{self.flavour}-{self.version}"
            f"-sm{self.compute_capability}-{re.sub('[^A-Za-z0-9]+', '-', self.model)}"
            f"-driver-{self.driver}-{self.precision}-{frames}.engine"
        )

    def difference(self, header: object) -> str:
        """What makes an engine with this header another one; "" when it is the same."""
        for name, wanted in json.loads(json.dumps(asdict(self))).items():
            found = header.get(name) if isinstance(header, dict) else None
            if found != wanted:
                return f"it was built for {name} {str(found)[:80]}, this is {wanted}"
        return ""


class EngineCache:
    """Engines on disk; what is wrong with the folder is said once, and worked without."""

    def __init__(self, folder: Path | None = None) -> None:
        self._told = False
        try:
            self.folder = engine_folder() if folder is None else folder
        except OutputError as error:
            self.folder = Path(os.devnull, "engines")
            self._tell(f"engines are not kept: {error}")

    def load(self, key: EngineKey) -> tuple[bytes | None, str]:
        """The engine, or None and the reason why there is none to be used."""
        path = self.folder / key.file
        try:
            header, engine = _read(path)
        except (FileNotFoundError, NotADirectoryError):
            others = sorted(self.folder.glob(f"{key.graph}-{key.sha256[:16]}-{key.flavour}-*"))
            for other in others:
                if why := self._why_not(key, other):
                    return None, why
            return None, "there is none in the cache yet"
        except (OSError, ValueError) as error:
            return None, f"the one in the cache cannot be used: {error}"
        if why := key.difference(header.get("key")):
            return None, why
        return engine, ""

    def store(self, key: EngineKey, engine: bytes, seconds: float) -> Path | None:
        """Writes an engine whole or not at all; None where the folder does not take it."""
        path = self.folder / key.file
        header = {
            "moue_engine": FORMAT,
            "key": asdict(key),
            "seconds": round(seconds, 3),
            "bytes": len(engine),
            "sha256": hashlib.sha256(engine).hexdigest(),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with whole_file(path) as part:
                part.touch(mode=0o600)
                part.write_bytes(json.dumps(header).encode() + b"\n" + engine)
                part.chmod(0o600)
        except (OSError, OutputError) as error:
            self._tell(f"engines are not kept: {error}; set XDG_CACHE_HOME to a folder with room")
            return None
        return path

    def expected(self, key: EngineKey) -> float | None:
        """Seconds that the last engine of this kind took to build here, if one is known."""
        files = self.folder.glob(f"{key.graph}-*-{key.flavour}-*.engine")
        try:
            newest = max(files, key=lambda path: path.stat().st_mtime)
            return float(_header(newest)["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _why_not(self, key: EngineKey, other: Path) -> str:
        try:
            return key.difference(_header(other).get("key"))
        except (OSError, ValueError):
            return ""

    def _tell(self, line: str) -> None:
        if not self._told:
            self._told = True
            log.warning("%s", line)


def engine_folder() -> Path:
    """`$XDG_CACHE_HOME/moue/engines`, or that under `~/.cache`."""
    return user_folder("XDG_CACHE_HOME", "~/.cache") / "engines"


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and engine of a file; ValueError unless they are whole and this user's own."""
    header, data = _open(path)
    engine = data[data.index(b"\n") + 1 :]
    if len(engine) != header.get("bytes"):
        raise ValueError("it is cut short")
    if hashlib.sha256(engine).hexdigest() != header.get("sha256"):
        raise ValueError("it is damaged")
    return header, engine


def _header(path: Path) -> dict[str, Any]:
    return _open(path, MOST_HEADER)[0]


def _open(path: Path, most: int = -1) -> tuple[dict[str, Any], bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
            raise ValueError("it is not this user's file")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others may write to it")
        data = file.read(most)
    line, newline, _ = data[:MOST_HEADER].partition(b"\n")
    try:
        header = json.loads(line) if newline else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("moue_engine") != FORMAT:
        raise ValueError("it is not an engine of this moue")
    return header, data
