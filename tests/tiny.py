"""A tiny but real bundle: random weights in graphs of the true form, so tests need no training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from moue.actions import ACTIONS, EXPRESSIONS
from moue.bundle import GraphFile, Level, Manifest, MouthFile
from moue.mouth import PLACE_STEP

SIZE = 32  # pixels a side of the input
LEVELS = (Level(4, 8, True), Level(8, 6, True), Level(16, 4, False))
MOUTH_WINDOW = (0.25, 0.5, 0.75, 0.875)
NODES = (3, 4)  # rows and columns of the place map
OPSET = 18


def write_tiny_bundle(
    folder: Path, actions: Sequence[str] = ACTIONS, opset: int = OPSET, seed: int = 0
) -> Path:
    """Writes a bundle into a new folder: FP16 graphs and a mouth of coloured noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    onnx.save(_encoder(rng, len(actions), opset), folder / "encoder.onnx")
    onnx.save(_decoder(rng, opset), folder / "decoder.onnx")
    _mouth(rng).save(folder / "mouth.png")
    (folder / "MODEL_CARD.md").write_text("# tiny\nRandom weights.\n")
    write_manifest(folder, actions)
    return folder


def write_manifest(folder: Path, actions: Sequence[str] = ACTIONS) -> None:
    """Lists the files as they now are."""
    expressions = {
        name: {action: weight for action, weight in weights.items() if action in actions}
        for name, weights in EXPRESSIONS.items()
    }
    manifest = Manifest(
        name="tiny",
        preset="edge",
        version="0.1.0",
        actions=tuple(actions),
        expressions=expressions,
        input_size=SIZE,
        levels=LEVELS,
        graphs={
            "encoder": GraphFile.of(folder / "encoder.onnx"),
            "decoder": GraphFile.of(folder / "decoder.onnx"),
        },
        mouth=MouthFile(**vars(GraphFile.of(folder / "mouth.png")), window=MOUTH_WINDOW),
        training={"data": ["none"]},
        licence="Apache-2.0",
    )
    (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")


class _Net:
    """Convolutions with random FP16 weights, strung together by name."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def conv(self, x: str, output: str, shape: Sequence[int], stride: int = 1) -> str:
        """`shape` = (out, in, k, k)."""
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        weight = self.rng.normal(0, scale, shape).astype(np.float16)
        bias = self.rng.normal(0, 0.1, shape[0]).astype(np.float16)
        names = [self.constant(f"{output}.weight", weight), self.constant(f"{output}.bias", bias)]
        pad = (shape[2] - 1) // 2
        return self.add("Conv", [x, *names], output, strides=[stride] * 2, pads=[pad] * 4)

    def model(
        self, inputs: dict[str, list], outputs: dict[str, list], opset: int
    ) -> onnx.ModelProto:
        infos = [
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT16, dims)
                for name, dims in group.items()
            ]
            for group in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "tiny", *infos, self.weights)
        model = helper.make_model(
            graph, ir_version=9, opset_imports=[helper.make_opsetid("", opset)]
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _encoder(rng: np.random.Generator, actions: int, opset: int) -> onnx.ModelProto:
    net, outputs = _Net(rng), {}
    x, channels = "photo", 3
    for level in reversed(LEVELS):
        x = net.conv(x, f"base_{level.size}", (level.channels, channels, 3, 3), stride=2)
        outputs[x] = [1, level.channels, level.size, level.size]
        channels = level.channels
        if level.residual:
            name = f"residual_{level.size}"
            flat = net.conv(x, f"{name}.flat", (actions * channels, channels, 1, 1))
            shape = net.constant(f"{name}.shape", np.array([actions, *outputs[x][1:]], np.int64))
            net.add("Reshape", [flat, shape], name)
            outputs[name] = [actions, *outputs[x][1:]]
    return net.model({"photo": [1, 3, SIZE, SIZE]}, outputs, opset)


def _decoder(rng: np.random.Generator, opset: int) -> onnx.ModelProto:
    net, inputs = _Net(rng), {}
    x, channels = "", 0
    for level in LEVELS:
        name = f"{'skip' if level.residual else 'base'}_{level.size}"
        inputs[name] = ["frames" if level.residual else 1, level.channels, level.size, level.size]
        skip = net.conv(name, f"{name}.in", (4 * level.channels, level.channels, 3, 3))
        if x:
            skip = net.add(
                "Add",
                [skip, net.conv(x, f"{name}.up", (4 * level.channels, channels, 3, 3))],
                f"{name}.sum",
            )
        x = net.add("Relu", [skip], f"{name}.relu")
        x = net.add("DepthToSpace", [x], f"{name}.finer", blocksize=2)
        channels = level.channels
    raw = net.conv(x, "raw", (8, channels, 3, 3))
    parts = net.constant("parts", np.array([2, 1, 3, 2], np.int64))
    names = ["wide", "mask", "light", "away"]
    net.nodes.append(helper.make_node("Split", [raw, parts], names, axis=1))
    net.add("Mul", ["wide", net.constant("reach", np.array(0.1, np.float16))], "flow")
    left, top, right, bottom = (round(side * SIZE) for side in MOUTH_WINDOW)
    corners = [
        net.constant(name, np.array(value, np.int64))
        for name, value in (("from", [top, left]), ("to", [bottom, right]), ("axes", [2, 3]))
    ]
    net.add("Slice", ["away", *corners], "window")
    sides = [PLACE_STEP] * 2
    net.add("AveragePool", ["window"], "moved", kernel_shape=sides, strides=sides)
    net.add("Add", ["moved", net.constant("first", _first_place())], "place")
    outputs = {
        name: ["frames", channels, SIZE, SIZE]
        for name, channels in {"flow": 2, "mask": 1, "light": 3}.items()
    }
    return net.model(inputs, {**outputs, "place": ["frames", 2, *NODES]}, opset)


def _first_place() -> np.ndarray:
    """FP16 [1, 2, h, w]: the picture spread over the window and a little more, so edges are repeated."""
    v, u = (1.2 * ((np.arange(count) + 0.5) / count - 0.5) for count in NODES)
    return np.stack(np.meshgrid(u, v))[None].astype(np.float16)


def _mouth(rng: np.random.Generator) -> Image.Image:
    """Noise of 192×96 pixels that is not lost where the picture is reduced."""
    coarse = rng.integers(0, 256, (12, 24, 3), np.uint8)
    return Image.fromarray(coarse).resize((192, 96), Image.Resampling.BILINEAR)
