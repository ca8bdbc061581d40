"""Chooses runtime and device: what was asked for, or a reason; never something else in silence."""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, NamedTuple

from moue.bundle import Bundle
from moue.errors import BundleError, RuntimeUnavailableError, UsageError, one_line
from moue.runtimes.base import Runtime
from moue.runtimes.device import Gpu

if TYPE_CHECKING:
    from moue.runtimes.device import CudaDevice
    from moue.runtimes.onnxruntime import OnnxRuntime
    from moue.runtimes.trt_import import TensorRt

RUNTIMES = ("onnxruntime", "tensorrt")
WAYS = (("tensorrt", "cuda"), ("onnxruntime", "cuda"), ("onnxruntime", "cpu"))  # the best first
DRIVER = "libcuda.so.1"
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
        try:
            cuda = f"on {_onnxruntime_cuda(_gpu('cuda'))}"
        except RuntimeUnavailableError as error:
            cuda = f"not on cuda: {error}"
        first = RuntimeStatus("onnxruntime", True, f"runs on the cpu, {cuda}")
    except RuntimeUnavailableError as error:
        first = RuntimeStatus("onnxruntime", False, str(error))
    try:
        second = RuntimeStatus("tensorrt", True, check_tensorrt(_gpu("cuda")))
    except RuntimeUnavailableError as error:
        second = RuntimeStatus("tensorrt", False, str(error))
    return [first, second]


