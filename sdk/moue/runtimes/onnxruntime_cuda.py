"""ONNX Runtime on an NVIDIA GPU, where TensorRT is not: the bundle's FP16 graphs as they are."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import onnxruntime

from moue.bundle import Bundle
from moue.errors import RuntimeUnavailableError, one_line
from moue.runtimes.base import Shape
from moue.runtimes.device import CudaDevice, Device, cuda_index
from moue.runtimes.on_cuda import CudaRuntime, DeviceGraph
from moue.runtimes.onnxruntime import ERRORS_ONLY

PROVIDER = "CUDAExecutionProvider"
HOW = "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'"


class OnnxRuntimeCuda(CudaRuntime):
    """Runs both graphs through ONNX Runtime's CUDA provider, on the frame loop's own stream.

    Args:
        bundle: the model.
        device: `cuda` or `cuda:N`.

    Raises:
        RuntimeUnavailableError: no driver, no such device, or an ONNX Runtime without CUDA.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, device: str = "cuda") -> None:
        check_provider()
        super().__init__(bundle, CudaDevice(cuda_index(device)))

    def _graph(self, name: str, shapes: Mapping[str, Shape]) -> Session:
        options = {"device_id": self._device.index, "user_compute_stream": self._device.stream}
        model = {"encoder": self.bundle.encoder_bytes, "decoder": self.bundle.decoder_bytes}[name]()
        return Session(self._device, model, shapes, PROVIDER, options)


class Session(DeviceGraph):
    """A graph in ONNX Runtime, which reads and writes where it is told to.

    Args:
        device: where.
        model: an ONNX file's bytes, FP16.
        shapes: of its inputs and outputs.
        provider, options: what executes it there; nothing is left to another in silence.
    """

    recordable = False  # it may allocate and wait whenever it likes

    def __init__(
        self,
        device: Device,
        model: bytes,
        shapes: Mapping[str, Shape],
        provider: str,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(device, shapes)
        self._place = "cpu" if device.stream is None else "cuda"
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = ERRORS_ONLY
        if self._place == "cuda":
            with redirect_stdout(io.StringIO()):  # it prints what it looks for in vain
                if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
                    onnxruntime.preload_dlls(msvc=False)
            settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                model,
                settings,
                providers=[(provider, {k: str(v) for k, v in options.items()})],
                enable_fallback=0,  # which would hide why the provider fails
            )
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            raise RuntimeUnavailableError(
                f"onnxruntime does not open the graph on {device.name}: {one_line(error)}; {HOW}"
            ) from error
        self._run_options = onnxruntime.RunOptions()
        self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def enqueue(self, inputs: Mapping[str, int], outputs: Mapping[str, int], frames: int) -> None:
        binding = self._session.io_binding()
        index = self._device.index
        for bind, tensors in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, address in tensors.items():
                shape = self._shape(name, frames)
                bind(name, self._place, index, np.float16, shape, address)
        try:
            self._session.run_with_iobinding(binding, self._run_options)
        except Exception as error:
            raise RuntimeUnavailableError(
                f"onnxruntime failed on {self._device.name}: {one_line(error)}"
            ) from error

    def close(self) -> None:
        super().close()
        del self._session


def check_provider() -> str:
    """This ONNX Runtime, in words; raises RuntimeUnavailableError unless it was built with CUDA."""
    found = f"onnxruntime {onnxruntime.__version__}"
    if PROVIDER not in onnxruntime.get_available_providers():
        raise RuntimeUnavailableError(f"{found} has no CUDA in it; {HOW}")
    return found
