"""Prepared faces: every portrait of a data root found, cropped and measured once.

    python -m training.data.faces --data ROOT --cache runs/faces

writes one small archive per portrait; training and evaluation read those of the portraits that the
root holds now. Portraits whose face is not found, or that cannot be read, are left out and named.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from moue.crop import Square, find_faces
from moue.errors import MoueError, PhotoError
from moue.files import whole_file
from moue.photo import read_photo
from training.scores import BlendshapeScorer, landmarker_of

CROP_SIZE = 384  # px
CROP_MARGIN = 1.35  # the crop's side in face squares: room for augmentation
HOLD_OUT = 8  # one identity in this many is never trained on


@dataclass(frozen=True)
class FaceCrop:
    """One prepared face.

    Attributes:
        name: the portrait's file name without suffix.
        identity: whose face it is; a neutral and a smiling photo share it.
        held_out: never trained on; decided by a hash of the identity alone.
        photo: uint8 RGB [384, 384, 3].
        square: the face square in the crop's pixels.
        landmarks: float32 [478, 3] in the crop's pixels.
        scores: MediaPipe's blendshape scores by ARKit name.
    """

    name: str
    identity: str
    held_out: bool
    photo: NDArray[np.uint8]
    square: Square
    landmarks: NDArray[np.float32]
    scores: dict[str, float]


def identity_of(name: str) -> str:
    """`london_012_smile` → `london_012`; other portraits are one identity each."""
    return re.sub(r"_(neutral|smile)$", "", name)


def is_held_out(identity: str) -> bool:
    return int(hashlib.sha256(identity.encode()).hexdigest(), 16) % HOLD_OUT == 0


def prepare(root: Path, cache: Path) -> list[str]:
    """Prepares every portrait under `root/portraits` not yet in the cache; names those left out.

    Raises:
        FileNotFoundError: the root holds no portraits, or not what scores them.
        OutputError: the cache cannot be written.
    """
    landmarker_of(root)
    wanted = [item for item in _archives(root, cache).items() if not item[1].exists()]
    missing: list[str] = []
    if not wanted:
        return missing
    cache.mkdir(parents=True, exist_ok=True)
    with BlendshapeScorer(root) as scorer:
        for path, target in tqdm(wanted, "faces", disable=None):
            if not _prepare(path, scorer, target):
                missing.append(path.stem)
    return missing


def load_faces(root: Path, cache: Path) -> Iterator[FaceCrop]:
    """Every prepared face of the portraits under `root/portraits`, in name order."""
    for portrait, path in _archives(root, cache).items():
        if not path.exists():
            continue
        with np.load(path) as archive:
            photo = np.asarray(Image.open(io.BytesIO(archive["photo"].tobytes())))
            landmarks = archive["landmarks"]
            scores = dict(
                zip(archive["score_names"].tolist(), archive["scores"].tolist(), strict=True)
            )
        identity = identity_of(portrait.stem)
        yield FaceCrop(
            portrait.stem,
            identity,
            is_held_out(identity),
            photo,
            Square.around(landmarks),
            landmarks,
            scores,
        )


def _archives(root: Path, cache: Path) -> dict[Path, Path]:
    """Where every portrait of the root is kept, by its name and its bytes: another photo is another."""
    portraits = sorted((root / "portraits").glob("*.jpg"))
    if not portraits:
        raise FileNotFoundError(f"{root / 'portraits'} holds no *.jpg")
    hashes = (hashlib.sha256(path.read_bytes()).hexdigest() for path in portraits)
    return {
        path: cache / f"{path.stem}_{digest[:8]}.npz"
        for path, digest in zip(portraits, hashes, strict=True)
    }


def _prepare(path: Path, scorer: BlendshapeScorer, target: Path) -> bool:
    """Writes one portrait's archive; whether there was a face to write, and to score."""
    try:
        photo = read_photo(path)
    except PhotoError:
        return False
    faces = find_faces(photo)
    if not faces:
        return False
    square = faces[0].square
    scale = CROP_SIZE / (CROP_MARGIN * square.side)
    offset = CROP_SIZE / 2 - scale * np.array([square.cx, square.cy])
    crop = resample(photo, scale, offset)
    landmarks = faces[0].landmarks * np.float32(scale)
    landmarks[:, :2] += offset.astype(np.float32)
    if not (scores := scorer(crop)):
        return False
    encoded = io.BytesIO()
    Image.fromarray(crop).save(encoded, "PNG", compress_level=1)
    with whole_file(target) as part, part.open("wb") as file:
        np.savez(
            file,
            photo=np.frombuffer(encoded.getvalue(), np.uint8),
            landmarks=landmarks,
            score_names=np.array(list(scores)),
            scores=np.array(list(scores.values()), np.float32),
        )
    return True


def resample(
    photo: NDArray[np.uint8], scale: float, offset: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """The crop, averaged when it is smaller than the photo; edges repeat."""
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    factor = max(1, int(np.ceil(1 / scale - 0.25)))
    matrix = matrix * factor  # pixel centres: x' + .5 = scale (x + .5) + offset
    matrix[:, 2] += (matrix[0, 0] - 1) / 2
    size = CROP_SIZE * factor
    large = cv2.warpAffine(
        photo, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    small = cv2.resize(large, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data root with portraits/")
    parser.add_argument("--cache", type=Path, default=Path("runs/faces"))
    arguments = parser.parse_args()
    try:
        missing = prepare(arguments.data, arguments.cache)
        count = len(_archives(arguments.data, arguments.cache)) - len(missing)
    except (FileNotFoundError, MoueError) as error:
        raise SystemExit(f"training.data.faces: error: {error}") from None
    print(f"{count} faces prepared; left out: {', '.join(missing) or 'none'}")


if __name__ == "__main__":
    main()
