"""TensorRT engines, built from a bundle's graphs: on the GPU they are for, or by TensorRT-RTX
for one that is elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any, TextIO

from moue.bundle import Bundle
from moue.errors import BundleError, MoueError, RuntimeUnavailableError, with_kind
from moue.progress import Wait
from moue.runtimes.device import enter_device
from moue.runtimes.engine_cache import EngineCache, EngineKey
from moue.runtimes.trt_import import TensorRt

WORKSPACE = 2**30  # bytes of GPU memory that building and running may use on the side
TIMINGS, NO_GRAPH = "timings", "0" * 64  # the key of what all graphs share
POLL = 0.2  # seconds

log = logging.getLogger("moue")
trt_log = logging.getLogger("moue.tensorrt")


class Timings:
    """What TensorRT has measured of its kernels on one GPU, so that no engine measures it again."""

    def __init__(self, data: bytes = b"") -> None:
        self.data, self.changed = data, False

    def update(self, data: bytes) -> None:
        self.changed |= data != self.data
        self.data = data


@dataclass(frozen=True)
class Built:
    """A serialized engine, how long it took to build, and its file if the cache took it."""

    engine: bytes
    seconds: float
    path: Path | None


def engine_for(
    trt: TensorRt,
    bundle: Bundle,
    key: EngineKey,
    cache: EngineCache,
    load: Callable[[bytes], Any] = bytes,
    index: int = 0,
) -> Any:
    """What `load` makes of the cached engine for a key, or of one built now.

    One that `load` makes None of, as TensorRT does where a driver no longer suits it, is built anew.
    """
    engine, why = cache.load(key)
    if engine is not None:
        if (loaded := load(engine)) is not None:
            return loaded
        why = f"{trt} does not load the one in the cache"
    log.warning("building the %s's engine for this GPU: %s", key.graph, why)
    return load(build_and_store(trt, bundle, key, cache, index=index).engine)


def build_and_store(
    trt: TensorRt,
    bundle: Bundle,
    key: EngineKey,
    cache: EngineCache,
    workspace: int = WORKSPACE,
    stream: TextIO | None = None,
    index: int = 0,
) -> Built:
    """Builds an engine, shows how it is doing, and puts it into the cache.

    Args:
        trt: what builds it.
        bundle: the model; its file is hashed again before it is parsed.
        key: which graph, for which GPU.
        cache: where it goes.
        workspace: bytes of GPU memory that it may use beside weights and features.
        stream: a terminal for a progress line; None writes to the log, a line every ten seconds.
        index: of the CUDA device that TensorRT itself builds on.

    Raises:
        BundleError: TensorRT does not parse the graph; the message names the node.
        RuntimeUnavailableError: TensorRT does not build it.
    """
    model = {"encoder": bundle.encoder_bytes, "decoder": bundle.decoder_bytes}[key.graph]()
    start = time.monotonic()
    timings = Timings(cache.load(replace(key, graph=TIMINGS, sha256=NO_GRAPH))[0] or b"")
    with Wait(f"{key.graph} for SM{key.compute_capability}", cache.expected(key), stream) as wait:
        engine = build_engine(trt, model, key, workspace, wait.show, timings, index)
    seconds = time.monotonic() - start
    if timings.changed:
        cache.store(replace(key, graph=TIMINGS, sha256=NO_GRAPH), timings.data, seconds)
    return Built(engine, seconds, cache.store(key, engine, seconds))


def build_engine(
    trt: TensorRt,
    model: bytes,
    key: EngineKey,
    workspace: int = WORKSPACE,
    show: Callable[[str, float], None] = lambda phase, share: None,
    timings: Timings | None = None,
    index: int = 0,
) -> bytes:
    """A serialized engine of an ONNX graph; `show` is called with phase and share done meanwhile.

    What TensorRT measures of kernels is taken from `timings`, and added to it.

    TensorRT works in a thread of its own, so that this one can show progress, and can end the
    work at its next step when it is interrupted.
    """
    monitor = _monitor(trt)
    results: list[bytes | MoueError] = []

    def work() -> None:
        try:
            if not trt.targets:
                enter_device(index)  # a thread begins on the first
            results.append(_build(trt, model, key, workspace, monitor, timings or Timings()))
        except MoueError as error:
            results.append(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits must hear of it
            reason = f"{trt} does not build the {key.graph}: {with_kind(error)}"
            results.append(RuntimeUnavailableError(reason))

    worker = Thread(target=work, name="moue engine")
    worker.start()
    try:
        while worker.is_alive():
            worker.join(POLL)
            show(*monitor.state())
    finally:
        monitor.cancelled = True
        worker.join()
    (result,) = results or [RuntimeUnavailableError(f"{trt} ended without an engine")]
    if isinstance(result, MoueError):
        raise result
    return result


def _build(
    trt: TensorRt,
    model: bytes,
    key: EngineKey,
    workspace: int,
    monitor: Any,
    timings: Timings,
) -> bytes:
    module, logger = trt.module, logger_for(trt)
    builder = module.Builder(logger)
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = module.OnnxParser(network, logger)
    if not parser.parse(model):
        raise BundleError(f"{trt} refuses the {key.graph}{_offending_node(parser)}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, workspace)
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    config.progress_monitor = monitor
    if hasattr(module.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        # or TensorRT-RTX may allocate while a CUDA graph is recorded
        config.set_flag(module.BuilderFlag.REQUIRE_USER_ALLOCATION)
    config.add_optimization_profile(_profile(builder, network, key.frames))
    if trt.targets:
        config.num_compute_capabilities = 1
        target = getattr(module.ComputeCapability, f"SM{key.compute_capability}")
        config.set_compute_capability(target, 0)
    elif hasattr(config, "create_timing_cache"):  # TensorRT-RTX measures nothing while it builds
        known = config.create_timing_cache(timings.data)
        if not config.set_timing_cache(known, ignore_mismatch=False):  # another GPU's
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        reason = logger.errors[-1] if logger.errors else "it gave no reason"
        raise RuntimeUnavailableError(
            f"{trt} does not build the {key.graph} for SM{key.compute_capability}: {reason};"
            " try a larger --workspace, or --runtime onnxruntime"
        )
    if not trt.targets and hasattr(config, "get_timing_cache"):
        timings.update(bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def _profile(builder: Any, network: Any, frames: tuple[int, int, int]) -> Any:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if -1 in shape:
            profile.set_shape(
                tensor.name, *(tuple(n if axis == -1 else axis for axis in shape) for n in frames)
            )
    return profile


def _offending_node(parser: Any) -> str:
    if not parser.num_errors:
        return ""
    error = parser.get_error(0)
    node = f" at node {error.node_name()!r} ({error.node_operator()})"
    return f"{node}: {' '.join(str(error.desc()).split())[:200]}"


def logger_for(trt: TensorRt) -> Any:
    """What TensorRT reports to: the log, at a level that keeps it to itself; errors are kept."""
    module = trt.module
    levels = {
        "INTERNAL_ERROR": logging.DEBUG,  # told again as the error that ends the work
        "ERROR": logging.DEBUG,
        "WARNING": logging.INFO,
        "INFO": logging.DEBUG,
    }

    class Logger(module.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity.name in ("INTERNAL_ERROR", "ERROR"):
                self.errors.append(" ".join(message.split())[:300])
            trt_log.log(levels.get(severity.name, logging.DEBUG), "%s", message)

    return Logger()


def _monitor(trt: TensorRt) -> Any:
    module = trt.module

    class Monitor(module.IProgressMonitor):  # type: ignore[misc, name-defined]
        """Phases within phases, each with the steps it has done and has in all."""

        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self.cancelled = False
            self.phases: dict[str, tuple[int, int]] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self.phases[name] = (0, max(steps, 1))

        def step_complete(self, name: str, step: int) -> bool:
            self.phases[name] = (step + 1, self.phases.get(name, (0, step + 1))[1])
            return not self.cancelled

        def phase_finish(self, name: str) -> None:
            self.phases.pop(name, None)

        def state(self) -> tuple[str, float]:
            """The innermost phase, and the share of the outermost that is done."""
            phases = dict(self.phases)
            share, step = 0.0, 1.0
            for done, steps in phases.values():
                share += step * min(done, steps) / steps
                step /= steps
            return next(reversed(phases), ""), min(share, 1.0)

    return Monitor()
