from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from moue import kernels
from moue.errors import UsageError
from moue.runtimes.device_array import CUDA, DeviceArray, Pool, taken
from tests.host_device import HostDevice

if kernels.BACKEND != "core":
    pytest.skip("arrays are handed out by moue._core", allow_module_level=True)


def on_host(array: np.ndarray) -> DeviceArray:
    return DeviceArray(array.ctypes.data, array.shape, array.dtype, None, array)


@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "i8"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 4)])
def test_dlpack_shows_the_same_memory(dtype, shape):
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    shown = np.from_dlpack(on_host(values))
    np.testing.assert_array_equal(shown, values)
    assert shown.dtype == values.dtype
    assert np.shares_memory(shown, values)


@pytest.mark.parametrize("asked", [{"copy": True}, {"dl_device": (CUDA, 0)}])
def test_dlpack_hands_out_nothing_else(asked):
    with pytest.raises(BufferError, match="frames are handed out as they are"):
        on_host(np.zeros(3)).__dlpack__(**asked)


def test_dlpack_keeps_the_owner_until_the_consumer_is_done():
    class Owner:
        pass

    owner = Owner()
    values, gone = np.zeros(4, np.float32), weakref.ref(owner)
    array = DeviceArray(values.ctypes.data, (4,), "f4", None, owner)
    shown = np.from_dlpack(array)
    unused = array.__dlpack__()
    del owner, array
    gc.collect()
    assert gone() is not None
    del shown
    gc.collect()
    assert gone() is not None
    del unused
    gc.collect()
    assert gone() is None


def refused(array: DeviceArray) -> None:
    array.index = 0
    with pytest.raises((RuntimeError, BufferError), match=r"[Dd]evice"):
        np.from_dlpack(array)


def taken_by_what_succeeds(array: DeviceArray) -> None:
    assert np.from_dlpack(array).sum() == 0


def taken_by_what_fails(array: DeviceArray) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="exactly one argument"):
        len(torch.from_dlpack(array), 1)


def dropped(array: DeviceArray) -> None:
    array.__dlpack__()


def dropped_by_what_fails(array: DeviceArray) -> None:
    with pytest.raises(TypeError, match="exactly one argument"):
        len(array.__dlpack__(), 1)


@pytest.mark.parametrize(
    "use", [refused, taken_by_what_succeeds, taken_by_what_fails, dropped, dropped_by_what_fails]
)
def test_dlpack_lets_go_of_the_owner_whatever_becomes_of_the_array(use):
    values = np.zeros((4, 4, 3), np.uint8)
    gone = weakref.ref(values)
    array = on_host(values)
    del values
    use(array)
    del array
    gc.collect()
    assert gone() is None


def test_dlpack_may_be_done_with_an_array_after_python_is():
    script = """if True:
        import ctypes
        from moue.runtimes.device_array import DeviceArray, _capsule_pointer, _Tensor
        capsule = DeviceArray(4096, (3,), "u1", None).__dlpack__()
        at = _capsule_pointer(capsule, b"dltensor")
        deleter = ctypes.c_void_p.from_address(at + ctypes.sizeof(_Tensor) + 8)
        ctypes.CDLL(None).__cxa_atexit(deleter, ctypes.c_void_p(at), None)
    """
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_is_on_a_device_says_so():
    array = DeviceArray(4096, (5, 4, 3), "u1", index=1)
    assert array.__dlpack_device__() == (CUDA, 1)
    assert array.nbytes == 60
    interface = array.__cuda_array_interface__
    assert interface == {
        "shape": (5, 4, 3),
        "typestr": "|u1",
        "data": (4096, False),
        "version": 3,
        "strides": None,
        "stream": None,
    }
    assert not hasattr(array, "__array_interface__")
    with pytest.raises(TypeError, match="this array is on a device; copy it with CuPy or torch"):
        np.asarray(array)
    values = np.arange(3)
    assert not hasattr(on_host(values), "__cuda_array_interface__")
    assert np.shares_memory(np.asarray(on_host(values)), values)
    np.testing.assert_array_equal(np.asarray(on_host(values), np.float32), values)


class Elsewhere:
    """Another library's array: DLPack only."""

    def __init__(self, array: DeviceArray, kind: int = CUDA, index: int = 0) -> None:
        self.array, self.kind, self.index = array, kind, index
        self.asked: list[object] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, self.index

    def __dlpack__(self, *, stream: int | None = None) -> object:
        self.asked.append(stream)
        return self.array.__dlpack__(stream=stream)


