"""ONNX Runtime on the CPU: the default runtime, the bundle's FP16 graphs run in FP32."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from moue.bundle import Bundle
from moue.errors import BundleError, RuntimeUnavailableError, UsageError, one_line
from moue.graphs import as_float32
from moue.runtimes.base import Runtime, Shape, Tensors

ERRORS_ONLY = 3  # ONNX Runtime's log level


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
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
            raise UsageError(f"threads must be 0 (all cores) or more, but got {threads!r}")
        self.threads = threads or usable_cores()
        self._encoder = self._session(bundle, "encoder", self.encoder_inputs, self.encoder_outputs)
        self._decoder = self._session(bundle, "decoder", self.decoder_inputs, self.decoder_outputs)

    def _session(
        self, bundle: Bundle, graph: str, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]
    ) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        # Threads that spin between frames take the cores from the kernels: twice the time a frame.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = bundle.graph(graph)
        try:
            session = onnxruntime.InferenceSession(
                as_float32(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - its errors share no base class of their own
            raise BundleError(
                f"onnxruntime refuses the {graph} of {bundle.folder}: {one_line(error)}"
            ) from None
        for given, wanted in ((session.get_inputs(), inputs), (session.get_outputs(), outputs)):
            if {argument.name for argument in given} != wanted.keys():
                raise BundleError(
                    f"the {graph} of {bundle.folder} must have {sorted(wanted)}, "
                    f"but has {sorted(argument.name for argument in given)}"
                )
        return session

    def _encode(self, photo: NDArray[np.float32]) -> Tensors:
        return self._run(self._encoder, {"photo": photo}, self.encoder_outputs)

    def _decode(self, features: Mapping[str, NDArray[np.float32]]) -> Tensors:
        return self._run(self._decoder, dict(features), self.decoder_outputs)

    def _release(self) -> None:
        del self._encoder, self._decoder

    def _run(
        self, session: onnxruntime.InferenceSession, inputs: Tensors, outputs: Mapping[str, Shape]
    ) -> Tensors:
        try:
            arrays = session.run(list(outputs), inputs)
        except Exception as error:
            raise RuntimeUnavailableError(f"onnxruntime failed: {one_line(error)}") from error
        return dict(zip(outputs, arrays, strict=True))


def usable_cores() -> int:
    """Cores this process may run on, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
