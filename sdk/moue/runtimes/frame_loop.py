"""The frame loop on a device: features stay there, and only actions go up and frames come down.

    actions up → skip_sum → decoder → compose → frames down into pinned memory

All on one stream; after the first batch, which settles the shapes, everything between the copies
is one CUDA graph.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moue.bundle import Bundle
from moue.crop import Square
from moue.errors import RuntimeUnavailableError, UsageError
from moue.features import Features
from moue.kernels import device as kernels
from moue.mouth import Mouth
from moue.runtimes.device import Device, as_numpy
from moue.runtimes.device_array import Block, DeviceArray, Pool

ALIGNMENT = 256  # bytes: where TensorRT takes its inputs
RECORDINGS = 2  # that are tried: what others do on the device can spoil one
SLOTS = 4  # batches of frames handed out in pinned memory; beyond that they are copied out
Actions = NDArray[np.float32]

log = logging.getLogger("moue")


class Decoder(Protocol):
    """What runs the decoder on the device.

    Attributes:
        recordable: whether `enqueue` gives all its work to the stream and waits for none of it.
    """

    recordable: bool

    def enqueue(
        self, inputs: Mapping[str, int], outputs: Mapping[str, int], frames: int
    ) -> None: ...


class PreparedFace(Protocol):
    """What the loop needs of a face: see `animator.EncodedFace`."""

    @property
    def square(self) -> Square: ...
    @property
    def features(self) -> Features: ...
    @property
    def rest_flow(self) -> NDArray[np.float32]: ...
    @property
    def rest_mask(self) -> NDArray[np.float32]: ...
    @property
    def mouth(self) -> Mouth: ...
    @property
    def colour(self) -> float: ...


class FrameLoop:
    """Frames of one prepared photo, so many at a time.

    Args:
        device: where the work is done.
        decoder: what runs the bundle's decoder there.
        bundle: the model.
        photo: uint8 RGB [H, W, 3].
        faces: those that move, at least one; each is drawn on what the ones before it left.
        batch: frames at a time; a shorter batch costs as much.
    """

    def __init__(
        self,
        device: Device,
        decoder: Decoder,
        bundle: Bundle,
        photo: NDArray[np.uint8],
        faces: Sequence[PreparedFace],
        batch: int = 1,
    ) -> None:
        self.device, self.decoder, self.batch = device, decoder, batch
        self.shape, self._n = photo.shape, len(bundle.actions)
        self._frame_bytes, self._action_bytes = photo.nbytes, 4 * batch * self._n
        self._owned: list[int] = []
        self._replay: Callable[[], None] | None = None
        self._warm, self._recordings = False, RECORDINGS if decoder.recordable else 0
        height, width = photo.shape[:2]
        try:
            self._photo = self._keep_image(photo)
            self._actions = self._room(self._action_bytes)
            self._faces = [_Face(self, bundle, face, height, width) for face in faces]
            # A face writes only within its square: what lies around it is put there once.
            frames = np.broadcast_to(photo, (batch, *photo.shape))
            self._canvases = [self._keep(frames) for _ in faces]
        except BaseException:
            self._give_back()
            raise
        size = batch * self._frame_bytes
        pinned = device.allocate_pinned, device.free_pinned
        self._staging = Pool(*pinned, self._action_bytes, SLOTS)
        self._pinned = Pool(*pinned, size, SLOTS)
        self._resident = Pool(device.allocate, device.free, size, SLOTS)

    def frames(self, batches: Iterable[Actions], ahead: int = 1) -> Iterator[NDArray[np.uint8]]:
        """uint8 [H, W, 3] for every row of every batch, float32 [T, n] with T up to `batch`.

        Each frame is the caller's own. `ahead` batches are read, and under way, before the first
        one is waited for.
        """
        under_way: deque[_Pending] = deque()
        try:
            for actions in batches:
                block, staging = self._pinned.take(), self._staging.take()
                mark = self._submit(actions, staging, block.address)
                under_way.append(_Pending(block, staging, mark, len(actions)))
                del block  # so that it can come back as soon as its frames are gone
                if len(under_way) > ahead:
                    yield from self._finished(under_way.popleft())
            while under_way:
                yield from self._finished(under_way.popleft())
        finally:  # whoever stops early leaves blocks that are still being written to
            for pending in under_way:
                self.device.wait(pending.mark)

    def frames_on_device(self, batches: Iterable[Actions]) -> Iterator[DeviceArray]:
        """The same frames, left where they are: uint8 [H, W, 3] each, finished.

        Work that was given to any stream of the device before a frame was let go of still sees it.
        """
        for actions in batches:
            block, staging = self._resident.take(), self._staging.take()
            with self.device.held():  # a block that came back may still be read
                self.device.wait_for_others()
            self.device.wait(self._submit(actions, staging, block.address))
            index = None if self.device.stream is None else self.device.index
            for frame in range(len(actions)):
                at = block.address + frame * self._frame_bytes
                yield DeviceArray(at, self.shape, "u1", index, block)

    @property
    def recordable(self) -> bool:
        """Whether a CUDA graph holds its work, or can for all that is known yet."""
        return self._replay is not None or self._recordings > 0

    def run(self) -> None:
        """One batch's work on the device, whatever the actions there are; for measuring it."""
        while self._replay is None and self._warm and self.recordable:
            self._record()
        if self._replay is not None:
            self._replay()
        else:
            self._enqueue()
            self._warm = True

    def stages(self) -> dict[str, Callable[[], None]]:
        """What `run` does for the first face, part by part; for measuring it."""
        face, size = self._faces[0], self.batch * self._frame_bytes
        frames = self._pinned.take()
        return {
            "skip_sum": lambda: face.sum_skips(self),
            "decoder": lambda: face.decode(self),
            "compose": lambda: face.compose(self, self._photo, 0, 4, self._canvases[0]),
            "copy": lambda: self.device.copy(frames.address, self._canvases[-1], size),
        }

    def close(self) -> None:
        """Gives the device's memory back; frames that were handed out stay valid."""
        if not self._owned:
            return
        with self.device.held():
            try:
                self.device.synchronize()
            finally:
                self._replay = None
                self._give_back()
                for pool in (self._staging, self._pinned, self._resident):
                    pool.close()

    def _record(self) -> None:
        self._recordings -= 1
        self.device.synchronize()
        try:
            self._replay = self.device.record(self._enqueue)
        except RuntimeUnavailableError as error:
            if not self.recordable:
                reason = str(error)  # not the error, which would keep this loop alive in the log
                log.warning("frames are not recorded as a CUDA graph, and take longer: %s", reason)

    def _submit(self, actions: Actions, staging: Block, target: int) -> Any:
        """Has a batch's frames made at `target`; the result marks when they are."""
        if not self._owned:
            raise UsageError("the animator was closed while its frames were still being read")
        rows = as_numpy(staging.address, (self.batch, self._n), "<f4", staging)
        rows[: len(actions)] = actions
        rows[len(actions) :] = 0
        with self.device.held():
            self.device.copy(self._actions, staging.address, self._action_bytes)
            self.run()
            self.device.copy(target, self._canvases[-1], self.batch * self._frame_bytes)
            return self.device.mark()

    def __del__(self) -> None:
        if hasattr(self, "_resident"):
            self.device.when_free(self.close)

    def _finished(self, pending: _Pending) -> list[NDArray[np.uint8]]:
        self.device.wait(pending.mark)
        block = pending.block
        shape = (pending.frames, *self.shape)
        frames = as_numpy(block.address, shape, "|u1", block)
        # The caller may keep frames for as long as it likes, and pinned memory is dear.
        return list(frames if self._pinned.left >= 0 else frames.copy())

    def _enqueue(self) -> None:
        source, stride, pixel = self._photo, 0, 4
        for number, (face, canvas) in enumerate(zip(self._faces, self._canvases, strict=True)):
            if number:
                self.device.copy(canvas, source, self.batch * self._frame_bytes)
            face.sum_skips(self)
            face.decode(self)
            face.compose(self, source, stride, pixel, canvas)
            source, stride, pixel = canvas, self._frame_bytes, 3

    def _keep(self, array: NDArray[Any]) -> int:
        """The address of a copy of the array on the device."""
        array = np.ascontiguousarray(array)
        address = self._room(array.nbytes)
        self.device.upload(address, array)
        return address

    def _keep_image(self, image: NDArray[np.uint8]) -> int:
        """That of a copy with four bytes a pixel, which are one load."""
        opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
        return self._keep(np.concatenate([image, opaque], axis=2))

    def _room(self, size: int) -> int:
        self._owned.append(self.device.allocate(size))
        return self._owned[-1]

    def _give_back(self) -> None:
        while self._owned:
            self.device.free(self._owned.pop())