def test_arrays_of_others_are_taken_either_way():
    array = DeviceArray(4096, (5, 4, 3), "u1")
    for given in (array, Elsewhere(array)):
        got = taken("photo", given, "uint8", [None, None, 3], HostDevice())
        assert (got.address, got.shape, got.dtype) == (4096, (5, 4, 3), np.uint8)
    gone = weakref.ref(array)
    del array, given, got
    gc.collect()
    assert gone() is None


def cuda(**changes: object) -> SimpleNamespace:
    interface = {"shape": (5, 4, 3), "typestr": "|u1", "data": (4096, False), "version": 3}
    return SimpleNamespace(__cuda_array_interface__={**interface, **changes})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((5, 4, 3), np.uint8), "photo must be on a CUDA device, but DLPack says"),
        ([[1]], "photo must be an array on a CUDA device, .* but got list"),
        (cuda(shape=(5, 4)), r"photo must be uint8 \[any, any, 3\], but got uint8 \[5, 4\]"),
        (cuda(shape=(5, 4, 2)), "photo must be uint8"),
        (cuda(shape=(0, 4, 3)), "photo must be uint8"),
        (cuda(typestr="<f4"), r"photo must be uint8 .*, but got float32"),
        (cuda(data=(0, False)), "photo must be uint8"),
        (cuda(mask=cuda()), "photo must have no mask, but got one"),
        (cuda(strides=(24, 6, 2)), "photo must be in C order, but got strides"),
        (cuda(strides=(3, 15, 1)), "photo must be in C order"),
        (Elsewhere(DeviceArray(4096, (2,), "u1"), kind=10), "DLPack says device type 10"),
        (Elsewhere(DeviceArray(4096, (2,), "u1"), index=1), "photo is on cuda:1, but .* on host"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(value, message):
    with pytest.raises(UsageError, match=message):
        taken("photo", value, "uint8", [None, None, 3], HostDevice())


def test_an_address_that_is_elsewhere_is_refused(monkeypatch):
    monkeypatch.setattr(HostDevice, "has", lambda self, address: address != 4096)
    with pytest.raises(UsageError, match="photo is not on host, where what takes it works"):
        taken("photo", cuda(), "uint8", [None, None, 3], HostDevice())
    assert taken("photo", cuda(data=(8192, False)), "uint8", [None, None, 3], HostDevice())


@pytest.mark.parametrize(
    ("changes", "waited"),
    [({"stream": 7}, [7]), ({"stream": None}, []), ({}, []), ({"version": 2}, [1])],
)
def test_what_is_still_being_made_is_waited_for(changes, waited):
    device = HostDevice()
    assert taken("photo", cuda(**changes), "uint8", [None, None, 3], device)
    assert device.waited_for_others == waited


def test_dlpack_is_told_the_stream_that_is_to_wait():
    device, array = HostDevice(), Elsewhere(DeviceArray(4096, (5, 4, 3), "u1"))
    device.stream = 4711  # type: ignore[assignment]
    # Either protocol would do: DLPack's waits on the device alone.
    array.__cuda_array_interface__ = cuda().__cuda_array_interface__  # type: ignore[attr-defined]
    assert taken("photo", array, "uint8", [None, None, 3], device)
    assert array.asked == [4711]
    assert device.waited_for_others == []


def test_strides_of_single_cells_do_not_matter():
    assert taken(
        "photo", cuda(shape=(1, 1, 3), strides=(99, 77, 1)), "uint8", [None, None, 3], HostDevice()
    )


def test_blocks_come_back_and_are_used_again():
    freed: list[int] = []
    addresses = iter(range(100, 200))
    pool = Pool(lambda size: next(addresses), freed.append, 64, most=2)
    one, two, three = pool.take(), pool.take(), pool.take()
    assert ([one.address, two.address, three.address], pool.left) == ([100, 101, 102], -1)
    del one, two
    assert (pool.left, freed) == (1, [])
    again = pool.take()
    assert again.address in (100, 101)
    del again, three
    assert freed == [102]  # two are kept, no more
    last = pool.take()
    pool.close()
    assert len(freed) == 2
    del last
    assert sorted(freed) == [100, 101, 102]
