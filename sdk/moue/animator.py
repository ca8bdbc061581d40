"""A photo, prepared once, and any number of frames from it."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from moue import kernels
from moue.actions import Weights, action_vector
from moue.bundle import Bundle, load_bundle
from moue.crop import Face, Square, faces_in
from moue.curves import ActionCurve
from moue.errors import NoFaceError, UsageError
from moue.expressions import with_saved
from moue.features import Features
from moue.files import Closing
from moue.kernels.cores import usable_cores
from moue.mouth import Mouth, colour_of
from moue.photo import Source, read_photo
from moue.runtimes.base import Tensors
from moue.runtimes.device_array import on_cuda
from moue.runtimes.select import select_runtime

if TYPE_CHECKING:
    from moue.runtimes.device_array import DeviceArray, WithDLPack, WithInterface
    from moue.runtimes.frame_loop import FrameLoop

MOST_LISTED = 20  # faces of a crowd that are told apart in a message
SIDE_BY_SIDE = 8  # frames at most that are made at once: they must not fill the memory

log = logging.getLogger("moue")


@dataclass(frozen=True, eq=False)
class EncodedFace:
    """One face of a portrait, with all that its frames have in common; every array is read-only.

    Attributes:
        square: where it is in the photo.
        landmarks: float32 [478, 3], photo pixels.
        features: `e0` and every `e_i`.
        rest_flow: float32 [2, S, S], the decoder's flow at a = 0, subtracted from every frame's.
        rest_mask: float32 [S, S], its mask at a = 0.
        mouth: the bundle's picture of a mouth, as detailed as this face is large.
        colour: the share of its colour that paint keeps: 0 in a grey photo.
    """

    square: Square
    landmarks: NDArray[np.float32] = field(repr=False)
    features: Features = field(repr=False)
    rest_flow: NDArray[np.float32] = field(repr=False)
    rest_mask: NDArray[np.float32] = field(repr=False)
    mouth: Mouth = field(repr=False)
    colour: float = field(repr=False)

    def __post_init__(self) -> None:
        for array in (self.landmarks, self.rest_flow, self.rest_mask, self.mouth.picture):
            array.setflags(write=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return EncodedFace, tuple(getattr(self, each.name) for each in fields(self))

    @cached_property
    def to_crop(self) -> NDArray[np.float64]:
        """`square.to_crop()`, computed once."""
        return self.square.to_crop()

    def compose(
        self, photo: NDArray[np.uint8], maps: Tensors, row: int = 0, threads: int = 0
    ) -> NDArray[np.uint8]:
        """A new frame of the photo: `kernels.compose` of one row of the decoder's outputs."""
        return kernels.compose(
            photo,
            self.to_crop,
            maps["flow"][row],
            maps["mask"][row, 0],
            maps["light"][row],
            maps["place"][row],
            self.mouth,
            rest=(self.rest_flow, self.rest_mask),
            colour=self.colour,
            threads=threads,
        )


