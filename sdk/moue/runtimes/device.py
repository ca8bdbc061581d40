"""One CUDA device: memory, a stream, events and graphs, through cuda-bindings.

cuda-bindings imports where there is no driver; whoever opens a device there gets the reason.
"""

from __future__ import annotations

import gc
import importlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moue.errors import RuntimeUnavailableError, UsageError, one_line

HOW = "--device cpu works without a GPU"
BLOCKING, UNTIMED = 1, 2  # flags of an event: who waits for it sleeps; it tells no time
# By index: what is recorded on one stream of a device is lost when a thread waits for all of the device.
_locks: dict[int, threading.RLock] = {}
_collector = threading.Lock()  # who records has it: the switch is one for all devices


class Device(Protocol):
    """What the frame loop asks of a device. All work goes to one stream, in order.

    Addresses are whole numbers, of device memory unless said otherwise; sizes are in bytes.

    Attributes:
        stream: handle of the stream that kernels are launched on; None runs them on the host.
    """

    name: str
    index: int
    stream: int | None

    def current(self) -> AbstractContextManager[Any]: ...
    def held(self) -> AbstractContextManager[Any]: ...
    def when_free(self, work: Callable[[], None]) -> None: ...

    def allocate(self, size: int) -> int: ...
    def free(self, address: int) -> None: ...
    def allocate_pinned(self, size: int) -> int: ...
    def free_pinned(self, address: int) -> None: ...
    def copy(self, target: int, source: int, size: int) -> None: ...
    def upload(self, target: int, array: NDArray[Any]) -> None: ...
    def mark(self) -> Any: ...
    def wait(self, mark: Any) -> None: ...
    def synchronize(self) -> None: ...
    def wait_for_others(self, stream: int | None = None) -> None: ...
    def has(self, address: int) -> bool: ...
    def record(self, work: Callable[[], None]) -> Callable[[], None]: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Gpu:
    """A CUDA device, as engines depend on it; TensorRT-RTX builds for some that are elsewhere.

    index: in CUDA's order, of one that is here; compute_capability: as `86`; driver: the CUDA version it speaks, as `12060`;
    model: as `NVIDIA GeForce RTX 3090`.
    """

    index: int
    compute_capability: str
    driver: str
    model: str

    def __str__(self) -> str:
        return f"cuda:{self.index} (compute capability {self.compute_capability})"


