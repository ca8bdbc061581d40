from __future__ import annotations

import gc
import sys
import threading
from types import SimpleNamespace

import pytest

from moue.errors import RuntimeUnavailableError, UsageError
from moue.runtimes.device import CudaDevice, cuda_index


@pytest.mark.parametrize(("device", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:12", 12)])
def test_index(device, index):
    assert cuda_index(device) == index


@pytest.mark.parametrize("device", ["cpu", "cuda:x", "cuda:-1", ""])
def test_wrong_index(device):
    with pytest.raises(UsageError, match="device must be cuda or cuda:N"):
        cuda_index(device)


class Driver:
    """CUDA's runtime and driver of a machine with three GPUs, as far as a device's being current goes.

    A GPU has a context as soon as it has been current; `now` is whose the thread is in, if any's.
    """

    cudaMemoryType = SimpleNamespace(cudaMemoryTypeDevice=2, cudaMemoryTypeManaged=3)
    cudaDeviceAttr = SimpleNamespace(cudaDevAttrIntegrated=18)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        self.now, self.shares_memory = None, False
        self.with_context, self.freed_on, self.events, self.memory = set(), [], [], {}
        self.capturing, self.graphs, self.replays = set(), [], []

    def cudaGetDeviceCount(self):
        return 0, 3

    def cudaDeviceGetAttribute(self, which, index):
        return 0, self.shares_memory

    def cudaSetDevice(self, index):
        self.now = index
        self.with_context.add(index)
        return (0,)

    def cuCtxGetCurrent(self):
        return 0, self.now

    def cuCtxSetCurrent(self, context):
        self.now = context
        return (0,)

    def cudaStreamCreateWithFlags(self, flags):
        return 0, 100 + self.now

    def cudaStreamDestroy(self, stream):
        return (0,)

    def cudaEventCreateWithFlags(self, flags):
        self.events.append((flags, self.now))
        return 0, len(self.events)

    def cudaEventRecord(self, event, stream):
        return (0,)

    def cudaEventSynchronize(self, event):
        assert self.now is not None
        return (0,)

    def cudaEventDestroy(self, event):
        return (0,)

    def cudaMalloc(self, size):
        self.memory[4096 + len(self.memory)] = SimpleNamespace(type=2, device=self.now)
        return 0, max(self.memory)

    def cudaFree(self, address):
        self.freed_on.append(self.now)
        return (0,)

    def cudaStreamBeginCapture(self, stream, mode):
        self.capturing.add(stream)
        return (0,)

    def cudaStreamEndCapture(self, stream):
        self.capturing.remove(stream)
        self.graphs.append(stream)
        return 0, stream

    def cudaGraphInstantiate(self, graph, flags):
        assert graph in self.graphs
        self.replays.append(graph)
        return 0, graph

    def cudaGraphDestroy(self, graph):
        self.graphs.remove(graph)
        return (0,)

    def cudaGraphExecDestroy(self, graph):
        self.replays.remove(graph)
        return (0,)

    def cudaPointerGetAttributes(self, address):
        return 0, self.memory.get(address, SimpleNamespace(type=0, device=-2))


@pytest.fixture
def driver(monkeypatch):
    driver = Driver()
    monkeypatch.setattr("moue.runtimes.device._cuda_module", lambda name: driver)
    return driver


@pytest.mark.parametrize("before", [None, 0])
def test_a_thread_has_its_own_context_back(driver, before):
    driver.now = before
    device = CudaDevice(2)
    assert (device.stream, driver.now) == (102, before)
    device.free(device.allocate(8))
    with device.held():
        mark = device.mark()
    device.wait(mark)
    assert (driver.freed_on, driver.now) == ([2], before)
    with device.held():
        with device.held():
            assert driver.now == 2
        assert driver.now == 2
    assert driver.now == before
    assert driver.with_context == {2}  # and no other GPU has lost memory to one


@pytest.mark.parametrize(("shares_memory", "flags"), [(False, 2), (True, 3)])
def test_who_waits_for_a_board_leaves_its_core_to_others(driver, shares_memory, flags):
    driver.shares_memory = shares_memory
    device = CudaDevice(1)
    with device.held():
        device.mark()
    assert driver.events == [(flags, 1)]


def test_what_a_finaliser_leaves_is_done_by_whoever_has_the_device(driver):
    device, done = CudaDevice(1), []
    device.when_free(lambda: done.append(driver.now))
    assert done == [1]

    def elsewhere() -> None:
        device.when_free(lambda: done.append("later"))

    with device.held():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
        assert done == [1]
    assert done == [1, "later"]


def test_what_fails_later_harms_nobody(driver):
    def fail() -> None:
        raise RuntimeUnavailableError("CUDA: out of order")

    device, done = CudaDevice(1), []
    device._left.append(fail)
    device._left.append(lambda: done.append(1))
    device.close()
    assert done == [1]


def test_all_who_use_a_device_take_turns(driver):
    first, second, other = CudaDevice(1), CudaDevice(1), CudaDevice(2)

    def can_be_held(device: CudaDevice) -> bool:
        def hold() -> None:
            if device._lock.acquire(blocking=False):
                device._lock.release()
                held.append(device)

        held: list[CudaDevice] = []
        thread = threading.Thread(target=hold)
        thread.start()
        thread.join()
        return bool(held)

    with first.held():
        assert [can_be_held(each) for each in (first, second, other)] == [False, False, True]
    assert can_be_held(second)


def test_what_is_recorded_is_given_back(driver):
    device = CudaDevice(1)
    replay = device.record(lambda: None)
    assert (driver.capturing, driver.graphs, driver.replays) == (set(), [], [101])
    del replay
    assert driver.replays == []


def test_work_that_fails_while_it_is_recorded_leaves_nothing(driver):
    def fail() -> None:
        assert driver.capturing == {101}
        raise UsageError("no such work")

    with pytest.raises(UsageError, match="no such work"):
        CudaDevice(1).record(fail)
    assert (driver.capturing, driver.graphs, driver.replays) == (set(), [], [])


def test_no_garbage_is_collected_while_any_device_records(driver):
    first, second = CudaDevice(1), CudaDevice(2)
    under_way, first_is_done, collecting = threading.Event(), threading.Event(), []

    def work() -> None:
        under_way.set()
        first_is_done.wait(5)
        collecting.append(gc.isenabled())

    other = threading.Thread(target=second.record, args=[work])

    def while_the_other_begins() -> None:
        other.start()
        under_way.wait(0.2)  # in vain where they take turns
        collecting.append(gc.isenabled())

    first.record(while_the_other_begins)
    first_is_done.set()
    other.join()
    assert collecting == [False, False]
    assert gc.isenabled()


def test_it_knows_its_own_memory(driver):
    here, elsewhere = CudaDevice(1), CudaDevice(2)
    address = here.allocate(8)
    assert [device.has(address) for device in (here, elsewhere)] == [True, False]
    assert not here.has(99)  # the host's
    driver.memory[99] = SimpleNamespace(type=3, device=0)
    assert elsewhere.has(99)  # managed: everyone's


def test_without_cuda_bindings_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install cuda-bindings"):
        CudaDevice()


def test_a_device_that_is_not_there_is_refused_with_the_reason():
    pytest.importorskip("cuda.bindings.runtime")
    with pytest.raises(RuntimeUnavailableError, match=r"CUDA: \w+.*|there is no cuda:99"):
        CudaDevice(99)


@pytest.mark.parametrize(
    ("status", "driver", "remedy"),
    [
        ("cudaErrorInsufficientDriver", 12060, r"driver speaks CUDA 12\.6: pip install 'cuda-bind"),
        ("cudaErrorInsufficientDriver", 0, "--device cpu works without a GPU"),
        ("cudaErrorMemoryAllocation", 13000, "use a smaller photo or --batch"),
    ],
)
def test_a_failing_call_says_what_helps(monkeypatch, status, driver, remedy):
    runtime = pytest.importorskip("cuda.bindings.runtime")
    failed = getattr(runtime.cudaError_t, status)
    monkeypatch.setattr(runtime, "cudaGetDeviceCount", lambda: (failed, None))
    monkeypatch.setattr(runtime, "cudaDriverGetVersion", lambda: (0, driver))
    with pytest.raises(RuntimeUnavailableError, match=remedy):
        CudaDevice()


@pytest.mark.parametrize(
    ("own", "driver", "remedy"),
    [
        (13000, 12060, r"CUDA 12\.6: pip install 'cuda-bindings==12\.\*'"),
        (12090, 12060, r"CUDA 12\.6: pip install 'cuda-bindings==12\.8\.\*'"),
        (13020, 13000, r"CUDA 13\.0: update it"),
    ],
)
def test_a_driver_that_is_too_old_is_told_what_suits_it(monkeypatch, own, driver, remedy):
    runtime = pytest.importorskip("cuda.bindings.runtime")
    failed = runtime.cudaError_t.cudaErrorInsufficientDriver
    monkeypatch.setattr(runtime, "cudaGetDeviceCount", lambda: (failed, None))
    monkeypatch.setattr(runtime, "cudaDriverGetVersion", lambda: (0, driver))
    monkeypatch.setattr(runtime, "cudaRuntimeGetVersion", lambda: (0, own))
    with pytest.raises(RuntimeUnavailableError, match=remedy):
        CudaDevice()
