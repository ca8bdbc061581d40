"""The portraits that are open, and the one thread in which everything is computed, in turn.

Frames of different clients would only fight for the same cores. Whoever wants one waits in the queue of
a single thread, so that nobody's clip keeps another's preview waiting for more than a frame.
"""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from threading import Event
from typing import Any, TypeVar

from moue.animator import Animator, EncodedFace, Portrait
from moue.crop import Face, Square, find_faces
from moue.curves import ActionCurve
from moue.errors import MoueError
from moue.files import Closing
from moue.photo import read_photo, within
from moue.streams import quiet_warnings
from moue.studio.refusal import Refusal
from moue.video.ffmpeg import Frame

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 25_000_000  # of a photo, checked before any is decoded
MOST = 16  # portraits that are kept: those used last
MOST_FACES = 8  # of one photo; each takes 29 MB
MOST_FACES_KEPT = 32  # of all of them
SIZES = 6  # of a portrait that are kept: as many pages, its thumbnail and one to spare

Result = TypeVar("Result")


@dataclass(eq=False)
class Sitter:
    """An open portrait: its file's name, which of its faces were asked for, when it was used, and smaller
    ones, those shown last."""

    portrait: Portrait
    name: str
    face: str
    used: int = 0
    small: dict[int, Portrait] = field(default_factory=dict)  # by longer side, the last used last

    def described(self) -> dict[str, Any]:
        """Size and face squares, in photo pixels and radians, for JSON."""
        height, width = self.portrait.photo.shape[:2]
        faces = [vars(face.square) for face in self.portrait.faces]
        size = {"width": width, "height": height}
        return {"name": self.name, "face": self.face, **size, "faces": faces}


class Stage(Closing):
    """Prepares portraits, keeps them by an id of its own making, and makes their frames.

    What is not said to be for other threads is for that of the event loop.

    Args:
        animator: makes the frames; closed by whoever opened it.
    """

    def __init__(self, animator: Animator) -> None:
        self.animator = animator
        self.sitters: dict[str, Sitter] = {}  # by id, in the order they were opened
        self._uses = count(1)
        self._thread = ThreadPoolExecutor(1, "stage")

    async def take(self, photo: bytes, name: str, face: str | int) -> str:
        """Prepares a photo from its file's bytes and name, and returns its id.

        Raises:
            Refusal: no JPEG, PNG or WebP, over 25 megapixels, or all of more than 8 faces.
            PhotoError, NoFaceError, UsageError: as `Animator.prepare`.
        """

        def look() -> tuple[Frame, list[Face]]:
            check_photo(photo)
            pixels = read_photo(photo)
            return pixels, find_faces(pixels) if face == "all" else []

        pixels, found = await self._in_turn(look)
        if len(found) > MOST_FACES:
            raise Refusal(
                422,
                f"{len(found)} faces are found, but {MOST_FACES} of a photo move together here;"
                " choose one, or crop the photo",
            )
        chosen: list[str | int | Face] = [*found] or [face]
        first, *others = chosen
        portrait = await self._in_turn(partial(self.animator.prepare, pixels, first))
        for other in others:  # one by one: what others wait for comes between
            another = await self._in_turn(partial(self.animator.prepare, pixels, other))
            portrait = replace(portrait, faces=portrait.faces + another.faces)
        return self.keep(portrait, name, face)

    def keep(self, portrait: Portrait, name: str, face: str | int = "largest") -> str:
        """Opens a prepared portrait; those used longest ago go when there are too many, or faces."""
        key = secrets.token_urlsafe(12)
        self.sitters[key] = Sitter(portrait, name, str(face), next(self._uses))
        while len(self.sitters) > MOST or self._faces() > MOST_FACES_KEPT:
            del self.sitters[min(self.sitters, key=lambda each: self.sitters[each].used)]
        return key

    def _faces(self) -> int:
        return sum(len(sitter.portrait.faces) for sitter in self.sitters.values())

    def find(self, key: object) -> Sitter:
        """The open portrait of that id, used just now; Refusal (404) where there is none."""
        sitter = self.sitters.get(key) if isinstance(key, str) else None
        if sitter is None:
            raise Refusal(404, "there is no such portrait, or no longer; open its photo again")
        sitter.used = next(self._uses)
        return sitter

    def drop(self, key: str) -> None:
        """Closes a portrait; Refusal (404) where there is none."""
        self.find(key)
        del self.sitters[key]

    async def frame(
        self, sitter: Sitter, weights: Mapping[str, float], side: int | None = None
    ) -> Frame:
        """`Animator.frame`, at most `side` pixels a side where that is given."""

        def make() -> Frame:
            return self.animator.frame(self._sized(sitter, side), weights)

        return await self._in_turn(make)

    def frames(self, portrait: Portrait, curve: ActionCurve, unwanted: Event) -> Iterator[Frame]:
        """A curve's frames, for a thread of their own; ends in an error once they are unwanted."""
        for row in curve.values:
            if unwanted.is_set():
                raise MoueError("nobody waits for this clip any more")
            weights = dict(zip(curve.actions, row, strict=True))
            yield self._thread.submit(self.animator.frame, portrait, weights).result()

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    async def _in_turn(self, work: Callable[[], Result]) -> Result:
        return await asyncio.wrap_future(self._thread.submit(work))

    def _sized(self, sitter: Sitter, side: int | None) -> Portrait:
        if side is None or side >= max(sitter.portrait.photo.shape):
            return sitter.portrait
        small = sitter.small.pop(side, None) or smaller(sitter.portrait, side, self.animator)
        sitter.small[side] = small
        if len(sitter.small) > SIZES:
            del sitter.small[next(iter(sitter.small))]
        return small


def check_photo(data: bytes) -> None:
    """Refuses (415, 413) by a file's first bytes what is not to be decoded."""
    from PIL import Image

    with quiet_warnings():  # large pictures are judged here
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
        except Image.DecompressionBombError:
            width = height = MAX_PIXELS
        except Exception:  # noqa: BLE001 - damaged files raise nearly anything
            raise Refusal(415, "a photo must be a JPEG, PNG or WebP, but this is none") from None
    if width * height > MAX_PIXELS:
        raise Refusal(413, f"the photo has over {MAX_PIXELS // 10**6} megapixels; scale it down")


def smaller(portrait: Portrait, side: int, animator: Animator) -> Portrait:
    """The portrait scaled down to `side` pixels at its longer side: nothing is encoded again."""
    scale = side / max(portrait.photo.shape)
    photo = within(portrait.photo, side, side)

    def scaled(face: EncodedFace) -> EncodedFace:
        at = face.square
        square = Square(scale * at.cx, scale * at.cy, scale * at.side, at.angle)
        mouth = animator.bundle.mouth.for_side(square.side)
        return replace(face, square=square, landmarks=scale * face.landmarks, mouth=mouth)

    return replace(portrait, photo=photo, faces=tuple(map(scaled, portrait.faces)))
