"""Clips: frames of a face from neutral to the peak of one expression, as the paper learns from.

    python -m training.train --preset paper --clips ROOT [--layout auto]

reads the folders of CK+, of sets recorded like the paper's CK++, of MUG and of Oulu-CASIA:

    ck+         cohn-kanade-images/S005/001/*.png, Landmarks/S005/001/*_landmarks.txt,
                Emotion/S005/001/*_emotion.txt
    ck++        PERSON/EXPRESSION[/TAKE]/*.png, where there is one with NAME_landmarks.txt beside it
    mug         001/anger/take000/*.jpg; each take returns to rest, and is cut at its peak
    oulu-casia  VL/Strong/P001/Anger/*.jpeg; the infrared half (NI) is left out

Every clip is cropped and measured once, into one small archive; landmarks come from the set's own
files, 68 lines of x and y, and from MediaPipe where there are none.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from moue.actions import ACTIONS, EXPRESSIONS, action_vector
from moue.crop import Square, find_faces
from moue.errors import MoueError
from moue.files import whole_file
from moue.photo import read_photo
from training.data.faces import CROP_MARGIN, CROP_SIZE, is_held_out, resample
from training.data.view import Augment, Random, View
from training.teacher.head import IBUG68
from training.tracker import Measure

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
ONSET, PEAK = 0.1, 0.95  # of the farthest that landmarks go from rest: where a motion starts, ends
NAMES = {  # what the sets call the six expressions
    "happy": "happy happiness joy smile",
    "sad": "sad sadness",
    "surprise": "surprise surprised",
    "angry": "angry anger",
    "disgust": "disgust disgusted",
    "fear": "fear fearful afraid",
}
CK_EMOTIONS = {1: "angry", 3: "disgust", 4: "fear", 5: "happy", 6: "sad", 7: "surprise"}


class ClipsError(Exception):
    """A folder of clips that cannot be used; says why, and what is wanted."""


@dataclass(frozen=True)
class ClipFiles:
    """One clip where its set keeps it.

    Attributes:
        name: of the clip, and of its archive.
        identity: the set and the person in it.
        expression: one of the six.
        frames: pictures in order, the first neutral.
        landmarks: the file of each frame's 68 points, None where there is none.
        returns: the clip goes back to rest, so its peak is yet to be found.
    """

    name: str
    identity: str
    expression: str
    frames: tuple[Path, ...]
    landmarks: tuple[Path | None, ...]
    returns: bool = False


@dataclass(frozen=True)
class Clip:
    """One prepared clip.

    Attributes:
        path: its archive; frame t of it is `frame(t)`.
        identity: whose face it is.
        held_out: never trained on; decided by a hash of the identity alone.
        expression: shown in full by the last frame.
        square: the first frame's face square in the crop's pixels; the camera stands still.
        landmarks: float32 [T, 68, 2], iBUG's points in the crop's pixels.
        degrees: float32 [T], a = (t − 1) / (T − 1) over all frames from neutral to peak, counted
            from 1; of those in which no face was found none is here.
    """

    path: Path
    identity: str
    held_out: bool
    expression: str
    square: Square
    landmarks: NDArray[np.float32]
    degrees: NDArray[np.float32]

    def frame(self, t: int) -> NDArray[np.uint8]:
        """uint8 RGB [384, 384, 3]."""
        with np.load(self.path) as archive:
            return np.asarray(Image.open(io.BytesIO(archive[f"frame_{t:04}"].tobytes())))


@dataclass(frozen=True)
class ClipSample:
    """A clip's first frame and K of its frames.

    photo: float32 [3, S, S] in [0, 1]; actions: float32 [K, n], degrees of one expression; real:
    float32 [K, 3, S, S]; landmarks: float32 [K, 68, 2] in crop coordinates.
    """

    photo: NDArray[np.float32]
    actions: NDArray[np.float32]
    real: NDArray[np.float32]
    landmarks: NDArray[np.float32]


class ClipSource:
    """Clips: the neutral frame in, any of the clip's frames out."""

    def __init__(self, clips: Sequence[Clip], size: int, vectors: int, augment: Augment) -> None:
        self.clips, self.size, self.vectors, self.augment = clips, size, vectors, augment

    def sample(self, random: Random) -> ClipSample:
        clip = self.clips[random.integers(len(self.clips))]
        view = View.draw(random, clip.square, self.size, self.augment)
        drawn = random.integers(len(clip.landmarks), size=self.vectors)
        first, *others = (
            view.resample(view.shade(clip.frame(int(t)))).astype(np.float32) / 255
            for t in (0, *drawn)
        )
        pictures = np.stack([view.degrade(first), *others]).transpose(0, 3, 1, 2)
        if view.flip:
            pictures = pictures[..., ::-1]
        peak = np.asarray(action_vector(EXPRESSIONS[clip.expression], ACTIONS))
        return ClipSample(
            np.ascontiguousarray(pictures[0]),
            clip.degrees[drawn, None] * peak,
            np.ascontiguousarray(pictures[1:]),
            view.place(clip.landmarks[drawn]),
        )


