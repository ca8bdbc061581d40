"""Arrays that stay on a device, handed out and taken through the two protocols others speak.

`__cuda_array_interface__` (CuPy, PyTorch, Numba, pycuda) and DLPack (`torch.from_dlpack`, …).
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moue.errors import UsageError
from moue.runtimes.device import Device, as_numpy

CPU, CUDA = 1, 2  # DLPack's device types
DEFAULT_STREAM = 1  # CUDA's number for it
KINDS = {"i": 0, "u": 1, "f": 2}  # DLPack's type codes


class WithInterface(Protocol):
    """An array that tells where it lies, as CuPy's, PyTorch's and pycuda's do."""

    @property
    def __cuda_array_interface__(self) -> Mapping[str, Any]: ...


class WithDLPack(Protocol):
    """An array that others take over by DLPack."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...

    def __dlpack_device__(self) -> tuple[Any, Any]: ...


class _Tensor(ctypes.Structure):
    """What a DLPack capsule points to begins with this."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("place", ctypes.c_int32),
        ("index", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("kind", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class DeviceArray:
    """An array in C order on a device. Its work is done: no stream need be waited for.

    Args:
        address: of its first byte.
        shape, dtype: as NumPy writes them.
        index: of the CUDA device; None for host memory.
        owner: kept alive as long as the array is in use by anyone.
    """

    def __init__(
        self,
        address: int,
        shape: Sequence[int],
        dtype: str | np.dtype[Any],
        index: int | None = 0,
        owner: object = None,
    ) -> None:
        self.address, self.index, self.owner = address, index, owner
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.index is None:
            raise AttributeError("this array is in host memory")
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "version": 3,
            "strides": None,
            "stream": None,
        }

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if self.index is not None:  # without this NumPy would make an array of one object
            raise TypeError("this array is on a device; copy it with CuPy or torch")
        here = as_numpy(self.address, self.shape, self.dtype.str, self)
        return here.astype(dtype or self.dtype, copy=bool(copy))

    def __dlpack_device__(self) -> tuple[int, int]:
        return (CPU, 0) if self.index is None else (CUDA, self.index)

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
        **_: object,
    ) -> Any:
        """A capsule in DLPack's first form, which every consumer takes; of this memory, never a copy."""
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("moue's frames are handed out as they are: take one, then copy it")
        from moue.kernels.device import dlpack  # the extension, where there are such arrays

        kind, bits = KINDS[self.dtype.kind], 8 * self.dtype.itemsize
        return dlpack(self.address, self.shape, kind, bits, self.__dlpack_device__(), self)