def select_runtime(
    bundle: Bundle, device: str = "auto", runtime: str = "auto", threads: int = 0
) -> Runtime:
    """The runtime for a bundle; what it comes to is logged with the reason.

    That is a warning where there is a GPU and it is not used, though nothing was asked for.

    TensorRT on a GPU comes first, ONNX Runtime there second, and on the CPU last.

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
    kind, _, _ = device.partition(":")
    ways = [way for way in WAYS if runtime in ("auto", way[0]) and kind in ("auto", way[1])]
    if not ways:
        raise UsageError(f"{runtime} runs on cuda, not on the {device}; leave out one of the two")
    reasons: dict[str, None] = {}  # each once, in order
    for name, place in ways:
        try:
            if place == "cpu":
                chosen, where = _on_cpu(bundle, threads)
            else:
                chosen, where = _on_gpu(name, bundle, "cuda" if device == "auto" else device)
        except (RuntimeUnavailableError, BundleError) as error:
            if place == "cpu":
                raise
            reasons[str(error)] = None
        else:
            missed = place == "cpu" and bool(reasons) and _has_gpu()
            level = logging.WARNING if missed else logging.INFO
            log.log(level, "%s on %s: %s", name, where, _why(len(ways), place, list(reasons)))
            return chosen
    raise RuntimeUnavailableError("; ".join(reasons))


def _why(ways: int, place: str, reasons: Sequence[str]) -> str:
    if reasons:
        better = "; ".join(reasons)
        return f"there is no GPU to use ({better})" if place == "cpu" else better
    return "as asked" if ways == 1 else "the fastest that works here"


def engine_targets(device: str, capabilities: Sequence[str]) -> tuple[TensorRt, list[Gpu]]:
    """What builds the engines, and for which GPU each.

    Args:
        device: `auto`, `cuda` or `cuda:N`: whose engines to build when none are named.
        capabilities: those of GPUs that need not be here, such as `86` or `8.6`.

    Raises:
        UsageError: no engine can be meant by these.
        RuntimeUnavailableError: no TensorRT, none for these, or no GPU and none named.
    """
    from moue.runtimes.engine_cache import ANY
    from moue.runtimes.trt_import import import_tensorrt

    _check_device(device)
    if device == "cpu":
        raise UsageError("engines are built for GPUs; leave out --device cpu")
    if capabilities:
        trt = import_tensorrt(["tensorrt_rtx"])
        wanted = list(dict.fromkeys(name.replace(".", "") for name in capabilities))
        for name in wanted:
            _check_target(trt, name)
        return trt, [Gpu(0, name, ANY, ANY) for name in wanted]
    trt = import_tensorrt()
    try:
        with _opened("cuda" if device == "auto" else device) as opened:
            found = opened.gpu
    except RuntimeUnavailableError as error:
        raise RuntimeUnavailableError(
            f"no GPU here to build for ({error}); name what to build for, such as --sm 86"
        ) from None
    if trt.targets:
        _check_target(trt, found.compute_capability)
    return trt, [found]


def check_tensorrt(gpu: Gpu) -> str:
    """A GPU and the TensorRT for it, in words; raises with the reason if there is none."""
    from moue.runtimes.trt_import import import_tensorrt

    trt = import_tensorrt()
    if trt.targets:
        _check_target(trt, gpu.compute_capability)
    return f"{gpu} by {trt}"


def _check(device: str, runtime: str) -> None:
    _check_device(device)
    if runtime not in ("auto", *RUNTIMES):
        raise UsageError(f"runtime must be auto, {' or '.join(RUNTIMES)}, but got {runtime!r}")


def _check_device(device: str) -> None:
    if not isinstance(device, str) or not DEVICE.fullmatch(device):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, but got {device!r}")


def _check_target(trt: TensorRt, name: str) -> None:
    if name not in trt.targets:
        raise RuntimeUnavailableError(
            f"{trt} builds for {', '.join(trt.targets)}, but got {name!r}; engines for other GPUs"
            " (Jetson, Hopper) are built where they are, by TensorRT itself"
        )


def _on_cpu(bundle: Bundle, threads: int) -> tuple[Runtime, str]:
    chosen = _onnxruntime()(bundle, threads)
    return chosen, f"{chosen.device} with {chosen.threads} threads"


def _on_gpu(name: str, bundle: Bundle, device: str) -> tuple[Runtime, str]:
    """A runtime on a CUDA device, and where that is and by what, in words."""
    gpu = _gpu(device)
    if name == "tensorrt":
        where = check_tensorrt(gpu)
        from moue.runtimes.tensorrt import TensorRtRuntime

        return TensorRtRuntime(bundle, device), where
    where = _onnxruntime_cuda(gpu)
    from moue.runtimes.onnxruntime_cuda import OnnxRuntimeCuda

    return OnnxRuntimeCuda(bundle, device), where


def _gpu(device: str) -> Gpu:
    """The CUDA device that moue's kernels would run on; raises with the reason if there is none."""
    from moue import kernels

    try:
        kernels.cuda_devices()
        with _opened(device) as found, found.current():
            kernels.check_cuda(found.index)
            return found.gpu
    except (RuntimeUnavailableError, RuntimeError) as error:
        raise RuntimeUnavailableError(
            f"no CUDA device can be used: {one_line(error)}; --device cpu works without one"
        ) from None


def _has_gpu() -> bool:
    """Whether there is a CUDA device, of use or not; one of two libraries has to see it."""
    from moue import kernels

    try:
        kernels.cuda_devices()
    except RuntimeError:
        try:
            ctypes.CDLL(DRIVER)  # without it cuda-bindings, which take long to import, see none
            with _opened("cuda"):
                pass
        except (OSError, RuntimeUnavailableError):
            return False
    return True


def _opened(device: str) -> AbstractContextManager[CudaDevice]:
    from moue.runtimes.device import CudaDevice, cuda_index

    return closing(CudaDevice(cuda_index(device)))


def _onnxruntime_cuda(gpu: Gpu) -> str:
    _onnxruntime()
    from moue.runtimes.onnxruntime_cuda import check_provider

    return f"{gpu} by {check_provider()}"


def _onnxruntime() -> type[OnnxRuntime]:
    try:
        from moue.runtimes.onnxruntime import OnnxRuntime
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"onnxruntime does not import ({one_line(error)}); pip install onnxruntime onnx"
        ) from None
    return OnnxRuntime
