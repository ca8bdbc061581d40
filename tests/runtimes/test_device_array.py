from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from moue.errors import UsageError
from moue.runtimes import device_array
from moue.runtimes.device_array import CUDA, DeviceArray, Pool, taken
from tests.host_device import HostDevice


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
    assert not device_array._handed_out


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
    assert not device_array._handed_out


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
    assert not hasattr(on_host(np.zeros(3)), "__cuda_array_interface__")


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
    del got, given
    gc.collect()
    assert not device_array._handed_out


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
