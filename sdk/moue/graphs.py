"""Edits on a bundle's ONNX graphs: for the CPU, in float32, the whole of f(I, a) as one graph."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from moue.bundle import Bundle
from moue.errors import BundleError
from moue.kernels import EDGE, FAINT, STILL, THIN
from moue.mouth import COLOURED, COLOURLESS, GRAIN_BLOCKS, LUMA, PLACE_STEP, Mouth

GRID_SAMPLE_OPSET = 16  # the first that has GridSample
LINEAR_OPSET = 20  # the first that calls bilinear sampling "linear"
SHUFFLE_SIDE = 16  # px of a pixel shuffle's output, from which on transpositions are faster


def as_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the graph that computes in float32; the weights keep their FP16 values."""
    converted = onnx.ModelProto()
    converted.CopyFrom(model)
    _graph_as_float32(converted.graph)
    return converted


def for_cpu(model: onnx.ModelProto, halves: Collection[str] = ()) -> onnx.ModelProto:
    """The graph, itself changed, as ONNX Runtime runs it fastest on a CPU: the same numbers.

    It computes in float32, but its weights stay FP16 until the runtime widens them: half of the
    bytes to write and read. Pixel shuffles become two transpositions each. The outputs
    named in `halves` are rounded to FP16 at the end.
    """
    graph = model.graph
    widen = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT16:
            continue
        name, tensor.name = tensor.name, f"{tensor.name}/half"
        widen.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*widen, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    _types_as_float32(graph)
    sizes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in graph.value_info
    }
    nodes = [part for node in nodes for part in _transposed_shuffle(graph, node, sizes)]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in graph.output:
        if value.name in halves:
            _rounded_output(graph, value)
    return model


