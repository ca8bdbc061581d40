"""How fast this machine makes frames: every stage by itself, the frame loop, a clip end to end."""

from __future__ import annotations

import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from fractions import Fraction
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import moue
from moue import kernels
from moue.animator import Animator, Portrait
from moue.bundle import load_bundle
from moue.crop import Face, Square, faces_in
from moue.curves import ActionCurve
from moue.errors import NoFaceError, UsageError, VideoError
from moue.expressions import mix
from moue.files import whole_file
from moue.photo import read_photo
from moue.video import write_frames

SIZE = 512  # px, side of the face square where no photo says otherwise
PLAIN = (1080, 1920)  # px, height and width of the picture that stands in for a photo
WARM_UP = 0.5  # s, or three rounds if they take longer
LEAST = 5  # rounds of any stage
STUCK = 11.0  # s without a picture from the camera
CLIP = 2, 30  # seconds and frames a second of the clip
POWER = (  # where systems say how they save it: any Linux, laptops, Jetson
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "/sys/firmware/acpi/platform_profile",
    "/var/lib/nvpmodel/status",
)
PERCENTILES = (50, 95, 99)
AXIS = "ms a frame: median, middle half, 1st to 99th percentile"
BLUE = "#2171b5"
PACKAGES = ("numpy", "onnxruntime", "onnx", "pillow", "av", "mediapipe")


@dataclass(frozen=True)
class Stage:
    """What one stage took, float64 [rounds] in milliseconds a frame."""

    name: str
    what: str
    times: NDArray[np.float64]

    def to_json(self) -> dict[str, float]:
        marks = {f"p{p}_ms": round(float(np.percentile(self.times, p)), 4) for p in PERCENTILES}
        return {**marks, "rounds": len(self.times)}


@dataclass(frozen=True)
class Report:
    """Every stage that was measured, and all that the numbers depend on."""

    stages: tuple[Stage, ...]
    setting: dict[str, Any]

    @property
    def fps(self) -> float:
        """Frames a second of the frame loop: skip-sum, decode, compose."""
        (frame,) = (stage for stage in self.stages if stage.name == "frame")
        return 1000 / float(np.median(frame.times))

    def to_json(self) -> dict[str, Any]:
        stages = {stage.name: stage.to_json() for stage in self.stages}
        return {"fps": round(self.fps, 1), **self.setting, "stages": stages}

    def __str__(self) -> str:
        head = "".join(f"{f'p{p}':>9}" for p in PERCENTILES)
        lines = [f"{'ms a frame':12}{head}   rounds"]
        for stage in self.stages:
            marks = "".join(f"{np.percentile(stage.times, p):9.2f}" for p in PERCENTILES)
            lines.append(f"{stage.name:12}{marks} {len(stage.times):8}   {stage.what}")
        setting = self.setting
        width, height = setting["photo"]
        lines.append(
            f"{self.fps:.1f} frames a second, {setting['runtime']} on {setting['device']}"
            f" ({setting['processor']}), {setting['threads']} threads, batch {setting['batch']};"
            f" {width}×{height} photo, face square {setting['face']:.0f} px;"
            f" peak memory {setting['peak_memory_mb']:.0f} MB"
        )
        return "\n".join(lines)


def measure(
    bundle: str,
    device: str = "auto",
    runtime: str = "auto",
    threads: int = 0,
    photo: str | None = None,
    size: int | None = None,
    batch: int = 1,
    seconds: float = 3.0,
    camera: str | None = None,
) -> Report:
    """Measures every stage; each gets its share of the time, after a warm-up.

    Args:
        bundle, device, runtime, threads: as `Animator` takes them.
        photo: the file to animate; a picture of waves, its face square given, when None.
        size: px, side of the face square; the photo is scaled to it. As the photo has it, or
            512, when None.
        batch: frames decoded at a time.
        seconds: of measuring, shared by the stages.
        camera: what `moue live --camera` takes; its pictures are tracked. None leaves that out.

    Raises:
        UsageError: numbers that are out of range.
        MoueError: what animating the photo would raise.
    """
    if size is not None and not 32 <= size <= 4096:
        raise UsageError(f"size must be in 32 … 4096 px, but got {size}")
    if batch < 1:
        raise UsageError(f"batch must be a whole number from 1, but got {batch}")
    if not 0 < seconds <= 3600:
        raise UsageError(f"seconds must be in 0 … 3600, but got {seconds:g}")
    opened = load_bundle(bundle)
    stages = [] if camera is None else [_track(camera, seconds / 8)]
    with Animator(opened, device, runtime, threads) as animator:
        pixels, face = _scene(photo, size)
        portrait = animator.prepare(pixels, face)
        curve = _curve(animator)
        work = list(_work(animator, portrait, pixels, face, curve, batch))
        stages += [
            Stage(name, what, _times(run, frames, seconds / len(work)))
            for name, what, run, frames in work
        ]
        stages.append(_clip(animator, portrait, curve, batch))
        setting = {
            "moue": moue.__version__,
            "bundle": f"{opened.manifest.name} {opened.manifest.version}",
            "device": animator.runtime.device,
            "runtime": animator.runtime.name,
            "kernels": kernels.BACKEND,
            "threads": animator.threads,
            "batch": batch,
            "photo": [pixels.shape[1], pixels.shape[0]],
            "face": round(face.square.side, 1),
            "actions": int(np.count_nonzero(curve.values[-1])),
            "seconds": seconds,
            "warm_up_s": WARM_UP,
            "peak_memory_mb": round(_peak_memory() / 1e6, 1),
            **_machine(),
        }
    return Report(tuple(stages), setting)


