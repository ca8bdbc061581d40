"""Chooses runtime and device: what was asked for, or a reason; never something else in silence."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, NamedTuple

from moue.bundle import Bundle
from moue.errors import RuntimeUnavailableError, UsageError, one_line
from moue.runtimes.base import Runtime

if TYPE_CHECKING:
    from moue.runtimes.onnxruntime import OnnxRuntime

RUNTIMES = ("onnxruntime", "tensorrt")
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
NO_TENSORRT = "moue's tensorrt runtime is not built yet; use --runtime onnxruntime --device cpu"

log = logging.getLogger("moue")


class RuntimeStatus(NamedTuple):
    """Whether a runtime can be used here, and the reason."""

    name: str
    usable: bool
    reason: str


def available_runtimes() -> list[RuntimeStatus]:
    """Every runtime moue knows, usable or not."""
    try:
        _onnxruntime()
        first = RuntimeStatus("onnxruntime", True, "runs on the cpu")
    except RuntimeUnavailableError as error:
        first = RuntimeStatus("onnxruntime", False, str(error))
    return [first, RuntimeStatus("tensorrt", False, NO_TENSORRT)]


def select_runtime(
    bundle: Bundle, device: str = "auto", runtime: str = "auto", threads: int = 0
) -> Runtime:
    """The runtime for a bundle; what `auto` comes to is logged with the reason.

    Args:
        bundle: the model.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `onnxruntime` or `tensorrt`.
        threads: for the CPU; 0 takes every core this process may use.

    Raises:
        UsageError: for a name that does not exist.
        RuntimeUnavailableError: when what was asked for cannot be had.
    """
    if not isinstance(device, str) or not DEVICE.fullmatch(device):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, but got {device!r}")
    if runtime not in ("auto", *RUNTIMES):
        raise UsageError(f"runtime must be auto, {' or '.join(RUNTIMES)}, but got {runtime!r}")
    if runtime == "tensorrt":
        raise RuntimeUnavailableError(NO_TENSORRT)
    if device.startswith("cuda"):
        raise RuntimeUnavailableError(
            f"{device} needs the tensorrt runtime, which is not built yet; use --device cpu or auto"
        )
    chosen = _onnxruntime()(bundle, threads)
    why = "as asked" if "auto" not in (device, runtime) else "the only runtime built so far"
    log.info("%s on %s with %d threads: %s", chosen.name, chosen.device, chosen.threads, why)
    return chosen


def _onnxruntime() -> type[OnnxRuntime]:
    try:
        from moue.runtimes.onnxruntime import OnnxRuntime
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"onnxruntime does not import ({one_line(error)}); pip install onnxruntime onnx"
        ) from None
    return OnnxRuntime
