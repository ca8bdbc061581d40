"""Runs a generator f(I, a) that was exported as one graph."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from moue.errors import RuntimeUnavailableError, one_line
from moue.runtimes.onnxruntime import ERRORS_ONLY


def run_one_graph(
    graph: str | os.PathLike[str], photo: NDArray[np.float32], actions: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The frames of a face square.

    Args:
        graph: an ONNX file made by `graphs.one_graph`, FP16 or float32.
        photo: float32 [1, 3, S, S] in [0, 1].
        actions: float32 [T, n].

    Returns:
        float32 [T, 3, S, S] in [0, 1].

    Raises:
        RuntimeUnavailableError: ONNX Runtime does not take the graph.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(graph), options, providers=["CPUExecutionProvider"]
        )
        real = np.float16 if "float16" in session.get_inputs()[0].type else np.float32
        inputs = {"photo": photo.astype(real), "actions": actions.astype(real)}
        (frames,) = session.run(["frames"], inputs)
    except Exception as error:  # ONNX Runtime's errors share no base class of their own
        raise RuntimeUnavailableError(f"onnxruntime refuses {graph}: {one_line(error)}") from error
    return np.asarray(frames, np.float32)
