"""Frames for as long as asked, of portraits that come and go; then whether anything has grown.

    python -m tests.faults.soak BUNDLE SECONDS [leak]

The last line is one JSON document. `leak` holds on to things on purpose: what is to be found then.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import moue
from moue.crop import Face, find_faces

SIZES = ((512, 512), (320, 320), (1080, 1080), (300, 640))  # px, width and height
SAMPLES, FEWEST = 400, 12  # of a run, at most and at least
MOST = 1.0  # MB by which memory may grow, in an hour; what a shorter run cannot tell from nothing

Photo = NDArray[np.uint8]
Take = Callable[[Photo], object]


def show(animator: moue.Animator, photo: Photo, face: Face, take: Take) -> None:
    """Frames of a photo made in every way there is."""
    portrait = animator.prepare(photo, face)
    clip = moue.expression("happy").pulse(seconds=0.4, fps=20)
    take(animator.frame(portrait, moue.mix({"sad": 0.5, "surprise": 0.3})))
    for action in animator.actions[::9]:
        take(animator.frame(portrait, {action: 0.7}))
    for curve, batch in ((clip, 1), (clip, 3), ([{"jawOpen": 0.2}, {"eyeBlink": 1}], 1)):
        for frame in animator.frames(portrait, curve, batch=batch):
            take(frame)
    with closing(animator.frames(portrait, clip)) as left:
        take(next(left))


def rounds(animator: moue.Animator, take: Take) -> Iterator[None]:
    """Photos of all sizes, each time in other colours, prepared, shown and dropped."""
    from skimage import data

    whole = Image.fromarray(data.astronaut())
    photos = [np.array(whole.resize(size)) for size in SIZES]
    faces = [find_faces(photo)[0] for photo in photos]  # once: MediaPipe loses 3 kB each time
    for number in count():
        for photo, face in zip(photos, faces, strict=True):
            show(animator, photo + np.uint8(number % 9), face, take)
        yield


def counts() -> tuple[float, int, int]:
    """Memory that is held, in MB; open descriptors; threads."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # what is only kept for later is not held
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    folders = ("/proc/self/fd", "/proc/self/task")
    return pages * os.sysconf("SC_PAGESIZE") / 1e6, *(len(os.listdir(name)) for name in folders)


def soak(worked: Iterator[None], seconds: float) -> NDArray[np.float64]:
    """[n, 4]: a moment in hours, and the `counts` of that moment; a quarter of `seconds` goes before."""
    start = time.monotonic() + seconds / 4
    samples: list[tuple[float, float, int, int]] = []
    for _ in worked:
        passed = time.monotonic() - start
        if passed > seconds and len(samples) >= FEWEST:
            break
        if passed >= len(samples) * seconds / SAMPLES:
            samples.append((passed / 3600, *counts()))
    return np.array(samples)


def judged(samples: NDArray[np.float64]) -> dict[str, float | list[str]]:
    """How much has grown, and the names of what has grown too much.

    Memory by the median of the slopes between any two samples (Theil and Sen's regression), over the
    whole time; the others by their median in the last third against that in the first.
    """
    hours, memory = samples[:, 0], samples[:, 1]
    first, second = np.triu_indices(len(samples), 1)
    slopes = (memory[second] - memory[first]) / (hours[second] - hours[first])
    span, third = float(hours[-1] - hours[0]), len(samples) // 3
    more = np.median(samples[-third:], axis=0) - np.median(samples[:third], axis=0)
    grown = {
        "memory": float(np.median(slopes)) * span / max(1.0, span),
        "descriptors": float(more[2]),
        "threads": float(more[3]),
    }
    limits = {"memory": MOST, "descriptors": 0, "threads": 0}
    wrong = [name for name, limit in limits.items() if grown[name] > limit]
    return {"hours": span, "held": float(memory[-1]), **grown, "wrong": wrong}


class Leak:
    """Keeps a part of each frame, and now and then a descriptor and a thread."""

    def __init__(self) -> None:
        self.kept: list[object] = []

    def __call__(self, frame: Photo) -> None:
        self.kept.append(frame[:16].tobytes())
        if len(self.kept) % 50 == 0:
            self.kept.append(os.open(os.devnull, os.O_RDONLY))
            threading.Thread(target=threading.Event().wait, daemon=True).start()


def main(bundle: str, seconds: str, leak: str = "") -> None:
    with moue.Animator(bundle, "cpu", threads=2) as animator:
        worked = rounds(animator, Leak() if leak else len)
        print(json.dumps(judged(soak(worked, float(seconds)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