@dataclass(frozen=True)
class _Pending:
    """A batch under way: where its frames will be, where its actions are, and how to wait for it."""

    block: Block
    staging: Block
    mark: Any
    frames: int


class _Face:
    """One face's features on the device, and what the decoder makes of them."""

    def __init__(
        self, loop: FrameLoop, bundle: Bundle, face: PreparedFace, height: int, width: int
    ) -> None:
        half = np.float16
        features = face.features
        self._sizes = features.sizes
        if any(size * 2 % ALIGNMENT for size in self._sizes):
            raise RuntimeUnavailableError(
                f"levels must be multiples of {ALIGNMENT // 2} features for tensorrt, but this"
                f" bundle's have {list(self._sizes)}; use --runtime onnxruntime"
            )
        self._base = loop._keep(features.base.astype(half))
        self._residual = loop._keep(features.residual)
        self._skips = loop._room(2 * loop.batch * sum(self._sizes))
        at, self._inputs = self._skips, dict[str, int]()
        for level, size in zip(features.moving, self._sizes, strict=True):
            self._inputs[f"skip_{level.size}"] = at
            at += 2 * loop.batch * size
        for side, base in features.still.items():
            self._inputs[f"base_{side}"] = loop._keep(base.astype(half))
        side = bundle.input_size
        lengths = {"flow": 2 * side**2, "mask": side**2, "light": 3 * side**2}
        lengths["place"] = 2 * math.prod(face.mouth.nodes(side))
        self._outputs = {
            name: loop._room(2 * loop.batch * length) for name, length in lengths.items()
        }
        self._rest_flow = loop._keep(face.rest_flow.astype(half))
        self._rest_mask = loop._keep(face.rest_mask.astype(half))
        self._picture = loop._keep_image(face.mouth.picture)
        self._cells = loop._room(kernels.CELL_BYTES * loop.batch * (side + 2) ** 2)
        self._square = kernels.SquareRows.of(face.square.to_crop(), height, width, side, face.mouth)
        self._rows = loop._keep(self._square.rows)
        self._colour = face.colour

    def sum_skips(self, loop: FrameLoop) -> None:
        kernels.skip_sum(
            base=self._base,
            residual=self._residual,
            actions=loop._actions,
            out=self._skips,
            frames=loop.batch,
            n=loop._n,
            sizes=self._sizes,
            stream=loop.device.stream,
        )

    def decode(self, loop: FrameLoop) -> None:
        loop.decoder.enqueue(self._inputs, self._outputs, loop.batch)

    def compose(
        self, loop: FrameLoop, source: int, source_stride: int, pixel: int, canvas: int
    ) -> None:
        kernels.compose(
            self._square,
            **self._outputs,
            rest_flow=self._rest_flow,
            rest_mask=self._rest_mask,
            picture=self._picture,
            actions=loop._actions,
            cells=self._cells,
            source=source,
            source_stride=source_stride,
            pixel=pixel,
            rows=self._rows,
            out=canvas,
            frames=loop.batch,
            n=loop._n,
            colour=self._colour,
            stream=loop.device.stream,
        )
