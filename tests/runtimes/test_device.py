from __future__ import annotations

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
    """The CUDA runtime of a machine with three GPUs, as far as a device's being current goes."""

    cudaMemoryType = SimpleNamespace(cudaMemoryTypeDevice=2, cudaMemoryTypeManaged=3)

    def __init__(self) -> None:
        self.now, self.freed_on, self.memory = 0, [], {}

    def cudaGetDeviceCount(self):
        return 0, 3

    def cudaGetDevice(self):
        return 0, self.now

    def cudaSetDevice(self, index):
        self.now = index
        return (0,)

    def cudaStreamCreateWithFlags(self, flags):
        return 0, 100 + self.now

    def cudaMalloc(self, size):
        self.memory[4096 + len(self.memory)] = SimpleNamespace(type=2, device=self.now)
        return 0, max(self.memory)

    def cudaFree(self, address):
        self.freed_on.append(self.now)
        return (0,)

    def cudaPointerGetAttributes(self, address):
        return 0, self.memory.get(address, SimpleNamespace(type=0, device=-2))


@pytest.fixture
def driver(monkeypatch):
    driver = Driver()
    monkeypatch.setattr("moue.runtimes.device._cuda_runtime", lambda: driver)
    return driver


def test_a_thread_has_its_own_device_back(driver):
    device = CudaDevice(2)
    assert (device.stream, driver.now) == (102, 0)
    device.free(device.allocate(8))
    assert (driver.freed_on, driver.now) == ([2], 0)
    with device.held():
        with device.held():
            assert driver.now == 2
        assert driver.now == 2
    assert driver.now == 0


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
        ("cudaErrorInsufficientDriver", 12060, "driver speaks CUDA 12: pip install 'cuda-bind"),
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
