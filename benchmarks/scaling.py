"""Time and memory against frames, photo size, actions, batch, threads and portraits held.

    python -m benchmarks.scaling

The growth must be what the design says: prepare constant, memory flat in frames, time linear.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks import face_in, in_turns, picture, report
from moue import ActionCurve, Animator, Portrait
from moue.kernels.cores import usable_cores

FRAMES = (10, 100, 1000)
PHOTOS = {"256²": (256, 256), "720p": (720, 1280), "1080p": (1080, 1920), "4K": (2160, 3840)}
ACTIONS = (1, 5, 10, 20, 54)
BATCHES = (1, 2, 4, 8)
PORTRAITS = (1, 10, 100, 1000)
SMALL = (512, 512)  # px, the photo of each: it is held too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument(
        "--portraits", type=int, default=100, help="held at most (default: 100; 1000 take 32 GB)"
    )
    arguments = parser.parse_args()
    rounds = arguments.rounds
    results: dict[str, object] = {}
    with Animator("edge", "cpu") as animator:
        photo = picture()
        portrait = animator.prepare(photo, face_in(photo))

        results["frames"] = {}
        for count in FRAMES:
            took = in_turns({"clip": lambda n=count: _clip(animator, portrait, n)}, 1)["clip"]
            results["frames"][count] = {"s": took / 1000, "memory_mb": _memory()}

        portraits = {}
        for name, size in PHOTOS.items():
            shown = picture(*size)
            portraits[name] = animator.prepare(shown, face_in(shown, min(size) * 0.6))
        results["photo"] = in_turns(
            {n: lambda p=p: next(_frames(animator, p, 1)) for n, p in portraits.items()}, rounds
        )
        results["actions"] = in_turns(
            {
                str(count): lambda n=count: next(_frames(animator, portrait, 1, active=n))
                for count in ACTIONS
                if count <= len(animator.actions)
            },
            rounds,
        )
        took = in_turns(
            {str(size): lambda n=size: _consume(animator, portrait, n, n) for size in BATCHES},
            rounds // 2,
        )
        results["batch"] = {size: ms / int(size) for size, ms in took.items()}

        shown, held = picture(*SMALL), []
        animator.prepare(shown, face_in(shown))  # what encoding leaves behind is no portrait's
        before = _memory()
        results["portraits"] = {}
        for count in (n for n in PORTRAITS if n <= arguments.portraits):
            while len(held) < count:
                held.append(animator.prepare(shown, face_in(shown, min(SMALL) * 0.6)))
            results["portraits"][count] = {"mb_each": (_memory() - before) / count}
        del held
    results["threads"] = in_turns(
        {str(n): _with_threads(n) for n in range(1, usable_cores() + 1)}, rounds
    )
    for name, values in results.items():
        print(f"{name:10} {values}", file=sys.stderr)
    report("scaling", rounds=rounds, unit="ms a frame where not said", **results)


def _frames(
    animator: Animator, portrait: Portrait, count: int, batch: int = 1, active: int = 9
) -> Iterator[object]:
    vector = np.zeros(len(animator.actions), np.float32)
    vector[:active] = 0.5
    return animator.frames(portrait, (vector for _ in range(count)), batch)


def _with_threads(threads: int) -> Callable[[], object]:
    """A run of one frame, on so many threads."""
    animator, photo = Animator("edge", "cpu", threads=threads), picture()
    portrait = animator.prepare(photo, face_in(photo))
    return lambda: next(_frames(animator, portrait, 1))


def _consume(animator: Animator, portrait: Portrait, count: int, batch: int = 1) -> None:
    for _ in _frames(animator, portrait, count, batch):
        pass


def _clip(animator: Animator, portrait: Portrait, count: int) -> None:
    """Frames of a curve, which are made side by side."""
    values = np.full((count, 9), 0.5, np.float32)
    for _ in animator.frames(portrait, ActionCurve(animator.actions[:9], values, Fraction(30))):
        pass


def _memory() -> float:
    """Megabytes this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    main()