def find_clips(root: Path, layout: str = "auto") -> list[ClipFiles]:
    """Every clip of the six expressions under `root`.

    Args:
        root: the set's folder.
        layout: `auto` or one of `LAYOUTS`.

    Raises:
        ClipsError: the folder is laid out otherwise, or holds no clip with a known expression.
    """
    if not root.is_dir():
        raise ClipsError(f"there is no folder {root}")
    wanted = LAYOUTS if layout == "auto" else {layout: LAYOUTS[layout]}
    root = root.resolve()
    for adapter in wanted.values():
        # Oulu-CASIA keeps every clip again in other crops: the first is the original.
        if found := {clip.name: clip for clip in reversed(list(adapter(root)))}:
            return sorted(found.values(), key=lambda clip: clip.name)
    forms = "; ".join(f"{name}: {FORMS[name]}" for name in wanted)
    raise ClipsError(f"{root} holds no clips of the six expressions laid out as {forms}")


def prepare_clips(files: Sequence[ClipFiles], cache: Path) -> list[str]:
    """Crops and measures every clip that is not in the cache yet; names those left out.

    A frame whose face is not found is dropped; a clip whose first one is, or with fewer than two
    left, is left out.

    Raises:
        ClipsError: a frame, or the file of its landmarks, cannot be read.
        OutputError: the cache cannot be written.
    """
    cache.mkdir(parents=True, exist_ok=True)
    wanted = [clip for clip in files if not _archive(clip, cache).exists()]
    missing = []
    if wanted:
        measure = Measure()
        for clip in tqdm(wanted, "clips", disable=None):
            if not _prepare(clip, measure, _archive(clip, cache)):
                missing.append(clip.name)
    return missing


def load_clips(files: Sequence[ClipFiles], cache: Path) -> list[Clip]:
    """The prepared ones of the clips; their frames stay on disk until they are asked for."""
    clips = []
    for clip in files:
        path = _archive(clip, cache)
        if path.exists():
            with np.load(path) as archive:
                square = Square(*archive["square"].tolist())
                measured = archive["landmarks"], archive["degrees"]
            held_out = is_held_out(clip.identity)
            clips.append(Clip(path, clip.identity, held_out, clip.expression, square, *measured))
    return clips


def showing(clips: Sequence[Clip], expressions: Sequence[str]) -> list[Clip]:
    """The clips of these expressions.

    Raises:
        ClipsError: an expression has no clip of a person who may be trained on.
    """
    known = [clip.expression for clip in clips if not clip.held_out]
    for name in expressions:
        if name not in known:
            counts = ", ".join(f"{n} ({known.count(n)})" for n in sorted(set(known))) or "none"
            raise ClipsError(
                f"no clip of a person to train on shows {name!r}; shown are: {counts} "
                "(one person in eight is held out); choose with --expressions"
            )
    return [clip for clip in clips if clip.expression in expressions]


