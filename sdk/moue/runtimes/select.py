"""Chooses runtime and device: what was asked for, or a reason; never something else in silence."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from moue.bundle import Bundle
from moue.errors import BundleError, RuntimeUnavailableError, UsageError, one_line
from moue.runtimes.base import Runtime

if TYPE_CHECKING:
    from moue.runtimes.onnxruntime import OnnxRuntime
    from moue.runtimes.trt_import import TensorRt

RUNTIMES = ("onnxruntime", "tensorrt")
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")

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
    try:
        second = RuntimeStatus("tensorrt", True, _tensorrt("cuda"))
    except RuntimeUnavailableError as error:
        second = RuntimeStatus("tensorrt", False, str(error))
    return [first, second]


def select_runtime(
    bundle: Bundle, device: str = "auto", runtime: str = "auto", threads: int = 0
) -> Runtime:
    """The runtime for a bundle; what `auto` comes to is logged with the reason.

    TensorRT on a GPU comes first, ONNX Runtime on the CPU second.

    Args:
        bundle: the model.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `onnxruntime` or `tensorrt`.
        threads: for the CPU; 0 takes every core this process may use.

    Raises:
        UsageError: for a name that does not exist, and for two that exclude each other.
        RuntimeUnavailableError: when what was asked for cannot be had.
    """
    _check(device, runtime)
    if device == "cpu" and runtime == "tensorrt":
        raise UsageError("tensorrt runs on cuda, not on the cpu; leave out one of the two")
    if device.startswith("cuda") and runtime == "onnxruntime":
        raise UsageError("onnxruntime runs on the cpu here; --runtime tensorrt runs on cuda")
    asked = device.startswith("cuda") or runtime != "auto"
    why = "as asked" if asked else "what runs on the cpu"
    if device != "cpu" and runtime != "onnxruntime":
        place = "cuda" if device == "auto" else device
        try:
            found = _tensorrt(place)
            runtime_there = _on_gpu(bundle, place)
        except (RuntimeUnavailableError, BundleError) as error:
            if asked:
                raise
            why = f"there is no GPU to use ({error})"
        else:
            log.info("tensorrt on %s: %s", found, why if asked else "the fastest that works here")
            return runtime_there
    chosen = _onnxruntime()(bundle, threads)
    log.info("%s on %s with %d threads: %s", chosen.name, chosen.device, chosen.threads, why)
    return chosen


def engine_targets(
    device: str, runtime: str, capabilities: Sequence[str]
) -> tuple[TensorRt, list[tuple[str, str]]]:
    """What builds the engines, and for which (compute capability, driver) each.

    Args:
        device: `auto`, `cuda` or `cuda:N`: whose engines to build when none are named.
        runtime: `auto` or `tensorrt`.
        capabilities: those of GPUs that need not be here, such as `86` or `8.6`.

    Raises:
        UsageError: no engine can be meant by these.
        RuntimeUnavailableError: no TensorRT, none for these, or no GPU and none named.
    """
    from moue.runtimes.device import CudaDevice, cuda_index
    from moue.runtimes.engine_cache import ANY_DRIVER
    from moue.runtimes.trt_import import import_tensorrt

    _check(device, runtime)
    if device == "cpu" or runtime == "onnxruntime":
        raise UsageError("engines are built for tensorrt on cuda; leave out --device and --runtime")
    if capabilities:
        trt = import_tensorrt(["tensorrt_rtx"])
        wanted = list(dict.fromkeys(name.replace(".", "") for name in capabilities))
        for name in wanted:
            _check_target(trt, name)
        return trt, [(name, ANY_DRIVER) for name in wanted]
    trt = import_tensorrt()
    try:
        found = CudaDevice(cuda_index("cuda" if device == "auto" else device))
    except RuntimeUnavailableError as error:
        raise RuntimeUnavailableError(
            f"no GPU here to build for ({error}); name what to build for, such as --sm 86"
        ) from None
    try:
        target = found.compute_capability, found.driver
    finally:
        found.close()
    if trt.targets:
        _check_target(trt, target[0])
    return trt, [target]


def _check(device: str, runtime: str) -> None:
    if not isinstance(device, str) or not DEVICE.fullmatch(device):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, but got {device!r}")
    if runtime not in ("auto", *RUNTIMES):
        raise UsageError(f"runtime must be auto, {' or '.join(RUNTIMES)}, but got {runtime!r}")


def _check_target(trt: TensorRt, name: str) -> None:
    if name not in trt.targets:
        raise RuntimeUnavailableError(
            f"{trt} builds for {', '.join(trt.targets)}, but got {name!r}; engines for other GPUs"
            " (Jetson, Hopper) are built where they are, by TensorRT itself"
        )


def _tensorrt(device: str) -> str:
    """What would run on a CUDA device, in words; raises with the reason if nothing would."""
    from moue import kernels
    from moue.runtimes.device import CudaDevice, cuda_index
    from moue.runtimes.trt_import import import_tensorrt

    try:
        kernels.cuda_devices()
        found = CudaDevice(cuda_index(device))
    except (RuntimeUnavailableError, RuntimeError) as error:
        raise RuntimeUnavailableError(
            f"no CUDA device can be used: {one_line(error)}; --device cpu works without one"
        ) from None
    capability = found.compute_capability
    found.close()
    trt = import_tensorrt()
    if trt.targets:
        _check_target(trt, capability)
    return f"{found.name} (compute capability {capability}) by {trt}"


def _on_gpu(bundle: Bundle, device: str) -> Runtime:
    from moue.runtimes.tensorrt import TensorRtRuntime

    return TensorRtRuntime(bundle, device)


def _onnxruntime() -> type[OnnxRuntime]:
    try:
        from moue.runtimes.onnxruntime import OnnxRuntime
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"onnxruntime does not import ({one_line(error)}); pip install onnxruntime onnx"
        ) from None
    return OnnxRuntime