def _rounded_output(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> None:
    single = f"{value.name}/single"
    for node in graph.node:
        node.input[:] = [single if name == value.name else name for name in node.input]
        node.output[:] = [single if name == value.name else name for name in node.output]
    graph.node.append(helper.make_node("Cast", [single], [value.name], to=TensorProto.FLOAT16))
    value.type.tensor_type.elem_type = TensorProto.FLOAT16


def _transposed_shuffle(
    graph: onnx.GraphProto, node: onnx.NodeProto, sizes: dict[str, list[int]]
) -> list[onnx.NodeProto]:
    """A pixel shuffle [N, 4C, h, w] → [N, C, 2h, 2w] as columns, then rows, put side by side.

    ONNX Runtime moves a single axis with SIMD and many at once an element at a time: three times
    as slow. Where the sizes are not known, and for any other node, the node itself.
    """
    name, shape = (node.output[0], sizes.get(node.output[0], [])) if node.output else ("", [])
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if not (
        node.op_type == "DepthToSpace"
        and attributes["blocksize"].i == 2
        and "mode" in attributes
        and attributes["mode"].s == b"CRD"
        and len(shape) == 4
        and min(shape[1:]) > 0
        and min(shape[2:]) >= SHUFFLE_SIDE
    ):
        return [node]
    channels, height, width = shape[1], shape[2] // 2, shape[3] // 2
    together = 2 * channels if _columns_first(graph, node.input[0]) else 1
    moves = [
        ("columns", [-1, 2, together * height * width], [0, 2, 1]),
        ("rows", [-1, 2, height, 2 * width], [0, 2, 1, 3]),
    ]
    nodes, x = [], node.input[0]
    for move, split, order in moves:
        part = f"{name}/{move}"
        graph.initializer.append(numpy_helper.from_array(np.array(split), f"{part}/shape"))
        nodes.append(helper.make_node("Reshape", [x, f"{part}/shape"], [f"{part}/apart"]))
        nodes.append(helper.make_node("Transpose", [f"{part}/apart"], [part], perm=order))
        x = part
    whole = np.array([-1, channels, 2 * height, 2 * width])
    graph.initializer.append(numpy_helper.from_array(whole, f"{name}/shape"))
    return [*nodes, helper.make_node("Reshape", [x, f"{name}/shape"], [name])]


def _columns_first(graph: onnx.GraphProto, x: str) -> bool:
    """Reorders what the convolution behind `x` puts out: left columns of all channels, then right.

    They then go side by side in one transposition: ONNX Runtime wakes its threads for each one.
    False, and nothing done, where `x` is no convolution's with weights of its own.
    """
    made = [node for node in graph.node if x in node.output and node.op_type == "Conv"]
    taken = [name for node in graph.node for name in node.input]
    if not made or taken.count(x) != 1 or any(taken.count(w) != 1 for w in made[0].input[1:]):
        return False
    names = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    weights = [names.get(w, w) for w in made[0].input[1:]]
    if not tensors.keys() >= set(weights):
        return False
    for tensor in map(tensors.__getitem__, weights):
        values = numpy_helper.to_array(tensor)
        apart = values.reshape(-1, 2, *values.shape[1:]).swapaxes(0, 1)
        tensor.CopyFrom(numpy_helper.from_array(apart.reshape(values.shape), tensor.name))
    return True


def _graph_as_float32(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _tensor_as_float32(tensor)
    _types_as_float32(graph)


def _types_as_float32(graph: onnx.GraphProto) -> None:
    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = single
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _tensor_as_float32(attribute.t)
            elif attribute.type == onnx.AttributeProto.GRAPH:
                _graph_as_float32(attribute.g)
            elif attribute.name in ("to", "dtype") and attribute.i == half:
                attribute.i = single


def _tensor_as_float32(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def one_graph(bundle: Bundle, fp32: bool = False) -> onnx.ModelProto:
    """The generator f(I, a) as one graph, for trtexec, Triton and others.

    Inputs `photo` [1, 3, S, S], the face square as `kernels.preprocess` cuts it, RGB in [0, 1], and
    `actions` [frames, n], weights of the bundle's actions in their order, from `actions.least` to 1;
    output `frames` [frames, 3, S, S], the square again, RGB in [0, 1]. All are FP16, or float32 on
    demand; the frames axis alone is dynamic. One row of zeros runs along with the frames: the
    decoder's outputs at rest, which are subtracted here as everywhere.
    """
    encoder, decoder = bundle.graph("encoder"), bundle.graph("decoder")
    opset = _opset(encoder)
    if _opset(decoder) != opset or opset < GRID_SAMPLE_OPSET:
        raise BundleError(
            f"one graph needs both graphs at one opset of {GRID_SAMPLE_OPSET} or later, "
            f"but they are at {opset} and {_opset(decoder)}"
        )
    if fp32:
        encoder, decoder = as_float32(encoder), as_float32(decoder)
    real = TensorProto.FLOAT if fp32 else TensorProto.FLOAT16

    size, count = bundle.input_size, len(bundle.actions)
    parts = _Parts(opset, np.dtype(np.float32 if fp32 else np.float16))
    parts.include(encoder.graph, "encoder/", {"photo": "photo"})
    parts.constant("zero_row", np.zeros((1, count), parts.dtype))
    parts.add("Concat", ["actions", "zero_row"], "rows", axis=0)
    parts.include(decoder.graph, "decoder/", _add_skips(parts, bundle))
    _add_blend(parts, size, bundle.mouth)

    graph = helper.make_graph(
        parts.nodes,
        "moue",
        [
            helper.make_tensor_value_info("photo", real, [1, 3, size, size]),
            helper.make_tensor_value_info("actions", real, ["frames", count]),
        ],
        [helper.make_tensor_value_info("frames", real, ["frames", 3, size, size])],
        parts.constants,
    )
    model = helper.make_model(
        graph,
        producer_name="moue",
        ir_version=max(encoder.ir_version, decoder.ir_version),
        opset_imports=[helper.make_opsetid("", opset)],
    )
    onnx.checker.check_model(model)
    return model


class _Parts:
    """Nodes and constants on their way into one graph."""

    def __init__(self, opset: int, dtype: np.dtype[Any]) -> None:
        self.opset = opset
        self.dtype = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> None:
        self.constants.append(numpy_helper.from_array(value, name))

    def add(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, list(outputs), **attributes))

    def include(self, graph: onnx.GraphProto, prefix: str, inputs: dict[str, str]) -> None:
        """Every node of another graph, its names under `prefix`, its inputs fed as given."""
        names = {"": "", **inputs}
        for tensor in graph.initializer:
            names[tensor.name] = prefix + tensor.name
            copy = TensorProto()
            copy.CopyFrom(tensor)
            copy.name = prefix + tensor.name
            self.constants.append(copy)
        for node in graph.node:
            if any(attribute.HasField("g") for attribute in node.attribute):
                raise BundleError(f"one graph cannot hold the {node.op_type} of the {graph.name}")
            names.update({name: prefix + name for name in node.output if name})
            copied = onnx.NodeProto()
            copied.CopyFrom(node)
            copied.name = prefix + node.name if node.name else ""
            copied.input[:] = [names[name] for name in node.input]
            copied.output[:] = [names[name] for name in node.output]
            self.nodes.append(copied)


def _add_skips(parts: _Parts, bundle: Bundle) -> dict[str, str]:
    """Eq. 7 on every level where actions act; returns what feeds each input of the decoder."""
    count = len(bundle.actions)
    feeds = {}
    for level in bundle.levels:
        base, residual, skip = (f"{name}_{level.size}" for name in ("base", "residual", "skip"))
        if not level.residual:
            feeds[base] = f"encoder/{base}"
            continue
        parts.constant(f"{skip}/flat", np.array([count, -1], np.int64))
        parts.constant(
            f"{skip}/shape", np.array([-1, level.channels, level.size, level.size], np.int64)
        )
        parts.add("Reshape", [f"encoder/{residual}", f"{skip}/flat"], f"{skip}/residuals")
        parts.add("MatMul", ["rows", f"{skip}/residuals"], f"{skip}/sum")
        parts.add("Reshape", [f"{skip}/sum", f"{skip}/shape"], f"{skip}/moved")
        parts.add("Add", [f"encoder/{base}", f"{skip}/moved"], skip)
        feeds[skip] = skip
    return feeds


def _add_blend(parts: _Parts, size: int, mouth: Mouth) -> None:
    """`(1 - m) · warp(photo, flow) + m · paint`, flow and mask less what they are at rest.

    Positions are computed in float32: FP16 would place the samples to within 1/32 of a pixel only.
    """
    real = TensorProto.FLOAT if parts.dtype == np.float32 else TensorProto.FLOAT16
    centres = (np.arange(size, dtype=np.float32) * 2 + 1) / size - 1
    grid = np.stack(np.meshgrid(centres, centres), axis=-1)[None]  # [1, S, S, 2], x, y in [-1, 1]
    parts.constant("grid", grid)
    parts.constant("two", np.array(2, np.float32))
    parts.constant("zero", np.array(0, parts.dtype))
    parts.constant("one", np.array(1, parts.dtype))
    parts.constant("first", np.array([0], np.int64))
    parts.constant("last", np.array([-1], np.int64))
    parts.constant("end", np.array([np.iinfo(np.int64).max], np.int64))
    parts.constant("axis", np.array([0], np.int64))
    for name in ("flow", "mask", "light", "place"):  # the row of zeros is the last
        parts.add("Slice", [f"decoder/{name}", "first", "last", "axis"], f"{name}/frames")
    for name in ("flow", "mask"):
        parts.add("Slice", [f"decoder/{name}", "last", "end", "axis"], f"{name}/rest")
    parts.add("Shape", ["actions"], "frame_count", start=0, end=1)
    for name, by in (("flow", STILL), ("mask", FAINT)):
        parts.constant(f"{name}/least", np.array(-by, np.float32))
        parts.constant(f"{name}/most", np.array(by, np.float32))
        parts.add("Sub", [f"{name}/frames", f"{name}/rest"], f"{name}/half")
        parts.add("Cast", [f"{name}/half"], f"{name}/moved", to=TensorProto.FLOAT)
        parts.add("Clip", [f"{name}/moved", f"{name}/least", f"{name}/most"], f"{name}/little")
        parts.add("Sub", [f"{name}/moved", f"{name}/little"], f"{name}/settled")
    parts.add("Cast", ["mask/settled"], "mask/unbounded", to=real)
    parts.add("Clip", ["mask/unbounded", "zero", "one"], "mask")

    parts.add("Transpose", ["flow/settled"], "flow/last", perm=[0, 2, 3, 1])
    parts.add("Mul", ["flow/last", "two"], "flow/scaled")  # [-1, 1] spans the square's side twice
    parts.add("Add", ["grid", "flow/scaled"], "positions")
    parts.add("Cast", ["photo"], "photo/single", to=TensorProto.FLOAT)
    _add_look_up(parts, "photo/single", (size, size), "positions", "warped/single")
    parts.add("Cast", ["warped/single"], "warped", to=real)

    _add_mouth(parts, size, mouth.for_side(size))
    parts.constant("thin", np.array(THIN, parts.dtype))
    parts.add("Cast", ["mouth/around"], "mouth", to=real)
    parts.add("Div", ["mask", "thin"], "mask/thins")
    parts.add("Sub", ["mask/thins", "one"], "mask/beyond")
    parts.add("Clip", ["mask/beyond", "zero", "one"], "pictured")
    parts.add("Sub", ["mouth", "one"], "mouth/darkness")
    parts.add("Mul", ["pictured", "mouth/darkness"], "mouth/shown")
    parts.add("Add", ["mouth/shown", "one"], "mouth/lit")
    parts.add("Mul", ["light/frames", "mouth/lit"], "lit")
    _add_colour(parts, size)
    parts.constant("luma", np.array(LUMA, parts.dtype)[None, :, None, None])
    parts.add("Conv", ["lit", "luma"], "lit/luma")
    parts.add("Sub", ["lit/luma", "lit"], "lit/greyer")
    parts.add("Sub", ["colour/whole", "colour"], "fade/single")
    parts.add("Cast", ["fade/single"], "fade", to=real)
    parts.add("Mul", ["fade", "lit/greyer"], "lit/lost")
    parts.add("Add", ["lit", "lit/lost"], "lit/faded")
    parts.add("Clip", ["lit/faded", "zero", "one"], "paint")
    parts.add("Sub", ["paint", "warped"], "painted")  # w + m · (p - w)
    _add_edge(parts, size, mouth.for_side(size))
    parts.add("Mul", ["mask/edged", "painted"], "painted/masked")
    parts.add("Add", ["warped", "painted/masked"], "frames")


def _add_edge(parts: _Parts, size: int, mouth: Mouth) -> None:
    """`mask/edged` [frames, 1, S, S]: in the mouth's window the mask as it hides what is behind it."""
    left, top, right, bottom = (round(side * size) for side in mouth.window)
    inside = np.zeros((1, 1, size, size), np.bool_)
    inside[..., top:bottom, left:right] = True
    parts.constant("edge/inside", inside)
    parts.constant("edge", np.array(EDGE, parts.dtype))
    parts.constant("half", np.array(0.5, parts.dtype))
    parts.add("Sub", ["mask", "half"], "mask/centred")
    parts.add("Mul", ["mask/centred", "edge"], "mask/steep")
    parts.add("Add", ["mask/steep", "half"], "mask/outlined")
    parts.add("Clip", ["mask/outlined", "zero", "one"], "mask/mouth")
    parts.add("Min", ["mask", "thin"], "mask/light")
    parts.add("Max", ["mask/light", "mask/mouth"], "mask/inside")
    parts.add("Where", ["edge/inside", "mask/inside", "mask"], "mask/edged")


def _add_mouth(parts: _Parts, size: int, mouth: Mouth) -> None:
    """`mouth/around` float32 [frames, 3, S, S]: the mouth's picture in its window, 1 around it."""
    height, width = mouth.picture.shape[:2]
    picture = mouth.picture.transpose(2, 0, 1)[None].astype(np.float32) / 255
    parts.constant("mouth/picture", picture)
    parts.constant("mouth/finer", np.array([1, 1, PLACE_STEP, PLACE_STEP], np.float32))
    left, top, right, bottom = (round(side * size) for side in mouth.window)
    pads = [0, 0, top, left, 0, 0, size - bottom, size - right]
    parts.constant("mouth/pads", np.array(pads, np.int64))
    parts.constant("mouth/bare", np.array(1, np.float32))
    parts.add("Cast", ["place/frames"], "place/single", to=TensorProto.FLOAT)
    parts.add(
        "Resize",
        ["place/single", "", "mouth/finer"],
        "place",
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    parts.add("Transpose", ["place"], "place/last", perm=[0, 2, 3, 1])
    parts.add("Mul", ["place/last", "two"], "place/positions")  # less its middle, as positions are
    _add_look_up(parts, "mouth/picture", (height, width), "place/positions", "mouth/seen")
    parts.add("Pad", ["mouth/seen", "mouth/pads", "mouth/bare"], "mouth/around", mode="constant")


def _add_colour(parts: _Parts, size: int) -> None:
    """`colour` float32 [1, 1, 1, 1]: `mouth.colour_of` the photo."""
    quarter = size // 4
    block = 2 * quarter // GRAIN_BLOCKS
    for name, value in (
        ("middle/first", np.array([quarter, quarter], np.int64)),
        ("middle/last", np.array([3 * quarter, 3 * quarter], np.int64)),
        ("middle/axes", np.array([2, 3], np.int64)),
        ("channels", np.array([1, 1, 1], np.int64)),
        ("least", np.array(1e-3, np.float32)),
        ("colourless", np.array(COLOURLESS, np.float32)),
        ("range", np.array(COLOURED - COLOURLESS, np.float32)),
        ("none", np.array(0, np.float32)),
        ("whole", np.array(1, np.float32)),
    ):
        parts.constant(f"colour/{name}", value)
    bounds = ["colour/middle/first", "colour/middle/last", "colour/middle/axes"]
    parts.add("Slice", ["photo/single", *bounds], "colour/middle")
    side = {"kernel_shape": [block, block], "strides": [block, block]}
    parts.add("AveragePool", ["colour/middle"], "colour/means", **side)
    channels = ["colour/red", "colour/green", "colour/blue"]
    parts.add("Split", ["colour/means", "colour/channels"], *channels, axis=1)
    for kind in ("Max", "Min"):
        parts.add(kind, channels, f"colour/{kind}")
    parts.add("Sub", ["colour/Max", "colour/Min"], "colour/spread")
    for name in ("spread", "Max"):
        parts.add("ReduceMean", [f"colour/{name}"], f"colour/{name}/mean")
    parts.add("Max", ["colour/Max/mean", "colour/least"], "colour/brightness")
    parts.add("Div", ["colour/spread/mean", "colour/brightness"], "colour/saturation")
    parts.add("Sub", ["colour/saturation", "colour/colourless"], "colour/beyond")
    parts.add("Div", ["colour/beyond", "colour/range"], "colour/unbounded")
    parts.add("Clip", ["colour/unbounded", "colour/none", "colour/whole"], "colour")


def _add_look_up(
    parts: _Parts, picture: str, sides: tuple[int, int], positions: str, seen: str
) -> None:
    """One picture [1, 3, h, w] for every frame, bilinearly at x, y in [-1, 1], edges repeated."""
    parts.constant(f"{picture}/sides", np.array([3, *sides], np.int64))
    parts.add("Concat", ["frame_count", f"{picture}/sides"], f"{picture}/shape", axis=0)
    parts.add("Expand", [picture, f"{picture}/shape"], f"{picture}/repeated")
    parts.add(
        "GridSample",
        [f"{picture}/repeated", positions],
        seen,
        mode="linear" if parts.opset >= LINEAR_OPSET else "bilinear",
        padding_mode="border",
        align_corners=0,
    )


def _opset(model: onnx.ModelProto) -> int:
    return max(
        int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")
    )
