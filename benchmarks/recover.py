"""How much of a known performance comes back when the face that plays it drives.

    python -m benchmarks.recover --photo photo.jpg --seconds 20 --plot recovered.png

A portrait plays actions a(t) that are known, into a video; the tracker reads the video as it would
any driver's. The last line on standard output is one JSON document: the correlation of what came back
with a(t), by action, and how many frames later it came.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moue.animator import Animator
from moue.curves import ActionCurve
from moue.drive import Performance
from moue.live import prepare
from moue.photo import Source
from moue.tracking import Tracker
from moue.video import VideoReader, write_frames

# What is played: actions that go together, and how long one goes up and down, in seconds.
PARTS: Mapping[tuple[str, ...], tuple[float, float]] = {
    ("jawOpen",): (0.3, 1.2),
    ("mouthSmileLeft", "mouthSmileRight"): (0.8, 2.0),
    ("eyeBlinkLeft", "eyeBlinkRight"): (0.25, 0.5),
    ("browInnerUp",): (0.5, 1.5),
    ("browDownLeft", "browDownRight"): (0.5, 1.5),
    ("mouthPucker",): (0.4, 1.2),
    ("noseSneerLeft", "noseSneerRight"): (0.4, 1.2),
    ("mouthFrownLeft", "mouthFrownRight"): (0.6, 1.6),
}
SHOWN = ("jawOpen", "mouthSmileLeft", "eyeBlinkLeft", "browInnerUp")  # in the plot
AT_REST = 1.5  # s before anything moves
SHARE = 0.3  # of the time that each part is moving
DELAYS = range(-2, 10)  # frames that are tried


@dataclass(frozen=True)
class Recovered:
    """What came back: correlation and ratio of amplitudes by action, and the delay in frames."""

    correlation: dict[str, float]
    amplitude: dict[str, float]
    delay: int
    frames: int
    fps: float


def performance(seconds: float, fps: Fraction, seed: int = 0) -> ActionCurve:
    """A known a(t): every part comes and goes by itself, in smooth strokes at random times."""
    random, frames = np.random.default_rng(seed), round(seconds * fps)
    t = np.arange(frames) / float(fps)
    columns: dict[str, NDArray[np.float32]] = {}
    for names, (short, long) in PARTS.items():
        stroke, at = np.zeros(frames), AT_REST + random.uniform(0, 2 * long)
        while at < seconds:
            length = random.uniform(short, long)
            phase = np.clip((t - at) / length, 0, 1)
            stroke += random.uniform(0.4, 1.0) * (0.5 - 0.5 * np.cos(2 * np.pi * phase))
            at += length * random.uniform(1.0, 2.0 / SHARE - 1.0)
        columns.update(dict.fromkeys(names, stroke.astype(np.float32)))
    return ActionCurve(tuple(columns), np.stack(list(columns.values()), axis=1), fps)


def compare(given: ActionCurve, back: ActionCurve) -> Recovered:
    """Correlations and amplitudes at the one delay that suits all actions best."""
    true = {name: given.values[:, k] for k, name in enumerate(given.actions)}
    read = {name: back.values[:, back.actions.index(name)] for name in given.actions}
    by_delay = {
        delay: {name: _correlation(*_side_by_side(true[name], read[name], delay)) for name in true}
        for delay in DELAYS
    }
    delay = max(by_delay, key=lambda d: float(np.mean(list(by_delay[d].values()))))
    amplitude = {}
    for name in true:
        a, b = _side_by_side(true[name], read[name], delay)
        amplitude[name] = float((a @ b) / max(a @ a, 1e-9))
    return Recovered(by_delay[delay], amplitude, delay, len(given), float(given.fps))


def _side_by_side(
    true: NDArray[np.float32], read: NDArray[np.float32], delay: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What was played, and what was read so many frames later, as far as both go."""
    count = min(len(true), len(read)) - abs(delay)
    return true[max(0, -delay) :][:count], read[max(0, delay) :][:count]


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def recover(
    animator: Animator, photo: Source, given: ActionCurve, height: int, scores: Path | None = None
) -> ActionCurve:
    """Plays a performance on a photo and reads it back from the video."""
    portrait = prepare(animator, photo, height, "largest")
    with tempfile.TemporaryDirectory() as folder, Tracker(scores) as tracker:
        video = Path(folder) / "performance.mp4"
        write_frames(animator.frames(portrait, given), video, given.fps)
        played = Performance(VideoReader(video), tracker, given.fps, keep=True)
        for _ in played:
            pass
        return played.curve()


def plot(given: ActionCurve, back: ActionCurve, path: Path) -> None:
    """Draws what was played, grey, and what came back, blue, as a PNG: an action a row."""
    from PIL import Image, ImageDraw, ImageFont

    left, width, row, gap = 170, 1100, 90, 14
    picture = Image.new("RGB", (width, len(SHOWN) * (row + gap) + 40), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    seconds = len(given) / float(given.fps)

    def line(curve: ActionCurve, name: str, floor: int) -> list[tuple[float, float]]:
        values = curve.values[:, curve.actions.index(name)]
        step = (width - left - 20) / (seconds * float(curve.fps))
        return [(left + k * step, floor - row * float(v)) for k, v in enumerate(values)]

    for k, name in enumerate(SHOWN):
        floor = gap + row + k * (row + gap)
        ground = [(left, floor), *line(given, name, floor), (width - 20, floor)]
        draw.polygon(ground, "#dddddd")
        draw.line(line(back, name, floor), "#2171b5", 2)
        draw.text((left - 12, floor - row / 2), name, "black", font, anchor="rm")
    for second in range(0, int(seconds) + 1, 2):
        x = left + second * (width - left - 20) / seconds
        draw.text((x, picture.height - 30), f"{second} s", "black", font, anchor="ma")
    picture.save(path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photo", type=Path, action="append", required=True)
    parser.add_argument("--bundle", default="edge")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--fps", type=Fraction, default=Fraction(30))
    parser.add_argument("--size", type=int, default=720, help="px, the video's height at most")
    parser.add_argument("--scores", type=Path, help="face_landmarker.task, to read with instead")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="the first photo's curves")
    arguments = parser.parse_args(argv)
    given = performance(arguments.seconds, arguments.fps)
    with Animator(arguments.bundle) as animator:
        curves = {
            photo.name: recover(animator, photo, given, arguments.size, arguments.scores)
            for photo in arguments.photo
        }
    if arguments.plot is not None:
        plot(given, next(iter(curves.values())), arguments.plot)
    results = {name: asdict(compare(given, back)) for name, back in curves.items()}
    means = {
        name: round(float(np.mean([r["correlation"][name] for r in results.values()])), 3)
        for name in given.actions
    }
    print(json.dumps({"correlation": means, "photos": results}))


if __name__ == "__main__":
    main()
