"""A device of the device path that is the host: real memory, the kernels' arithmetic, no GPU."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import numpy as np

from moue.runtimes.base import Runtime
from moue.runtimes.device import as_numpy


class HostDevice:
    """Addresses are the host's; `stream` None runs the kernels there at once."""

    name, index, stream = "host", 0, None

    def __init__(self) -> None:
        self.memory: dict[int, np.ndarray] = {}
        self.recorded = self.launched = 0
        self.waited: list[int] = []
        self._marks = 0
        self.lock = threading.RLock()
        self.waited_for_others: list[int | None] = []
        self.closed = False

    def current(self):
        return nullcontext()

    def held(self):
        return self.lock

    def when_free(self, work: Callable[[], None]) -> None:
        work()

    def has(self, address: int) -> bool:
        return True

    def allocate(self, size: int) -> int:
        room = np.full(size + 256, 0xCD, np.uint8)
        address = room.ctypes.data + -room.ctypes.data % 256
        self.memory[address] = room
        return address

    def free(self, address: int) -> None:
        del self.memory[address]

    allocate_pinned, free_pinned = allocate, free

    def copy(self, target: int, source: int, size: int) -> None:
        ctypes.memmove(target, source, size)

    def upload(self, target: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        self.copy(target, array.ctypes.data, array.nbytes)

    def mark(self) -> int:
        self._marks += 1
        return self._marks

    def wait(self, mark: int) -> None:
        self.waited.append(mark)

    def synchronize(self) -> None:
        pass

    def wait_for_others(self, stream: int | None = None) -> None:
        self.waited_for_others.append(stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1

        def replay() -> None:
            self.launched += 1
            work()

        return replay

    def close(self) -> None:
        self.closed = True

    def assert_all_given_back(self) -> None:
        gc.collect()
        assert not self.memory


class HostDecoder:
    """Runs the decoder through another runtime, on arrays at host addresses."""

    def __init__(self, runtime: Runtime, recordable: bool = True) -> None:
        self.runtime, self.recordable = runtime, recordable

    def enqueue(self, inputs: Mapping[str, int], outputs: Mapping[str, int], frames: int) -> None:
        def halves(address: int, shape: tuple[int | str, ...]) -> np.ndarray:
            axes = tuple(axis if isinstance(axis, int) else frames for axis in shape)
            return as_numpy(address, axes, "<f2", None)

        runtime = self.runtime
        features = {
            name: halves(inputs[name], shape).astype(np.float32)
            for name, shape in runtime.decoder_inputs.items()
        }
        for name, array in runtime.decode(features).items():
            halves(outputs[name], runtime.decoder_outputs[name])[...] = array