@dataclass(frozen=True, eq=False)
class Portrait:
    """A prepared photo: immutable, reusable, for frames by the bundle that prepared it.

    Any number of threads may have frames of it at once. It can be pickled, for other processes and
    for a cache: all of it is in host memory, whatever prepared it. What comes back is as good as new
    for the same bundle and version of moue; unpickle your own alone, as anything in Python.

    Attributes:
        photo: uint8 RGB [H, W, 3], read-only.
        faces: those that move, largest first.
        encoder: SHA-256 of the encoder that made the features.
    """

    photo: NDArray[np.uint8] = field(repr=False)
    faces: tuple[EncodedFace, ...]
    encoder: str

    def __post_init__(self) -> None:
        self.photo.setflags(write=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Portrait, (self.photo, self.faces, self.encoder)


class Animator(Closing):
    """Animates faces in photos. One animator serves any number of portraits.

    And any number of threads: they may prepare photos and have frames made at once, also of the same
    portrait. A generator of frames is for one thread at a time, and whoever closes the animator does
    so when all are done. It does not survive `fork`, nor does the search for faces: processes are
    spawned (`multiprocessing.get_context("spawn")`) and open one each.

    Example:
        >>> with Animator() as animator:
        ...     portrait = animator.prepare("photo.jpg")
        ...     frame = animator.frame(portrait, {"mouthSmileLeft": 0.8, "jawOpen": 0.2})

    Args:
        bundle: name of a shipped bundle, path of a folder, or an opened bundle.
        device: `auto`, `cpu`, `cuda` or `cuda:N`; anything but `auto` is used or refused.
        runtime: `auto`, `onnxruntime` or `tensorrt`.
        threads: for the CPU; 0 takes every core this process may use.

    Attributes:
        bundle: the opened model, with its `manifest`.
        runtime: what runs it: its `name` and `device`.

    Raises:
        BundleError: the bundle is missing or damaged.
        RuntimeUnavailableError: the device or runtime cannot be had.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Bundle = "edge",
        device: str = "auto",
        runtime: str = "auto",
        threads: int = 0,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        self.runtime = select_runtime(self.bundle, device, runtime, threads)
        self.threads = threads or usable_cores()
        self._sums = threading.local()
        self._loops: WeakKeyDictionary[Portrait, dict[int, FrameLoop]] = WeakKeyDictionary()

    @property
    def actions(self) -> tuple[str, ...]:
        """The bundle's n action names, in the order of an action vector."""
        return self.bundle.actions

    @property
    def expressions(self) -> Mapping[str, Mapping[str, float]]:
        """Weights by action, by name: the bundle's, then those saved that it can play."""
        known, actions = with_saved(self.bundle.expressions), set(self.actions)
        return {name: weights for name, weights in known.items() if weights.keys() <= actions}

    def prepare(
        self, photo: Source | WithInterface | WithDLPack, face: str | int | Face = "largest"
    ) -> Portrait:
        """Reads a photo, finds its faces and encodes them: the work that all frames share.

        Args:
            photo: a path, the bytes of an image file, a PIL image, which is taken as a file of it
                would be, its EXIF orientation and colour profile applied, or a uint8 array: RGB
                [H, W, 3], RGBA [H, W, 4], laid over white, or grey [H, W]. Where this animator
                computes on a GPU also uint8 [H, W, 3] or [H, W, 4], the fourth channel left out,
                that is there already, with `__cuda_array_interface__` or DLPack.
            face: `largest`, `all`, which one, 1 being the largest, or a face already found.

        Raises:
            PhotoError: the photo cannot be read.
            NoFaceError: there is no face, or there are fewer than asked for.
            UsageError: the photo is on a GPU, and this animator is not.
        """
        there = photo if on_cuda(photo) else None
        source: Any = photo if there is None else self.runtime.from_device(there)
        if isinstance(face, Face):
            chosen: Sequence[Face] = [face]
            pixels = read_photo(source)
        else:
            if face not in ("largest", "all") and (type(face) is not int or face < 1):
                raise UsageError(
                    f"face must be 'largest', 'all' or a number from 1, but got {face!r}"
                )
            pixels = read_photo(source)
            chosen = _choose(faces_in(pixels), face)
        faces = tuple(self._encode(pixels, found, there) for found in chosen)
        return Portrait(_own(pixels), faces, self.bundle.manifest.graphs["encoder"].sha256)

    def frame(self, portrait: Portrait, weights: Weights) -> NDArray[np.uint8]:
        """One frame.

        Args:
            portrait: what `prepare` returned.
            weights: weight by action name, an expression, or float [n] as in `actions`.

        Returns:
            uint8 RGB [H, W, 3], the photo's size; the photo itself where every weight is 0.

        Raises:
            ActionError: naming the action or index that is unknown, not finite or out of range.
        """
        self._check(portrait)
        vectors = iter([action_vector(weights, self.actions)])
        return next(self._stream(portrait, vectors, batch=1))

    def frames(
        self, portrait: Portrait, curve: ActionCurve | Iterable[Weights], batch: int = 1
    ) -> Generator[NDArray[np.uint8], None, None]:
        """Frames of a curve, one after another: memory does not grow with their number.

        Args:
            portrait: what `prepare` returned.
            curve: an action curve, or any iterable of what `frame` takes, read as it goes.
            batch: frames decoded at a time; with more than 1, that many weights are read first.

        Returns:
            A generator of uint8 RGB [H, W, 3].

        Raises:
            ActionError: at once for an action the bundle lacks, for other weights in their turn.
        """
        vectors, ahead = self._vectors(portrait, curve, batch)
        return self._stream(portrait, vectors, batch, ahead)

    def frames_on_device(
        self, portrait: Portrait, curve: ActionCurve | Iterable[Weights], batch: int = 1
    ) -> Iterator[DeviceArray]:
        """The same frames, finished and left on the GPU that made them.

        Each is uint8 RGB [H, W, 3] with `__cuda_array_interface__` and DLPack: CuPy, PyTorch and
        others take it as it is, and its memory goes back when nobody holds it any more.

        Raises:
            UsageError: this animator computes on the CPU.
        """
        vectors, _ = self._vectors(portrait, curve, batch)
        loop = self._loop(portrait, batch)
        if loop is None:
            raise UsageError(
                f"{self.runtime.name} makes frames on the {self.runtime.device}; "
                "open the animator with device='cuda' to have them on a GPU"
            )
        return loop.frames_on_device(_batches(vectors, loop.batch))

    def close(self) -> None:
        """Gives back what the runtime holds."""
        self._loops.clear()
        self.runtime.close()

    def _encode(self, photo: NDArray[np.uint8], face: Face, there: Any) -> EncodedFace:
        """Encodes a face of a photo, which may be on the device as well."""
        to_photo = face.square.to_photo()
        square = kernels.preprocess(photo, to_photo, self.bundle.input_size, threads=self.threads)
        if there is None:
            encoded = self.runtime.encode(square[None])
        else:
            encoded = self.runtime.encode_on_device(there, to_photo)
        features = Features.of(encoded, self.bundle.levels)
        nothing = np.zeros((1, len(self.actions)), np.float32)
        rest = self.runtime.decode(features.skips(nothing), one_core=True)
        return EncodedFace(
            face.square,
            _own(face.landmarks),
            features,
            _own(rest["flow"][0]),
            _own(rest["mask"][0, 0]),
            self.bundle.mouth.for_side(face.square.side),
            colour_of(square),
        )

    def _check(self, portrait: Portrait) -> None:
        if not isinstance(portrait, Portrait):
            raise UsageError(
                f"a portrait must come from prepare, but got {type(portrait).__name__}"
            )
        if portrait.encoder != self.bundle.manifest.graphs["encoder"].sha256:
            raise UsageError(
                "this portrait was prepared with another bundle; prepare it again with this one"
            )

    def _rows(self, curve: ActionCurve) -> Iterator[NDArray[np.float32]]:
        # Each name is looked up once, here, so that a wrong one is refused before the first frame.
        columns = [int(action_vector({name: 1.0}, self.actions).argmax()) for name in curve.actions]

        def rows() -> Iterator[NDArray[np.float32]]:
            for values in curve.values:
                vector = np.zeros(len(self.actions), np.float32)
                vector[columns] = values
                yield vector

        return rows()

    def _vectors(
        self, portrait: Portrait, curve: ActionCurve | Iterable[Weights], batch: int
    ) -> tuple[Iterator[NDArray[np.float32]], int]:
        """Action vectors one by one, and how many batches may be read before they are needed."""
        self._check(portrait)
        if type(batch) is not int or batch < 1:
            raise UsageError(f"batch must be a whole number from 1, but got {batch!r}")
        if isinstance(curve, Mapping) or not isinstance(curve, (ActionCurve, Iterable)):
            raise UsageError(
                "a curve must be an ActionCurve or weights for each frame, "
                f"but got {type(curve).__name__}; expression.rise() makes a curve"
            )
        if isinstance(curve, ActionCurve):
            return self._rows(curve), 1
        return (action_vector(weights, self.actions) for weights in curve), 0

    def _stream(
        self,
        portrait: Portrait,
        vectors: Iterator[NDArray[np.float32]],
        batch: int,
        ahead: int = 0,
    ) -> Generator[NDArray[np.uint8], None, None]:
        """Frames of action vectors; a device may work on `ahead` batches beyond the one awaited."""
        loop = self._loop(portrait, batch)
        cores = min(self.threads, SIDE_BY_SIDE // batch)
        if loop is not None:
            yield from loop.frames(_batches(vectors, loop.batch), ahead)
        elif ahead and cores > 1:
            yield from self._side_by_side(portrait, _batches(vectors, batch), cores)
        else:
            for rows in _batches(vectors, batch):
                yield from self._render(portrait, rows, self.threads)

    def _side_by_side(
        self, portrait: Portrait, batches: Iterator[NDArray[np.float32]], cores: int
    ) -> Iterator[NDArray[np.uint8]]:
        """Frames of a known curve, a core each: no core waits for another within a frame."""
        pool = ThreadPoolExecutor(cores, "side by side")
        try:
            made = deque(
                pool.submit(self._render, portrait, rows, 1) for rows in islice(batches, cores)
            )
            while made:
                frames = made.popleft().result()
                made.extend(
                    pool.submit(self._render, portrait, rows, 1) for rows in islice(batches, 1)
                )
                yield from frames
        finally:  # whatever ends this, no thread still uses the runtime
            pool.shutdown(cancel_futures=True)

    def _loop(self, portrait: Portrait, batch: int) -> FrameLoop | None:
        """What makes the frames where the runtime computes; None on the CPU."""
        loop = self._loops.get(portrait, {}).get(batch)
        if loop is None:
            loop = self.runtime.frame_loop(portrait.photo, portrait.faces, batch)
            if loop is not None:
                self._loops.setdefault(portrait, {})[batch] = loop
        return loop

    def _render(
        self, portrait: Portrait, vectors: NDArray[np.float32], threads: int
    ) -> list[NDArray[np.uint8]]:
        """One frame per row of float32 [T, n]; rows of zeros are the photo and cost no decoding."""
        frames = [portrait.photo] * len(vectors)
        moving = np.flatnonzero(vectors.any(axis=1))
        if moving.size:
            for face in portrait.faces:  # each on what the ones before it left
                outputs = self._decode(face, vectors[moving], threads)
                for row, index in enumerate(moving):
                    frames[index] = face.compose(frames[index], outputs, row, threads)
        return [frame.copy() if frame is portrait.photo else frame for frame in frames]

    def _decode(self, face: EncodedFace, vectors: NDArray[np.float32], threads: int) -> Tensors:
        """The decoder on eq. 7's sums, in memory that each thread keeps from frame to frame."""
        frames = len(vectors)
        if getattr(self._sums, "frames", None) != frames:
            self._sums.frames, self._sums.room = frames, face.features.room(frames)
        skips = face.features.skips(vectors, self._sums.room, threads)
        return self.runtime.decode(skips, one_core=threads == 1)


def _batches(vectors: Iterator[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """float32 [T, n], T = `size` but for the last."""
    while rows := list(islice(vectors, size)):
        yield np.stack(rows)


def _choose(found: Sequence[Face], face: str | int) -> Sequence[Face]:
    if not found:
        raise NoFaceError(
            "no face found in the photo; it must show one, large enough and not from behind"
        )
    if len(found) > 1:
        log.info("%d faces, %s", len(found), _listed(found))
    if face == "all":
        return found
    wanted = 1 if isinstance(face, str) else face
    if wanted > len(found):
        raise NoFaceError(
            f"face {wanted} was asked for, but only {len(found)} found, {_listed(found)}"
        )
    return found[wanted - 1 : wanted]


def _listed(faces: Sequence[Face]) -> str:
    """By which number each is asked for, and where it is."""
    squares = [face.square for face in faces[:MOST_LISTED]]
    places = [f"{number} at {at.cx:.0f},{at.cy:.0f}" for number, at in enumerate(squares, 1)]
    more = "; …" if len(faces) > MOST_LISTED else ""
    return f"the largest first: {'; '.join(places)}{more} (px from the left and the top)"


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, or a copy where it looks into a larger one."""
    return array if array.base is None else array.copy()
