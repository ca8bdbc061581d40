"""Small sets of clips, laid out as CK+, CK++, MUG and Oulu-CASIA are, of a face that opens its mouth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from moue.crop import Face
from training.teacher.head import IBUG68

SIDE = 300  # px of a frame


def frames(
    photo: NDArray[np.uint8], face: Face, degrees: list[float], grey: bool = False
) -> list[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """The face with its chin and lower lip lowered by each degree, and its 68 points there."""
    square = face.square
    left, top = (round(v - square.side * 0.7) for v in (square.cx, square.cy))
    edge = round(1.4 * square.side)
    crop = photo[max(top, 0) : top + edge, max(left, 0) : left + edge]
    scale = SIDE / len(crop)
    crop = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    points = (face.landmarks[list(IBUG68), :2] - (max(left, 0), max(top, 0))) * scale
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    lips, chin = points[[62, 66], 1].mean(), points[8, 1]
    made = []
    for degree in degrees:

        def lowered(at: NDArray, degree: float = degree) -> NDArray:
            fall = np.clip((at[..., 1] - lips) / (chin - lips), 0, 1)
            side = np.exp(-(((at[..., 0] - points[8, 0]) / 45) ** 2))
            return 14 * degree * np.minimum(1, 3 * fall) * side

        moved = points.copy()
        moved[:, 1] += lowered(points)
        picture = cv2.remap(
            crop, x, y - lowered(np.stack([x, y], -1)).astype(np.float32), cv2.INTER_LINEAR
        )
        if grey:
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        made.append((picture, moved))
    return made


def write(path: Path, picture: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture)


def ck(root: Path, photo: NDArray[np.uint8], face: Face, people: list[str]) -> Path:
    """Everyone surprised (7) in take 001, contemptuous (2) in 002, unlabelled in 003; grey."""
    shown = frames(photo, face, [0, 0.3, 0.7, 1], grey=True)
    for person in people:
        for take, emotion in (("001", 7.0), ("002", 2.0), ("003", None)):
            for k, (picture, points) in enumerate(shown if emotion == 7 else shown[:2], 1):
                name = f"{person}_{take}_{k:08}"
                write(root / "cohn-kanade-images" / person / take / f"{name}.png", picture)
                marks = root / "Landmarks" / person / take / f"{name}_landmarks.txt"
                marks.parent.mkdir(parents=True, exist_ok=True)
                np.savetxt(marks, points, "   %.7e")
            if emotion is not None:
                label = root / "Emotion" / person / take / f"{name}_emotion.txt"
                label.parent.mkdir(parents=True, exist_ok=True)
                label.write_text(f"   {emotion:.7e}\n")
        (root / "cohn-kanade-images" / person / ".DS_Store").touch()
    return root


def ck_plus_plus(root: Path, photo: NDArray[np.uint8], face: Face, people: list[str]) -> Path:
    """Happy twice and neutral; the second take of happy has landmark files."""
    shown = frames(photo, face, [0, 0.5, 1])
    for person in people:
        for folder in ("happy/1", "happy/2", "neutral"):
            for k, (picture, points) in enumerate(shown):
                write(root / person / folder / f"{k:03}.png", picture)
                if folder == "happy/2":
                    np.savetxt(root / person / folder / f"{k:03}_landmarks.txt", points)
    return root


def mug(root: Path, photo: NDArray[np.uint8], face: Face, people: list[str]) -> Path:
    """Anger that rises, stays and returns."""
    for person in people:
        for k, (picture, _) in enumerate(frames(photo, face, [0, 0, 0.5, 1, 1, 0.5, 0])):
            write(root / "subjects3" / person / "anger" / "take000" / f"img_{k:04}.jpg", picture)
    return root


def oulu(root: Path, photo: NDArray[np.uint8], face: Face, people: list[str]) -> Path:
    """Visible light and infrared, the original and a crop of it."""
    for above in ("OriginalImg/VL", "OriginalImg/NI", "PreProcess Img/VL_Acropped"):
        for person in people:
            for k, (picture, _) in enumerate(frames(photo, face, [0, 1])):
                write(root / above / "Strong" / person / "Happiness" / f"{k:03}.jpeg", picture)
    return root