class CudaDevice:
    """A CUDA device, by its index, and one stream on it.

    Raises:
        RuntimeUnavailableError: there is no such device, or no driver, or no cuda-bindings.
    """

    def __init__(self, index: int = 0) -> None:
        self._cuda, self._contexts = _cuda_module("runtime"), _cuda_module("driver")
        count = self._call("cudaGetDeviceCount")
        if not 0 <= index < count:
            raise RuntimeUnavailableError(f"there is no cuda:{index}, only {count} CUDA devices")
        self.index = index
        self.name = f"cuda:{index}"
        self._lock = _locks.setdefault(index, threading.RLock())
        self._left: deque[Callable[[], None]] = deque()
        with self.current():  # a stream of its own, which the default one does not wait for
            self.stream: int | None = int(self._call("cudaStreamCreateWithFlags", 1))
        self._marks: list[Any] = []
        # One that shares the host's memory is slow enough that waiting should leave a core to others.
        shared = self._attribute("cudaDevAttrIntegrated")
        self._event = UNTIMED | (BLOCKING if shared else 0)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes this the calling thread's device, and then what was: to set a device by its number
        would give a context, and the memory it takes, to one that nobody uses."""
        _, before = self._contexts.cuCtxGetCurrent()
        self._call("cudaSetDevice", self.index)
        try:
            yield
        finally:
            self._contexts.cuCtxSetCurrent(before)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The same, and no other thread has it meanwhile; the one that does may ask again.

        For whoever gives work to the stream or waits for the device, so that threads do not mix theirs,
        nor spoil what one of them records.
        """
        with self._lock, self.current():
            yield
        self._do_what_is_left()

    def when_free(self, work: Callable[[], None]) -> None:
        """Has work done now, or by whoever has the device, when they are done with it.

        For finalisers: they run in any thread, whatever it holds, and must not wait for another.
        """
        self._left.append(work)
        self._do_what_is_left()

    def _do_what_is_left(self) -> None:
        while self._left and self._lock.acquire(blocking=False):
            try:  # another thread may have taken the last; what ails the device shows elsewhere
                with suppress(IndexError, RuntimeUnavailableError), self.current():
                    self._left.popleft()()
            finally:
                self._lock.release()

    @property
    def gpu(self) -> Gpu:
        """What engines for it depend on."""
        major, minor = (
            self._attribute(f"cudaDevAttrComputeCapability{part}") for part in ("Major", "Minor")
        )
        model = bytes(self._call("cudaGetDeviceProperties", self.index).name)
        driver = str(self._call("cudaDriverGetVersion"))
        return Gpu(self.index, f"{major}{minor}", driver, model.partition(b"\0")[0].decode())

    def allocate(self, size: int) -> int:
        with self.current():
            return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        with self.current():
            self._call("cudaFree", address)

    def allocate_pinned(self, size: int) -> int:
        with self.current():
            return int(self._call("cudaMallocHost", size))

    def free_pinned(self, address: int) -> None:
        with self.current():
            self._call("cudaFreeHost", address)

    def copy(self, target: int, source: int, size: int) -> None:
        """Between any two of device and pinned memory, in the stream's order."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDefault
        self._call("cudaMemcpyAsync", target, source, size, kind, self.stream)

    def upload(self, target: int, array: NDArray[Any]) -> None:
        """From an array in C order, done when it returns."""
        self.copy(target, array.ctypes.data, array.nbytes)
        self.synchronize()

    def mark(self) -> Any:
        """The point in the stream that work has been given up to."""
        if self._marks:
            event = self._marks.pop()
        else:
            event = self._call("cudaEventCreateWithFlags", self._event)
        self._call("cudaEventRecord", event, self.stream)
        return event

    def wait(self, mark: Any) -> None:
        """Returns when all before the mark is done; the mark is used up."""
        with self.current():
            self._call("cudaEventSynchronize", mark)
        self._marks.append(mark)

    def synchronize(self) -> None:
        self._call("cudaStreamSynchronize", self.stream)

    def wait_for_others(self, stream: int | None = None) -> None:
        """Returns when what others gave to a stream of theirs is done; None: to any on this device."""
        if stream is None:
            self._call("cudaDeviceSynchronize")
        else:
            self._call("cudaStreamSynchronize", stream)

    def has(self, address: int) -> bool:
        """Whether that is memory which kernels on this device may use."""
        found, kinds = self._call("cudaPointerGetAttributes", address), self._cuda.cudaMemoryType
        own = found.type == kinds.cudaMemoryTypeDevice and found.device == self.index
        return bool(own or found.type == kinds.cudaMemoryTypeManaged)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Takes down, once, what `work` gives to the stream; the result gives all that at once."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        with ExitStack() as after:
            with _no_garbage_collected():
                self._call("cudaStreamBeginCapture", self.stream, mode)
                try:
                    work()
                finally:  # a stream that is left capturing takes no other work
                    graph = self._call("cudaStreamEndCapture", self.stream)
                    after.callback(self._call, "cudaGraphDestroy", graph)
            return Replay(self, self._call("cudaGraphInstantiate", graph, 0))

    def milliseconds(self, work: Callable[[], None]) -> float:
        """How long the device takes for what `work` gives to the stream."""
        first, last = (self._call("cudaEventCreate") for _ in range(2))
        self._call("cudaEventRecord", first, self.stream)
        work()
        self._call("cudaEventRecord", last, self.stream)
        self._call("cudaEventSynchronize", last)
        elapsed = float(self._call("cudaEventElapsedTime", first, last))
        for event in (first, last):
            self._call("cudaEventDestroy", event)
        return elapsed

    @property
    def cache_bytes(self) -> int:
        """What the device's second cache holds."""
        return self._attribute("cudaDevAttrL2CacheSize")

    def memory_used(self) -> int:
        """Bytes in use on the whole device, by whomever."""
        free, total = self._call("cudaMemGetInfo")
        return int(total) - int(free)

    def close(self) -> None:
        self._do_what_is_left()
        for mark in self._marks:
            self._call("cudaEventDestroy", mark)
        self._marks.clear()
        self._call("cudaStreamDestroy", self.stream)

    def _attribute(self, name: str) -> int:
        which = getattr(self._cuda.cudaDeviceAttr, name)
        return int(self._call("cudaDeviceGetAttribute", which, self.index))

    def _call(self, name: str, *arguments: Any) -> Any:
        return _call(self._cuda, name, *arguments)


