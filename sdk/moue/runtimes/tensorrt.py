"""TensorRT on an NVIDIA GPU: the bundle's FP16 graphs as engines of this very device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moue.bundle import Bundle
from moue.errors import RuntimeUnavailableError, UsageError
from moue.kernels import device as kernels
from moue.runtimes.base import FRAMES as ANY_FRAMES
from moue.runtimes.base import Runtime, Shape, Tensors
from moue.runtimes.device import CudaDevice, cuda_index
from moue.runtimes.device_array import taken
from moue.runtimes.engine_cache import FRAMES, EngineCache, EngineKey
from moue.runtimes.engines import engine_for, logger_for
from moue.runtimes.frame_loop import FrameLoop, PreparedFace
from moue.runtimes.trt_import import TensorRt, import_tensorrt

MOST_FRAMES = FRAMES[-1]


class TensorRtRuntime(Runtime):
    """Runs both graphs through TensorRT, and the whole frame loop on its device.

    `encode` and `decode` are those of every runtime, with arrays in host memory. `frame_loop`
    leaves everything on the device but the actions and, where they are asked for, the frames.

    Args:
        bundle: the model; engines that are not in the cache are built first.
        device: `cuda` or `cuda:N`.

    Raises:
        RuntimeUnavailableError: no driver, no such device, no TensorRT for it, or no engine.
    """

    name = "tensorrt"

    def __init__(self, bundle: Bundle, device: str = "cuda") -> None:
        super().__init__(bundle)
        self.bundle = bundle
        trt = import_tensorrt()
        self._cuda = CudaDevice(cuda_index(device))
        self.device = self._cuda.name
        cache = EngineCache()
        self._encoder, self._decoder = (
            Engine(trt, self._cuda, bundle, graph, shapes, cache)
            for graph, shapes in (
                ("encoder", {**self.encoder_inputs, **self.encoder_outputs}),
                ("decoder", {**self.decoder_inputs, **self.decoder_outputs}),
            )
        )

    def frame_loop(
        self, photo: NDArray[np.uint8], faces: Sequence[PreparedFace], batch: int = 1
    ) -> FrameLoop:
        """The loop that makes a prepared photo's frames on the device, `batch` at a time."""
        if self.closed:
            raise UsageError(f"the {self.name} runtime is closed; open another")
        self._cuda.enter()
        batch = min(batch, MOST_FRAMES)
        return FrameLoop(self._cuda, self._decoder, self.bundle, photo, faces, batch)

    def encode_on_device(self, photo: Any, to_photo: ArrayLike) -> Tensors:
        """The features of a face in a picture that is on the device already, as a camera's may be.

        Args:
            photo: uint8 [H, W, 3] or [H, W, 4] with `__cuda_array_interface__` or DLPack.
            to_photo: float [2, 3], M with photo point = M (ux, uy, 1).
        """
        last = (getattr(photo, "shape", None) or (3,))[-1]
        given = taken("photo", photo, "uint8", [None, None, 4 if last == 4 else 3])
        height, width, pixel = given.shape
        with self._cuda.lock:
            self._cuda.enter()
            kernels.preprocess(
                photo=given.address,
                height=height,
                width=width,
                pixel=pixel,
                to_photo=to_photo,
                size=self.bundle.input_size,
                out=self._encoder.room("photo", 1),
                half=True,
                stream=self._cuda.stream,
            )
            features = self._encoder.run({}, self.encoder_outputs, 1)
        return self._checked(features, self.encoder_outputs)

    def _encode(self, photo: NDArray[np.float32]) -> Tensors:
        with self._cuda.lock:
            self._cuda.enter()
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
            with self._cuda.lock:
                self._cuda.enter()
                parts.append(self._decoder.run(some, self.decoder_outputs, frames))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _release(self) -> None:
        self._cuda.enter()
        self._cuda.synchronize()
        self._encoder.close()
        self._decoder.close()
        self._cuda.close()


