"""TensorRT on an NVIDIA GPU: the bundle's FP16 graphs as engines of this very device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moue.bundle import Bundle
from moue.errors import RuntimeUnavailableError
from moue.runtimes.base import Shape
from moue.runtimes.device import CudaDevice, cuda_index
from moue.runtimes.engine_cache import EngineCache, EngineKey
from moue.runtimes.engines import engine_for, logger_for
from moue.runtimes.on_cuda import CudaRuntime, DeviceGraph
from moue.runtimes.trt_import import TensorRt, import_tensorrt


class TensorRtRuntime(CudaRuntime):
    """Runs both graphs through TensorRT; engines that are not in the cache are built first.

    Args:
        bundle: the model.
        device: `cuda` or `cuda:N`.

    Raises:
        RuntimeUnavailableError: no driver, no such device, no TensorRT for it, or no engine.
    """

    name = "tensorrt"

    def __init__(self, bundle: Bundle, device: str = "cuda") -> None:
        self._trt, self._cache = import_tensorrt(), EngineCache()
        self._cuda = CudaDevice(cuda_index(device))
        super().__init__(bundle, self._cuda)

    def _graph(self, name: str, shapes: Mapping[str, Shape]) -> Engine:
        return Engine(self._trt, self._cuda, self.bundle, name, shapes, self._cache)


class Engine(DeviceGraph):
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
        super().__init__(device, shapes)
        self._module, self._logger = trt.module, logger_for(trt)
        gpu = device.gpu
        key = EngineKey.of(bundle, graph, trt, gpu)
        self._runtime = trt.module.Runtime(self._logger)
        load = self._runtime.deserialize_cuda_engine
        self._engine = engine_for(trt, bundle, key, cache, load, gpu.index)
        if self._engine is None:
            reason = self._logger.errors[-1] if self._logger.errors else "it gave no reason"
            raise RuntimeUnavailableError(f"{trt} does not load its engine: {reason}")
        self._contexts: dict[int, Any] = {}
        self._cache = cache
        self._kernels: Any = None
        self._kernels_key = replace(
            key, graph=f"kernels-{graph}", model=gpu.model, driver=gpu.driver
        )
        self._config = self._finishing()

    def enqueue(self, inputs: Mapping[str, int], outputs: Mapping[str, int], frames: int) -> None:
        context = self._context(frames)
        for name, address in {**inputs, **outputs}.items():
            if not context.set_tensor_address(name, address):
                raise RuntimeUnavailableError(f"TensorRT refuses the address of {name}")
        if not context.execute_async_v3(self._device.stream):
            reason = self._logger.errors[-1] if self._logger.errors else "it gave no reason"
            raise RuntimeUnavailableError(f"TensorRT does not run its engine: {reason}")

    def close(self) -> None:
        """Gives its memory back; the kernels it finished are kept for the next time."""
        if self._kernels is not None and self._contexts:
            data, (had, _) = self._kernels.serialize(), self._cache.load(self._kernels_key)
            if data is not None and bytes(data) != had:
                self._cache.store(self._kernels_key, bytes(data), 0)
        self._contexts.clear()
        super().close()
        del self._kernels, self._config, self._engine, self._runtime

    def _finishing(self) -> Any:
        """How TensorRT-RTX finishes its kernels on this GPU; TensorRT's own are finished already.

        A recorded graph holds the kernels of its recording, so that they must be final by then.
        TensorRT-RTX records none itself: the frame loop's holds the engine and all around it.
        """
        kinds = getattr(self._module, "DynamicShapesKernelSpecializationStrategy", None)
        if kinds is None:
            return None
        config = self._engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER
        if hasattr(config, "create_runtime_cache"):
            self._kernels = config.create_runtime_cache()
            kept, _ = self._cache.load(self._kernels_key)
            if kept is not None:
                self._kernels.deserialize(kept)  # what does not suit this machine it leaves alone
            config.set_runtime_cache(self._kernels)
        return config

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
                if self._engine.get_tensor_mode(name) != self._module.TensorIOMode.INPUT:
                    continue
                shape = self._shape(name, frames)
                if not context.set_input_shape(name, shape):
                    raise RuntimeUnavailableError(f"TensorRT refuses {name} in {shape}")
            self._contexts[frames] = context
        return self._contexts[frames]
