"""PyTorch behind the seam of every runtime on a GPU: what runs the graphs where TensorRT does not.

For tests/gpu and benchmarks.gpu alone; moue itself never imports PyTorch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional

from moue.errors import BundleError, RuntimeUnavailableError
from moue.runtimes.base import Shape
from moue.runtimes.device import Device
from moue.runtimes.device_array import DeviceArray
from moue.runtimes.on_cuda import CudaRuntime, DeviceGraph


class TorchRuntime(CudaRuntime):
    """Runs both graphs node by node, in FP16 on the frame loop's own stream.

    Args:
        bundle: the model.
        device: a CUDA device, or one that is the host.

    Raises:
        RuntimeUnavailableError: this PyTorch has no CUDA in it.
    """

    name = "pytorch"

    def _graph(self, name: str, shapes: Mapping[str, Shape]) -> TorchGraph:
        if self._device.stream is not None and not torch.cuda.is_available():
            raise RuntimeUnavailableError(f"PyTorch {torch.__version__} has no CUDA in it")
        return TorchGraph(self._device, self.bundle.graph(name), shapes)


class TorchGraph(DeviceGraph):
    """An ONNX graph as torch operations.

    Tensors are kept for each set of addresses, so that a recording finds all its memory there.
    """

    recordable = True

    def __init__(self, device: Device, model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
        super().__init__(device, shapes)
        self._index = None if device.stream is None else device.index
        place = "cpu" if self._index is None else f"cuda:{self._index}"
        self._constants: dict[str, Any] = {}
        for tensor in model.graph.initializer:
            value = numpy_helper.to_array(tensor)
            if value.dtype.kind == "f" and value.ndim == 0:
                value = float(value)
            elif value.dtype.kind == "f":
                value = torch.from_numpy(value.copy())
                if value.ndim == 4:  # as tensor cores take it; turned here, where nothing runs late
                    value = value.contiguous(memory_format=torch.channels_last)
                value = value.to(place)
            self._constants[tensor.name] = value
        self._nodes = [(_operation(node), node) for node in model.graph.node]
        self._views: dict[tuple[tuple[str, int], ...], dict[str, torch.Tensor]] = {}

    def enqueue(self, inputs: Mapping[str, int], outputs: Mapping[str, int], frames: int) -> None:
        key = (*sorted({**inputs, **outputs}.items()), ("frames", frames))
        with torch.inference_mode(), self._on_stream():
            if key not in self._views:
                self._views[key] = {
                    name: torch.from_dlpack(
                        DeviceArray(address, self._shape(name, frames), "f2", self._index)
                    )
                    for name, address in {**inputs, **outputs}.items()
                }
            there = self._views[key]
            values = {**self._constants, **{name: there[name] for name in inputs}}
            for run, node in self._nodes:
                given = [values[name] if name else None for name in node.input]
                made = run(*given)
                made = made if isinstance(made, (list, tuple)) else [made]
                values.update(zip(node.output, made, strict=True))
            for name in outputs:
                there[name].copy_(values[name])

    def close(self) -> None:
        self._views.clear()
        self._constants.clear()
        super().close()

    def _on_stream(self) -> Any:
        if self._index is None:
            return nullcontext()
        return torch.cuda.stream(torch.cuda.ExternalStream(self._device.stream, self._index))


def _operation(node: onnx.NodeProto) -> Callable[..., Any]:
    """What a node does, given its inputs; those that are no tensors are NumPy arrays."""
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type in PLAIN:
        return PLAIN[node.op_type]
    if node.op_type not in MADE:
        raise BundleError(f"node {node.name!r} is a {node.op_type}, which is not written down here")
    return MADE[node.op_type](given)


def _conv(given: Mapping[str, Any]) -> Callable[..., torch.Tensor]:
    top, left, bottom, right = given.get("pads", [0] * 4)
    if (top, left) != (bottom, right):
        raise BundleError(f"pads must be the same on both sides, but got {given['pads']}")
    settings = {
        "stride": given.get("strides", [1, 1]),
        "padding": [top, left],
        "dilation": given.get("dilations", [1, 1]),
        "groups": given.get("group", 1),
    }
    return lambda x, weight, bias=None: functional.conv2d(x, weight, bias, **settings)


def _depth_to_space(given: Mapping[str, Any]) -> Callable[..., torch.Tensor]:
    size = given["blocksize"]
    if given.get("mode", b"DCR") == b"CRD":
        return lambda x: functional.pixel_shuffle(x, size)

    def shuffle(x: torch.Tensor) -> torch.Tensor:
        frames, channels, height, width = x.shape
        apart = x.reshape(frames, size, size, channels // size**2, height, width)
        return functional.pixel_shuffle(apart.permute(0, 3, 1, 2, 4, 5).reshape(x.shape), size)

    return shuffle


def _slice(x: Any, starts: Any, ends: Any, axes: Any, steps: Any = None) -> Any:
    parts = [slice(None)] * x.ndim
    steps = np.ones_like(axes) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        parts[axis] = slice(int(start), int(end), int(step))
    return x[tuple(parts)]


def _split(given: Mapping[str, Any]) -> Callable[..., Any]:
    return lambda x, parts: torch.split(x, np.asarray(parts).tolist(), given.get("axis", 0))


PLAIN: dict[str, Callable[..., Any]] = {
    "Add": operator.add,
    "Mul": operator.mul,
    "Sub": operator.sub,
    "Relu": torch.relu,
    "Reshape": lambda x, shape: x.reshape(np.asarray(shape).tolist()),
    "Slice": _slice,
}
MADE: dict[str, Callable[[Mapping[str, Any]], Callable[..., Any]]] = {
    "AveragePool": lambda given: (
        lambda x: functional.avg_pool2d(x, given["kernel_shape"], given["strides"])
    ),
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "LeakyRelu": lambda given: lambda x: functional.leaky_relu(x, given.get("alpha", 0.01)),
    "Split": _split,
}
