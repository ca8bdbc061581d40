from __future__ import annotations

import sys

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


def test_without_cuda_bindings_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'moue\[cuda\]'"):
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
