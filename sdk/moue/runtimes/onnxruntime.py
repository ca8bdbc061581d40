"""ONNX Runtime on the CPU: the default runtime, the bundle's FP16 graphs run in FP32."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from moue.bundle import Bundle
from moue.errors import BundleError, RuntimeUnavailableError, UsageError, one_line, shown
from moue.graphs import for_cpu
from moue.kernels.cores import usable_cores
from moue.runtimes.base import Runtime, Shape, Tensors

MOST_THREADS = 1024
ERRORS_ONLY = 3  # ONNX Runtime's log level
PLAIN_LAYOUTS = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED


class OnnxRuntime(Runtime):
    """Runs both graphs through ONNX Runtime.

    Args:
        bundle: the model.
        threads: how many to compute with; 0 takes every core this process may use.
    """

    name = "onnxruntime"
    device = "cpu"

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        super().__init__(bundle)
        if type(threads) is not int or not 0 <= threads <= MOST_THREADS:
            raise UsageError(
                f"threads must be 0 (all cores) … {MOST_THREADS}, but got {shown(threads)}"
            )
        self.threads = threads or usable_cores()
        self._bundle = bundle
        self._encoder = self._session("encoder", self.threads)
        self._decoders = {1: _Decoder(self._session("decoder", 1), self.decoder_outputs)}
        self._opening = threading.Lock()
        _give_back_memory()

    def _encode(self, photo: NDArray[np.float32]) -> Tensors:
        try:
            arrays = self._encoder.run(list(self.encoder_outputs), {"photo": photo})
        except Exception as error:
            raise RuntimeUnavailableError(f"onnxruntime failed: {one_line(error)}") from error
        _give_back_memory()
        return dict(zip(self.encoder_outputs, arrays, strict=True))

    def _decode(self, features: Mapping[str, NDArray[np.float32]]) -> Tensors:
        with self._opening:  # of the decoder on every core: clips do without
            if self.threads not in self._decoders:
                session = self._session("decoder", self.threads)
                self._decoders[self.threads] = _Decoder(session, self.decoder_outputs)
        return self._decoders[self.threads].run(features)

    def _decode_on_one_core(self, features: Mapping[str, NDArray[np.float32]]) -> Tensors:
        return self._decoders[1].run(features)

    def _release(self) -> None:
        del self._encoder, self._decoders

    def _session(self, graph: str, threads: int) -> onnxruntime.InferenceSession:
        encoder = graph == "encoder"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        # Threads that spin between frames take the cores from the kernels: twice the time a frame.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        unwanted = []
        if encoder:  # It runs once a portrait, as fast in plain layouts and without an arena; its
            # weights are widened as they are used. 60 MB less meanwhile, 17 MB less ever after.
            options.graph_optimization_level = PLAIN_LAYOUTS
            options.enable_cpu_mem_arena = False
            unwanted = ["ConstantFolding"]
        residuals = [name for name in self.encoder_outputs if name.startswith("residual")]
        model = for_cpu(self._bundle.graph(graph), halves=residuals if encoder else [])
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=unwanted,
            )
        except Exception as error:  # noqa: BLE001 - its errors share no base class of their own
            raise BundleError(
                f"onnxruntime refuses the {graph} of {self._bundle.folder}: {one_line(error)}"
            ) from None
        inputs = self.encoder_inputs if encoder else self.decoder_inputs
        outputs = self.encoder_outputs if encoder else self.decoder_outputs
        for given, wanted in ((session.get_inputs(), inputs), (session.get_outputs(), outputs)):
            if {argument.name for argument in given} != wanted.keys():
                raise BundleError(
                    f"the {graph} of {self._bundle.folder} must have {sorted(wanted)}, "
                    f"but has {sorted(argument.name for argument in given)}"
                )
        return session


class _Decoder:
    """Runs into memory that each thread keeps from frame to frame; inputs are read where they are."""

    def __init__(self, session: onnxruntime.InferenceSession, outputs: Mapping[str, Shape]) -> None:
        self._session, self._shapes = session, outputs
        self._kept = threading.local()

    def run(self, features: Mapping[str, NDArray[np.float32]]) -> Tensors:
        frames = max(len(array) for array in features.values())
        kept = self._kept
        if getattr(kept, "frames", None) != frames:
            kept.outputs = {
                name: np.empty([n if isinstance(n, int) else frames for n in shape], np.float32)
                for name, shape in self._shapes.items()
            }
            kept.binding = self._session.io_binding()
            for name, array in kept.outputs.items():
                place = (array.shape, array.ctypes.data)
                kept.binding.bind_output(name, "cpu", 0, np.float32, *place)
            kept.frames = frames
        try:
            for name, array in features.items():
                kept.binding.bind_cpu_input(name, np.ascontiguousarray(array))
            self._session.run_with_iobinding(kept.binding)
        except Exception as error:
            del kept.frames
            raise RuntimeUnavailableError(f"onnxruntime failed: {one_line(error)}") from error
        finally:
            kept.binding.clear_binding_inputs()
        return dict(kept.outputs)


def _give_back_memory() -> None:
    """What is free goes back to the system, where that has the means (glibc): 100 MB and more."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