class Replay:
    """Recorded work; calling it gives that to the stream again."""

    def __init__(self, device: CudaDevice, graph: Any) -> None:
        self._device, self._graph = device, graph

    def __call__(self) -> None:
        self._device._call("cudaGraphLaunch", self._graph, self._device.stream)

    def __del__(self) -> None:
        if hasattr(self, "_graph"):
            self._device._cuda.cudaGraphExecDestroy(self._graph)


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """Nothing that goes meanwhile gives memory back: a stream that is being recorded allows none."""
    with _collector:
        before = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if before:
                gc.enable()


def enter_device(index: int) -> None:
    """Makes `cuda:index` the calling thread's device."""
    _call(_cuda_module("runtime"), "cudaSetDevice", index)


def cuda_index(device: str) -> int:
    """The index in `cuda` or `cuda:N`."""
    name, _, index = device.partition(":")
    if name != "cuda" or not (index or "0").isdecimal():
        raise UsageError(f"device must be cuda or cuda:N, but got {device!r}")
    return int(index or 0)


def _cuda_module(name: str) -> Any:
    try:
        return importlib.import_module(f"cuda.bindings.{name}")
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeUnavailableError(
            f"cuda-bindings does not import ({one_line(error)}); pip install cuda-bindings"
        ) from None


def _call(cuda: Any, name: str, *arguments: Any) -> Any:
    """A call of the CUDA runtime: its results without the status, which must be success."""
    try:
        status, *results = getattr(cuda, name)(*arguments)
    except RuntimeError as error:  # the driver's library is missing altogether
        raise RuntimeUnavailableError(f"CUDA: {one_line(error)}; {HOW}") from None
    if int(status):
        text = cuda.cudaGetErrorString(status)[1].decode()
        raise RuntimeUnavailableError(f"CUDA: {text} ({name}); {_remedy(cuda, status)}")
    return results[0] if len(results) == 1 else tuple(results)


def _remedy(cuda: Any, status: Any) -> str:
    _, driver = cuda.cudaDriverGetVersion()
    if status == cuda.cudaError_t.cudaErrorInsufficientDriver and driver:
        major, speaks = (
            driver // 1000,
            f"the driver speaks CUDA {driver // 1000}.{driver % 1000 // 10}",
        )
        if major != cuda.cudaRuntimeGetVersion()[1] // 1000:
            return f"{speaks}: pip install 'cuda-bindings=={major}.*'"
        if major == 12:  # Jetson's: later bindings have a runtime of their own, with more demands
            return f"{speaks}: pip install 'cuda-bindings==12.8.*'"
        return f"{speaks}: update it"
    if status == cuda.cudaError_t.cudaErrorMemoryAllocation:
        return "use a smaller photo or --batch, or free memory on the GPU"
    return HOW


class _HostMemory:
    def __init__(self, interface: dict[str, Any], owner: object) -> None:
        self.__array_interface__, self.owner = interface, owner


def as_numpy(address: int, shape: tuple[int, ...], dtype: str, owner: object) -> NDArray[Any]:
    """Host memory as an array that keeps its owner alive."""
    interface = {"data": (address, False), "shape": shape, "typestr": dtype, "version": 3}
    return np.asarray(_HostMemory(interface, owner))