class Engine:
    """A loaded engine; every number of frames has an execution context of its own.

    A recorded CUDA graph holds good only while its context keeps the shapes it was recorded with.

    Args:
        trt: what runs it.
        device: where.
        bundle, graph: whose encoder or decoder it is.
        shapes: of its inputs and outputs.
        cache: has the engine, or gets it.
    """

    recordable = True

    def __init__(
        self,
        trt: TensorRt,
        device: CudaDevice,
        bundle: Bundle,
        graph: str,
        shapes: Mapping[str, Shape],
        cache: EngineCache,
    ) -> None:
        self._device, self._shapes = device, shapes
        self._module, self._logger = trt.module, logger_for(trt)
        key = EngineKey.of(bundle, graph, trt, device.compute_capability, device.driver)
        self._runtime = trt.module.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine_for(trt, bundle, key, cache))
        if self._engine is None:
            reason = self._logger.errors[-1] if self._logger.errors else "it gave no reason"
            raise RuntimeUnavailableError(f"{trt} does not load its engine: {reason}")
        self._config = self._finishing()
        self._contexts: dict[int, Any] = {}
        self._rooms: dict[str, tuple[int, int]] = {}  # address and bytes by tensor

    def enqueue(self, inputs: Mapping[str, int], outputs: Mapping[str, int], frames: int) -> None:
        """Gives the engine's work to the device's stream; addresses are of FP16 arrays there."""
        context = self._context(frames)
        for name, address in {**inputs, **outputs}.items():
            if not context.set_tensor_address(name, address):
                raise RuntimeUnavailableError(f"TensorRT refuses the address of {name}")
        if not context.execute_async_v3(self._device.stream):
            reason = self._logger.errors[-1] if self._logger.errors else "it gave no reason"
            raise RuntimeUnavailableError(f"TensorRT does not run its engine: {reason}")

    def run(
        self, arrays: Mapping[str, NDArray[np.float32]], outputs: Mapping[str, Shape], frames: int
    ) -> Tensors:
        """From host arrays to host arrays; an input that is not given is already in its room."""
        for name, array in arrays.items():
            self._device.upload(self.room(name, frames), np.ascontiguousarray(array, np.float16))
        addresses = {name: self.room(name, frames) for name in self._shapes}
        self.enqueue(
            {name: at for name, at in addresses.items() if name not in outputs},
            {name: addresses[name] for name in outputs},
            frames,
        )
        results = {}
        for name in outputs:
            half = np.empty(self._shape(name, frames), np.float16)
            self._device.copy(half.ctypes.data, addresses[name], half.nbytes)
            self._device.synchronize()
            results[name] = half.astype(np.float32)
        return results

    def room(self, name: str, frames: int) -> int:
        """Where on the device a tensor has room; larger requests move it."""
        size = 2 * int(np.prod(self._shape(name, frames)))
        address, had = self._rooms.get(name, (0, 0))
        if had < size:
            if had:
                self._device.free(address)
            self._rooms[name] = address, _ = self._device.allocate(size), size
        return address

    def close(self) -> None:
        self._contexts.clear()
        for address, _ in self._rooms.values():
            self._device.free(address)
        self._rooms.clear()
        del self._engine, self._runtime

    def _finishing(self) -> Any:
        """How TensorRT-RTX finishes its kernels on this GPU; TensorRT's own are finished already.

        A recorded graph holds the kernels of its recording, so that they must be final by then.
        """
        kinds = getattr(self._module, "DynamicShapesKernelSpecializationStrategy", None)
        if kinds is None:
            return None
        config = self._engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER
        return config

    def _shape(self, name: str, frames: int) -> tuple[int, ...]:
        return tuple(axis if isinstance(axis, int) else frames for axis in self._shapes[name])

    def _context(self, frames: int) -> Any:
        if frames not in self._contexts:
            context = (
                self._engine.create_execution_context()
                if self._config is None
                else self._engine.create_execution_context(runtime_config=self._config)
            )
            if context is None:
                raise RuntimeUnavailableError(
                    f"there is not enough memory on {self._device.name} to run {frames} frames at"
                    " a time; use a smaller --batch"
                )
            for index in range(self._engine.num_io_tensors):
                name = self._engine.get_tensor_name(index)
                if self._engine.get_tensor_mode(name) == self._module.TensorIOMode.INPUT:
                    context.set_input_shape(name, self._shape(name, frames))
            self._contexts[frames] = context
        return self._contexts[frames]