def _archive(clip: ClipFiles, cache: Path) -> Path:
    """Where a clip is kept, by its name and where its frames are: two sets may number people alike."""
    places = "\n".join(str(frame.resolve()) for frame in clip.frames)
    place = hashlib.sha256(places.encode()).hexdigest()
    return cache / f"{clip.name}_{place[:8]}.npz"


def _prepare(clip: ClipFiles, measure: Measure, target: Path) -> bool:
    """Writes one clip's archive whole or not at all; whether there was a clip to write."""
    try:
        photos = [read_photo(path) for path in clip.frames]
    except MoueError as error:
        raise ClipsError(str(error)) from None
    faces = find_faces(photos[0])
    if not faces:
        return False
    scale = CROP_SIZE / (CROP_MARGIN * faces[0].square.side)
    offset = CROP_SIZE / 2 - scale * np.array([faces[0].square.cx, faces[0].square.cy])
    square = Square.around(scale * faces[0].landmarks[:, :2] + offset)
    kept, points, numbers = [], [], []
    for number, (photo, path) in enumerate(zip(photos, clip.landmarks, strict=True)):
        crop = resample(photo, scale, offset)
        if path is not None:
            own = (scale * _read_landmarks(path) + offset).astype(np.float32)
        elif (mesh := measure(crop)) is not None:
            own = mesh[list(IBUG68), :2]
        else:
            continue
        kept.append(crop)
        points.append(own)
        numbers.append(number)
    if not numbers or numbers[0] > 0:
        return False
    last = len(photos) - 1
    if clip.returns and len(points) > 2:
        onset, peak = rise(np.stack(points))
        last = numbers[peak]
        way = slice(onset, peak + 1)
        kept, points, numbers = kept[way], points[way], numbers[way]
    if len(kept) < 2:
        return False
    degrees = (np.array(numbers) - numbers[0]) / (last - numbers[0])
    with whole_file(target) as part, part.open("wb") as file:
        np.savez(
            file,
            square=np.array([square.cx, square.cy, square.side, square.angle]),
            landmarks=np.stack(points),
            degrees=degrees.astype(np.float32),
            **{f"frame_{t:04}": _png(crop) for t, crop in enumerate(kept)},
        )
    return True


def rise(points: NDArray[np.float32]) -> tuple[int, int]:
    """The first and the last frame of the way from rest to the peak, in a clip that returns.

    Args:
        points: float32 [T, 68, 2]; the first frame is at rest. A moving head is taken out.
    """
    still = points - points.mean(1, keepdims=True)
    travel = np.linalg.norm((still - still[0]).reshape(len(points), -1), axis=1)
    farthest = travel.max()
    peak = int(np.argmax(travel >= PEAK * farthest))
    onset = int(np.nonzero(travel[: peak + 1] <= ONSET * farthest)[0][-1])
    return onset, peak