def plot(report: Report, path: Path) -> None:
    """Draws how the times of every stage are spread, along a logarithmic axis, as a PNG."""
    from PIL import Image, ImageDraw, ImageFont

    row, left, width, top = 44, 130, 1100, 70
    stages = report.stages
    spread = [np.percentile(stage.times, (1, 25, 50, 75, 99)) for stage in stages]
    low, high = np.log10(min(s[0] for s in spread)), np.log10(max(s[-1] for s in spread))
    low, high = np.floor(low * 2) / 2, np.ceil(high * 2 + 1e-9) / 2

    def place(ms: float) -> float:
        return left + (width - left - 90) * float((np.log10(ms) - low) / (high - low))

    picture = Image.new("RGB", (width, top + row * len(stages) + 60), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    bottom = top + row * len(stages)
    draw.text((left, 20), f"{report.setting['processor']}: {report.fps:.1f} frames a second",
              "black", font)  # fmt: skip
    for power in range(int(np.ceil(low)), int(np.floor(high)) + 1):
        x = place(10.0**power)
        draw.line([(x, top), (x, bottom)], "#dddddd")
        draw.text((x, bottom + 8), f"{10.0**power:g}", "black", font, anchor="ma")
    draw.text((left, bottom + 34), AXIS, "black", font)
    for k, (stage, (least, quarter, middle, rest, most)) in enumerate(
        zip(stages, spread, strict=True)
    ):
        y = top + row * k + row // 2
        draw.text((left - 12, y), stage.name, "black", font, anchor="rm")
        draw.line([(place(least), y), (place(most), y)], BLUE, 2)
        draw.rectangle([(place(quarter), y - 10), (place(rest), y + 10)], "#c6dbef", BLUE)
        draw.line([(place(middle), y - 12), (place(middle), y + 12)], "black", 3)
        draw.text(
            (place(most) + 8, y),
            f"{middle:.3g}" if middle < 100 else f"{middle:.0f}",
            "black",
            font,
            anchor="lm",
        )
    with whole_file(path) as part:
        picture.save(part, "PNG")


def _scene(photo: str | None, size: int | None) -> tuple[NDArray[np.uint8], Face]:
    """The picture and the face in it."""
    if photo is None:
        height, width = PLAIN
        side = float(size or SIZE)
        y, x = np.mgrid[0:height, 0:width] / 256
        waves = np.stack([np.sin(9 * x + 4 * y), np.cos(7 * y - 5 * x), np.sin(12 * x * y)], -1)
        pixels = np.asarray(127.5 + 100 * waves, np.uint8)
        return pixels, Face(
            Square(width / 2, height / 2, side, 0.05), np.zeros((478, 3), np.float32), 1.0
        )
    pixels = read_photo(photo)
    faces = faces_in(pixels)
    if faces and size is not None:
        from PIL import Image

        scale = size / faces[0].square.side
        shape = [max(32, round(n * scale)) for n in (pixels.shape[1], pixels.shape[0])]
        pixels = read_photo(np.asarray(Image.fromarray(pixels).resize((shape[0], shape[1]))))
        faces = faces_in(pixels)
    if not faces:
        raise NoFaceError(f"no face found in {photo}; it must show one, large enough")
    return pixels, faces[0]


def _curve(animator: Animator) -> ActionCurve:
    """The first of the bundle's expressions as it rises, without a frame at rest."""
    name = next(iter(animator.expressions))
    seconds, fps = CLIP
    rise = mix({name: 1.0}, {}, animator.expressions).rise(seconds, fps)
    degrees = np.linspace(0.05, 1, len(rise), dtype=np.float32)[:, None]
    return ActionCurve(rise.actions, degrees * rise.values[-1], rise.fps)


Work = tuple[str, str, Callable[[], object], int]  # name, what it is, one round, frames in it


def _work(
    animator: Animator,
    portrait: Portrait,
    pixels: NDArray[np.uint8],
    face: Face,
    curve: ActionCurve,
    batch: int,
) -> Iterator[Work]:
    shown = "" if face.landmarks.any() else "; none in this one: every way is tried"
    yield "find face", f"once a photo{shown}", lambda: faces_in(pixels), 1
    yield "prepare", "encode, once a photo", lambda: animator.prepare(pixels, face), 1
    if animator.runtime.device == "cpu":
        yield from _steps(animator, portrait, curve, batch)
    moving = (dict(zip(curve.actions, map(float, row), strict=True)) for row in cycle(curve.values))
    frames = animator.frames(portrait, moving, batch)
    yield "frame", "skip-sum, decode, compose", lambda: list(islice(frames, batch)), batch
    yield (
        "curve",
        "frames known ahead",
        lambda: _consume(animator, portrait, curve, batch),
        len(curve),
    )


def _consume(animator: Animator, portrait: Portrait, curve: ActionCurve, batch: int) -> None:
    for _ in animator.frames(portrait, curve, batch):
        pass


def _steps(
    animator: Animator, portrait: Portrait, curve: ActionCurve, batch: int
) -> Iterator[Work]:
    """The frame loop's steps, as the animator takes them on a CPU."""
    face, threads = portrait.faces[0], animator.threads
    vectors = np.zeros((batch, len(animator.actions)), np.float32)
    vectors[:, [animator.actions.index(name) for name in curve.actions]] = curve.values[-1]
    sum_skips = partial(face.features.skips, vectors, face.features.room(batch), threads)
    features = sum_skips()
    outputs = {name: array.copy() for name, array in animator.runtime.decode(features).items()}
    compose = partial(face.compose, portrait.photo, outputs, threads=threads)
    yield "skip-sum", f"{np.count_nonzero(vectors[0])} actions", sum_skips, batch
    yield "decode", "", lambda: animator.runtime.decode(features), batch
    yield "compose", "into a new frame", compose, 1


def _track(source: str, seconds: float) -> Stage:
    """The newest pictures of a camera or of a file that plays, again and again, as a camera."""
    from moue.tracking import Tracker
    from moue.video.camera import open_camera

    times: list[float] = []
    seen, number = 0, -1
    with Tracker() as tracker, open_camera(source, loop=True) as camera:
        begin = time.perf_counter()
        while len(times) < LEAST + 1 or time.perf_counter() - begin < seconds:
            fresh = camera.newer(number, timeout=STUCK)
            if fresh is None:
                raise VideoError(f"{source} gives no pictures any more")
            number = fresh.number
            start = time.perf_counter()
            tracked = tracker.track(fresh.item, fresh.seconds)
            times.append((time.perf_counter() - start) * 1000)
            seen += tracked.landmarks is not None
    what = f"a picture's face and actions; a face in {seen} of {len(times)}"
    return Stage("track", what, np.array(times[1:]))


def _clip(animator: Animator, portrait: Portrait, curve: ActionCurve, batch: int) -> Stage:
    """A whole clip, encoded while it is made."""
    seconds, fps = CLIP
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        run = partial(_write, animator, portrait, curve, batch, path)
        times = _times(run, len(curve), seconds=0, least=3)
    return Stage("clip", f"frames and H.264, {seconds} s at {fps} a second", times)


def _write(
    animator: Animator, portrait: Portrait, curve: ActionCurve, batch: int, path: Path
) -> None:
    write_frames(animator.frames(portrait, curve, batch), path, Fraction(curve.fps))


def _times(
    run: Callable[[], object], frames: int, seconds: float, least: int = LEAST
) -> NDArray[np.float64]:
    """Milliseconds a frame of every round, float64 [rounds]."""
    begin, rounds = time.perf_counter(), 0
    while rounds < min(3, least) and (rounds < 1 or time.perf_counter() - begin < WARM_UP):
        run()
        rounds += 1
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < least or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000 / frames)
    return np.array(times)


def _peak_memory() -> float:
    """Bytes this process has held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _machine() -> dict[str, Any]:
    power = [text for path in POWER if (text := _text(path).strip())]
    models = [line for line in _text("/proc/cpuinfo").splitlines() if "model name" in line.lower()]
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "power_mode": ", ".join(power) or None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
