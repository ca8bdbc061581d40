"""What every runtime on an NVIDIA GPU has in common, whatever executes the bundle's graphs there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moue.bundle import Bundle
from moue.kernels import device as kernels
from moue.runtimes.base import FRAMES as ANY_FRAMES
from moue.runtimes.base import Runtime, Shape, Tensors
from moue.runtimes.device import Device
from moue.runtimes.device_array import Given, taken
from moue.runtimes.engine_cache import FRAMES
from moue.runtimes.frame_loop import FrameLoop, PreparedFace

MOST_FRAMES = FRAMES[-1]  # at a time; what is handed over beyond that is run in parts


class DeviceGraph(ABC):
    """The encoder or the decoder on a device, with FP16 arrays going in and coming out.

    Args:
        device: where it runs.
        shapes: of its inputs and outputs, by name.

    Attributes:
        recordable: whether `enqueue`, once it has run, gives all its work to the device's stream
            and waits for none of it, so that a CUDA graph can hold it.
    """

    recordable: bool

    def __init__(self, device: Device, shapes: Mapping[str, Shape]) -> None:
        self._device, self._shapes = device, shapes
        self._rooms: dict[str, tuple[int, int]] = {}  # address and bytes by tensor

    @abstractmethod
    def enqueue(self, inputs: Mapping[str, int], outputs: Mapping[str, int], frames: int) -> None:
        """Gives its work to the device's stream; addresses are of FP16 arrays there, in C order."""

    def run(
        self, arrays: Mapping[str, NDArray[np.float32]], outputs: Mapping[str, Shape], frames: int
    ) -> dict[str, NDArray[Any]]:
        """From host arrays to host arrays; an input that is not given is already in its room.

        Residuals come out as float16, as everyone keeps them; everything else as float32.
        """
        for name, array in arrays.items():
            self._device.upload(self.room(name, frames), np.ascontiguousarray(array, np.float16))
        addresses = {name: self.room(name, frames) for name in self._shapes}
        self.enqueue(
            {name: at for name, at in addresses.items() if name not in outputs},
            {name: addresses[name] for name in outputs},
            frames,
        )
        halves = {name: np.empty(self._shape(name, frames), np.float16) for name in outputs}
        for name, half in halves.items():
            self._device.copy(half.ctypes.data, addresses[name], half.nbytes)
        self._device.synchronize()
        return {
            name: half if name.startswith("residual") else half.astype(np.float32)
            for name, half in halves.items()
        }

    def room(self, name: str, frames: int) -> int:
        """Where on the device a tensor has room; larger requests move it."""
        size = 2 * int(np.prod(self._shape(name, frames)))
        address, had = self._rooms.get(name, (0, 0))
        if had < size:
            if had:
                del self._rooms[name]  # first: there may be no memory for the larger one
                self._device.free(address)
            address = self._device.allocate(size)
            self._rooms[name] = address, size
        return address

    def close(self) -> None:
        """Gives its memory back."""
        for address, _ in self._rooms.values():
            self._device.free(address)
        self._rooms.clear()

    def _shape(self, name: str, frames: int) -> tuple[int, ...]:
        return tuple(axis if isinstance(axis, int) else frames for axis in self._shapes[name])


class CudaRuntime(Runtime):
    """Runs both graphs on a device; subclasses say what executes them.

    `encode` and `decode` are those of every runtime, with arrays in host memory. `frame_loop`
    leaves everything on the device but the actions and, where they are asked for, the frames.

    Args:
        bundle: the model.
        device: closed with the runtime, and when it cannot be opened.
    """

    def __init__(self, bundle: Bundle, device: Device) -> None:
        super().__init__(bundle)
        self.bundle, self._device, self.device = bundle, device, device.name
        self._loops: WeakSet[FrameLoop] = WeakSet()
        try:
            with device.current():
                self._encoder = self._graph("encoder", self.encoder_inputs | self.encoder_outputs)
                self._decoder = self._graph("decoder", self.decoder_inputs | self.decoder_outputs)
        except BaseException:
            device.close()
            raise

    @abstractmethod
    def _graph(self, name: str, shapes: Mapping[str, Shape]) -> DeviceGraph:
        """The bundle's `encoder` or `decoder`, ready to run."""

    def frame_loop(
        self, photo: NDArray[np.uint8], faces: Sequence[PreparedFace], batch: int = 1
    ) -> FrameLoop:
        """The loop that makes a prepared photo's frames on the device, `batch` at a time."""
        self._check_open()
        batch = min(batch, MOST_FRAMES)
        with self._device.held():
            loop = FrameLoop(self._device, self._decoder, self.bundle, photo, faces, batch)
        self._loops.add(loop)
        return loop

    def encode_on_device(self, photo: Any, to_photo: ArrayLike) -> Tensors:
        with self._device.held():
            given = self._taken(photo)
            height, width, pixel = given.shape
            kernels.preprocess(
                photo=given.address,
                height=height,
                width=width,
                pixel=pixel,
                to_photo=to_photo,
                size=self.bundle.input_size,
                out=self._encoder.room("photo", 1),
                stream=self._device.stream,
            )
            features = self._encoder.run({}, self.encoder_outputs, 1)
        return self._checked(features, self.encoder_outputs)

    def from_device(self, photo: Any) -> NDArray[np.uint8]:
        with self._device.held():
            given = self._taken(photo)
            here = np.empty(given.shape, np.uint8)
            self._device.copy(here.ctypes.data, given.address, here.nbytes)
            self._device.synchronize()
        return here[..., :3]

    def _taken(self, photo: Any) -> Given:
        self._check_open()
        last = (getattr(photo, "shape", None) or (3,))[-1]
        return taken("photo", photo, "uint8", [None, None, 4 if last == 4 else 3], self._device)

    def _encode(self, photo: NDArray[np.float32]) -> Tensors:
        with self._device.held():
            return self._encoder.run({"photo": photo}, self.encoder_outputs, 1)

    def _decode(self, features: Mapping[str, NDArray[np.float32]]) -> Tensors:
        moving = [name for name, shape in self.decoder_inputs.items() if shape[0] == ANY_FRAMES]
        total = len(features[moving[0]])
        parts = []
        for first in range(0, total, MOST_FRAMES):
            piece = slice(first, first + MOST_FRAMES)
            some = {
                name: array[piece] if name in moving else array for name, array in features.items()
            }
            frames = len(some[moving[0]])
            with self._device.held():
                parts.append(self._decoder.run(some, self.decoder_outputs, frames))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _release(self) -> None:
        with self._device.held():
            self._device.synchronize()
            for loop in list(self._loops):  # its owner may still hold it
                loop.close()
            self._encoder.close()
            self._decoder.close()
            self._device.close()