def _png(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    encoded = cv2.imencode(".png", crop[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    return np.asarray(encoded, np.uint8)


def _read_landmarks(path: Path) -> NDArray[np.float64]:
    try:
        points = np.loadtxt(path)
    except ValueError:
        points = np.empty(0)
    if points.shape != (68, 2):
        raise ClipsError(f"{path} must hold 68 lines of x and y")
    return points


def _ck(root: Path) -> Iterator[ClipFiles]:
    for images in [root, *root.glob("cohn-kanade-images"), *root.glob("*/cohn-kanade-images")]:
        if images.name != "cohn-kanade-images":
            continue
        emotions = {}
        for pattern in ("Emotion*/S*/*/*_emotion.txt", "Emotion*/*/S*/*/*_emotion.txt"):
            for path in images.parent.glob(pattern):
                emotions[path.parts[-3:-1]] = _ck_emotion(path)
        points = {
            path.name.removesuffix("_landmarks.txt"): path
            for pattern in ("Landmarks/S*/*/*.txt", "Landmarks/*/S*/*/*.txt")
            for path in images.parent.glob(pattern)
        }
        for folder in sorted(images.glob("S*/*")):
            expression = emotions.get(folder.parts[-2:])
            if expression and len(frames := _pictures(folder)) > 1:
                person, take = folder.parts[-2:]
                marked = tuple(points.get(frame.stem) for frame in frames)
                name = f"ck+_{person}_{take}"
                yield ClipFiles(name, f"ck+ {person}", expression, frames, marked)


def _ck_emotion(path: Path) -> str | None:
    """The expression an emotion file names; None for neutral and contempt."""
    try:
        return CK_EMOTIONS.get(int(float(path.read_text())))
    except ValueError:
        raise ClipsError(f"{path} must hold one number, the emotion's") from None


def _mug(root: Path) -> Iterator[ClipFiles]:
    for pattern in ("[0-9][0-9][0-9]/*/take*", "*/[0-9][0-9][0-9]/*/take*"):
        for folder in sorted(root.glob(pattern)):
            person, emotion, take = folder.parts[-3:]
            expression = _expression(emotion)
            if expression and len(frames := _pictures(folder)) > 1:
                name = f"mug_{person}_{expression}_{take}"
                yield ClipFiles(
                    name, f"mug {person}", expression, frames, (None,) * len(frames), returns=True
                )


def _oulu(root: Path) -> Iterator[ClipFiles]:
    for depth in range(5):
        for folder in sorted(root.glob("*/" * depth + "P[0-9][0-9][0-9]/*")):
            *above, light, person, emotion = folder.parts
            expression = _expression(emotion)
            infrared = re.fullmatch(r"(pre)?ni(_.*)?", above[-1].lower())
            if expression and not infrared and len(frames := _pictures(folder)) > 1:
                name = f"oulu-casia_{light}_{person}_{expression}"
                yield ClipFiles(
                    name, f"oulu-casia {person}", expression, frames, (None,) * len(frames)
                )


def _ck_plus_plus(root: Path) -> Iterator[ClipFiles]:
    for shown in sorted(root.glob("*/*")):
        expression = _expression(shown.name)
        if not expression or not shown.is_dir():
            continue
        for folder in (shown, *sorted(path for path in shown.iterdir() if path.is_dir())):
            if len(frames := _pictures(folder)) > 1:
                person = shown.parent.name
                take = "_".join(folder.relative_to(shown.parent).parts)
                beside = (frame.with_name(f"{frame.stem}_landmarks.txt") for frame in frames)
                marked = tuple(path if path.exists() else None for path in beside)
                name = f"ck++_{person}_{take}"
                yield ClipFiles(name, f"ck++ {person}", expression, frames, marked)


# From the most particular to the most general: a folder that fits two is the first.
LAYOUTS: dict[str, Callable[[Path], Iterator[ClipFiles]]] = {
    "ck+": _ck,
    "mug": _mug,
    "oulu-casia": _oulu,
    "ck++": _ck_plus_plus,
}
FORMS = {
    "ck+": "cohn-kanade-images/S005/001/*.png with Emotion/S005/001/*_emotion.txt",
    "mug": "001/anger/take000/*.jpg",
    "oulu-casia": "VL/Strong/P001/Anger/*.jpeg",
    "ck++": "PERSON/EXPRESSION[/TAKE]/*.png",
}


def _pictures(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    pictures = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES]
    return tuple(sorted(pictures, key=_in_order))


def _in_order(path: Path) -> list[str | int]:
    """Sorts frame 2 before frame 10, padded or not."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _expression(name: str) -> str | None:
    """The one of the six that a folder's name means: `Happiness`, `angry_2`, `SURPRISE`."""
    word = re.sub(r"[\W\d_]+$", "", name).lower()
    return next((known for known, words in NAMES.items() if word in words.split()), None)