@dataclass(frozen=True)
class Given:
    """Another library's array on a CUDA device; `owner` keeps it there."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: object


def on_cuda(value: Any) -> bool:
    """Whether something is an array on a CUDA device, by either protocol."""
    if hasattr(value, "__cuda_array_interface__"):
        return True
    return hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] == CUDA


def taken(name: str, value: Any, dtype: str, shape: Sequence[int | None], device: Device) -> Given:
    """An array on a CUDA device, from any library that speaks one of the two protocols.

    What that library still does to it comes before what is given to the device's stream from now on.

    pycuda's must be in the device's primary context (`pycuda.autoprimaryctx`): kernels reach no other.

    Args:
        name: what it is called in messages.
        value: has `__cuda_array_interface__` or `__dlpack__`; in C order.
        dtype: which it must have.
        shape: which it must have; None takes any length from 1.
        device: where it must be.

    Raises:
        UsageError: it is no such array.
    """
    if hasattr(value, "__dlpack__"):
        given = _from_dlpack(name, value, device)
    elif hasattr(value, "__cuda_array_interface__"):
        given = _from_interface(name, value, device)
    else:
        raise UsageError(
            f"{name} must be an array on a CUDA device, with __cuda_array_interface__ or DLPack,"
            f" but got {type(value).__name__}"
        )
    fits = len(given.shape) == len(shape) and all(
        length >= 1 if wanted is None else length == wanted
        for length, wanted in zip(given.shape, shape, strict=True)
    )
    if not fits or given.dtype != np.dtype(dtype) or not given.address:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise UsageError(
            f"{name} must be {dtype} [{wanted}], but got {given.dtype} {list(given.shape)}"
        )
    return given


def _from_interface(name: str, value: Any, device: Device) -> Given:
    interface = value.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise UsageError(f"{name} must have no mask, but got one: fill it first")
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    _check_order(name, shape, interface.get("strides"), dtype.itemsize)
    # Before version 3 nothing is said of streams: it is then the default one's, if any's.
    stream = interface.get("stream", None if interface["version"] >= 3 else DEFAULT_STREAM)
    if stream is not None:
        device.wait_for_others(stream)
    address = int(interface["data"][0] or 0)
    if address and not device.has(address):
        raise UsageError(f"{name} is not on {device.name}, where what takes it works")
    return Given(address, shape, dtype, value)


def _from_dlpack(name: str, value: Any, device: Device) -> Given:
    kind, index = value.__dlpack_device__()
    if kind != CUDA:
        raise UsageError(f"{name} must be on a CUDA device, but DLPack says device type {kind}")
    if index != device.index:
        raise UsageError(f"{name} is on cuda:{index}, but what takes it works on {device.name}")
    capsule = value.__dlpack__(stream=device.stream)
    tensor = _Tensor.from_address(_capsule_pointer(capsule, b"dltensor"))
    shape = tuple(tensor.shape[: tensor.ndim])
    letters = {code: letter for letter, code in KINDS.items()}
    if tensor.kind not in letters or tensor.lanes != 1 or tensor.bits % 8:
        raise UsageError(f"{name} holds a type that moue does not read")
    dtype = np.dtype(f"{letters[tensor.kind]}{tensor.bits // 8}")
    strides = (
        [n * dtype.itemsize for n in tensor.strides[: tensor.ndim]] if tensor.strides else None
    )
    _check_order(name, shape, strides, dtype.itemsize)
    return Given(int(tensor.data or 0) + tensor.byte_offset, shape, dtype, (value, capsule))


def _check_order(
    name: str, shape: tuple[int, ...], strides: Sequence[int] | None, itemsize: int
) -> None:
    step = itemsize
    for length, stride in zip(reversed(shape), reversed(strides or ()), strict=False):
        if length > 1 and stride != step:
            raise UsageError(f"{name} must be in C order, but got strides {tuple(strides or ())}")
        step *= length


class Pool:
    """Blocks of one size that come back when nobody uses them any more.

    Args:
        allocate, free: give and take back a block's address.
        size: bytes of a block.
        most: blocks to keep for the next user; any number can be in use.
    """

    def __init__(
        self, allocate: Callable[[int], int], free: Callable[[int], None], size: int, most: int
    ) -> None:
        self.size, self.most = size, most
        self._allocate, self._free = allocate, free
        self._idle: list[int] = []
        self._in_use = 0

    @property
    def left(self) -> int:
        """How many blocks can be taken before there are more than are kept."""
        return self.most - self._in_use

    def take(self) -> Block:
        try:
            address = self._idle.pop()  # at once: another thread may take the last
        except IndexError:
            address = self._allocate(self.size)
        self._in_use += 1
        return Block(self, address)

    def close(self) -> None:
        """Frees what is idle; what is still in use is freed when it comes back."""
        self.most = 0
        while self._idle:
            self._free(self._idle.pop())

    def back(self, address: int) -> None:
        self._in_use -= 1
        if len(self._idle) < self.most:
            self._idle.append(address)
        else:
            self._free(address)


class Block:
    """Memory that goes back to its pool with the last reference to this."""

    def __init__(self, pool: Pool, address: int) -> None:
        self._pool, self.address = pool, address

    def __del__(self) -> None:
        self._pool.back(self.address)
