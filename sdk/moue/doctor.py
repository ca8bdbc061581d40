"""What works on this machine, found out by trying it."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import moue
from moue import kernels
from moue.bundle import load_bundle
from moue.crop import find_faces
from moue.errors import MoueError, one_line, with_kind
from moue.runtimes.select import available_runtimes, select_runtime
from moue.video import VideoReader, write_frames
from moue.video.clip import CODECS

PACKAGES = ("numpy", "onnxruntime", "onnx", "pillow", "av", "mediapipe")


@dataclass(frozen=True)
class Check:
    """One thing that was tried: whether it works, whether `moue animate` needs it, and why not."""

    name: str
    works: bool
    needed: bool
    detail: str

    def __str__(self) -> str:
        state = "ok" if self.works else "BROKEN" if self.needed else "-"
        return f"{state:6}  {self.name:12}  {self.detail}"


@dataclass(frozen=True)
class Report:
    """Every check, in order; `ready` is whether `moue animate` will work."""

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        return all(check.works for check in self.checks if check.needed)

    def to_json(self) -> dict[str, Any]:
        checks = [asdict(check) for check in self.checks]
        return {"moue": moue.__version__, "ready": self.ready, "checks": checks}

    def __str__(self) -> str:
        broken = [check.name for check in self.checks if check.needed and not check.works]
        verdict = f"cannot work before this is mended: {', '.join(broken)}" if broken else "works"
        return "\n".join([*map(str, self.checks), f"moue animate {verdict}"])


def examine(bundle: str, device: str = "auto", runtime: str = "auto", threads: int = 0) -> Report:
    """Tries everything that `moue animate` would use with these options."""
    return Report(tuple(_checks(bundle, device, runtime, threads)))


def _checks(bundle: str, device: str, runtime: str, threads: int) -> Iterator[Check]:
    yield Check("moue", True, True, moue.__version__)
    yield Check("python", True, True, f"{platform.python_version()}, {platform.platform()}")
    for package in PACKAGES:
        yield _try(package, partial(_installed, package), needed=True)
    yield _try("kernels", _kernels, needed=False)
    yield _try("cuda", lambda: ", ".join(kernels.cuda_devices()), needed=False)
    for status in available_runtimes():
        yield Check(status.name, status.usable, False, status.reason)
    yield _try("bundle", partial(_bundle, bundle), needed=True)
    yield _try("model", partial(_model, bundle, device, runtime, threads), needed=True)
    yield _try("face finder", _face_finder, needed=True)
    yield _try("video", _video, needed=True)


def _try(name: str, probe: Callable[[], str], needed: bool) -> Check:
    try:
        return Check(name, True, needed, probe())
    except Exception as error:  # noqa: BLE001 - whatever is broken, the other checks go on
        told = one_line if isinstance(error, (MoueError, RuntimeError)) else with_kind
        return Check(name, False, needed, told(error))


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise RuntimeError(f"not installed: pip install {package}") from None


def _kernels() -> str:
    if kernels.BACKEND != "core":
        raise RuntimeError("moue._core cannot be loaded; NumPy does its work, more slowly")
    return "compiled"


def _bundle(name: str) -> str:
    bundle = load_bundle(name)
    manifest = bundle.manifest
    megabytes = sum(file.bytes for file in manifest.files) / 1e6
    return (
        f"{manifest.name} {manifest.version}, {len(bundle.actions)} actions, {megabytes:.1f} MB,"
        " intact"
    )


def _model(name: str, device: str, runtime: str, threads: int) -> str:
    bundle = load_bundle(name)
    with select_runtime(bundle, device, runtime, threads) as chosen:
        size = bundle.input_size
        chosen.encode(np.zeros((1, 3, size, size), np.float32))
        features = {
            name: np.zeros([axis if isinstance(axis, int) else 1 for axis in shape], np.float32)
            for name, shape in chosen.decoder_inputs.items()
        }
        chosen.decode(features)
        start = time.perf_counter()
        chosen.decode(features)
        milliseconds = (time.perf_counter() - start) * 1000
        return f"{chosen.name} on {chosen.device}, {milliseconds:.1f} ms to decode a frame"


def _face_finder() -> str:
    find_faces(np.full((128, 128, 3), 127, np.uint8))
    return "starts"


def _video() -> str:
    frames = [np.full((64, 64, 3), level, np.uint8) for level in (64, 192)]
    with tempfile.TemporaryDirectory() as folder:
        for suffix in CODECS:
            write_frames(frames, Path(folder) / f"try{suffix}", Fraction(30))
        if len(list(VideoReader(Path(folder) / "try.mp4"))) != len(frames):
            raise RuntimeError("an mp4 written here does not read back whole")
    return f"writes {' '.join(CODECS)}"
