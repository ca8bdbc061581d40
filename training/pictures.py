"""Draws the README's pictures: a photograph that scikit-image ships, animated by a bundle.

python -m training.pictures -o .github/pictures
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut

from moue import Animator, Portrait, expression
from moue.actions import EXPRESSIONS
from moue.video import write_frames
from training.sheets import draw_sheet, look

CLIP_SIZE, CLIP_FPS, SECONDS_EACH = 288, 20, 1.4
ACTIONS = (
    "jawOpen", "mouthPucker", "mouthLeft", "mouthSmileLeft", "browInnerUp", "browDownRight", "eyeBlinkLeft",
)  # fmt: skip
TURNS = (
    ("headYaw", -1.0), ("headYaw", 1.0), ("headPitch", -1.0), ("headPitch", 1.0),
    ("headRoll", -1.0), ("headRoll", 1.0),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="edge", help="name or folder (default edge)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    photo = np.asarray(astronaut())
    with Animator(arguments.bundle) as animator:
        portrait = animator.prepare(photo)

        def shown(weights: dict[str, float]) -> NDArray[np.uint8]:
            return look(portrait, animator.frame(portrait, weights))

        rows = [
            [shown({}), *(shown(dict(weights)) for weights in EXPRESSIONS.values())],
            [shown({name: 1.0}) for name in ACTIONS],
            [shown({}), *(shown({name: way}) for name, way in TURNS)],
        ]
        draw_sheet(rows[:1], ["photo", *EXPRESSIONS], arguments.output / "expressions.jpg")
        draw_sheet(rows[1:2], list(ACTIONS), arguments.output / "actions.jpg")
        titles = ["photo", *(f"{name} {way:+g}" for name, way in TURNS)]
        draw_sheet(rows[2:], titles, arguments.output / "turns.jpg")
        curves = [expression(name).pulse(SECONDS_EACH, CLIP_FPS) for name in EXPRESSIONS]
        frames = chain.from_iterable(animator.frames(portrait, curve) for curve in curves)
        clip = arguments.output / "expressions.webp"
        write_frames(_small(portrait, frames), clip, Fraction(CLIP_FPS))


def _small(portrait: Portrait, frames: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    for frame in frames:
        square = Image.fromarray(look(portrait, frame))
        yield np.asarray(square.resize((CLIP_SIZE, CLIP_SIZE), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
