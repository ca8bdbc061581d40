"""Pictures of faces side by side: what a bundle does, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from moue import Animator, Portrait, expression, kernels, mark

VIEW = 384  # px a side at which faces are scored and compared, but with other photographs
STRIP = 12  # frames
ACROSS = 9  # actions in a row


def look(portrait: Portrait, frame: NDArray[np.uint8], side: int = VIEW) -> NDArray[np.uint8]:
    """The face square of a frame, uint8 [side, side, 3]."""
    square = kernels.preprocess(frame, portrait.faces[0].square.to_photo(), side)
    return in_bytes(square.transpose(1, 2, 0))


def in_bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def draw_strip(animator: Animator, photo: Path | NDArray[np.uint8], path: Path) -> None:
    """Twelve frames of a straight rise to `happy`."""
    degrees = np.linspace(0, 1, STRIP)
    portrait = animator.prepare(photo)
    frames = animator.frames(portrait, expression("happy").degrees(degrees.tolist()))
    draw_sheet([[look(portrait, f) for f in frames]], [f"{d:.2f}" for d in degrees], path)


def draw_each_action(animator: Animator, photo: Path | NDArray[np.uint8], path: Path) -> None:
    """One face and every action at 1, named."""
    portrait = animator.prepare(photo)
    frames = animator.frames(portrait, [{name: 1.0} for name in animator.actions])
    shown = [look(portrait, frame) for frame in frames]
    lines = [slice(k, k + ACROSS) for k in range(0, len(shown), ACROSS)]
    names = [animator.actions[line] for line in lines]
    draw_sheet([shown[line] for line in lines], [""] * ACROSS, path, names)


def draw_sheet(
    rows: Sequence[Sequence[NDArray[np.uint8]]],
    titles: Sequence[str],
    path: Path,
    names: Sequence[Sequence[str]] = (),
) -> None:
    """Rows of square pictures under their columns' titles, as one marked picture; names in the cells."""
    cell, bar = 224, 22
    sheet = Image.new("RGB", (cell * len(titles), bar + cell * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        pen.text((column * cell + 6, 5), title, fill="black")
    for line, row in enumerate(rows):
        for column, shown in enumerate(row):
            picture = Image.fromarray(shown).resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(picture, (column * cell, bar + line * cell))
    for line, named in enumerate(names):
        for column, name in enumerate(named):
            where = (column * cell + 6, bar + line * cell + 5)
            pen.text(where, name, fill="black", stroke_width=2, stroke_fill="white")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    mark(path)
