from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import moue
from moue import kernels
from moue.actions import action_vector
from moue.bundle import load_bundle
from moue.errors import BundleError
from moue.graphs import as_float32, for_cpu, one_graph
from moue.mouth import PLACE_STEP, Mouth, colour_of
from tests.tiny import SIZE, write_manifest, write_tiny_bundle


def run(model: onnx.ModelProto, inputs: dict[str, NDArray]) -> NDArray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_float32_leaves_no_half_behind(tiny_bundle: Path, graph: str) -> None:
    model = load_bundle(tiny_bundle).graph(graph)
    before = model.SerializeToString()
    single = as_float32(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(single, full_check=True)
    values = [*single.graph.input, *single.graph.output, *single.graph.value_info]
    assert {value.type.tensor_type.elem_type for value in values} == {TensorProto.FLOAT}
    for half, full in zip(model.graph.initializer, single.graph.initializer, strict=True):
        assert full.data_type != TensorProto.FLOAT16
        assert np.array_equal(numpy_helper.to_array(half), numpy_helper.to_array(full))


def test_float32_reaches_constants_casts_and_branches() -> None:
    half = TensorProto.FLOAT16

    def branch(name: str, value: float) -> onnx.GraphProto:
        constant = numpy_helper.from_array(np.array([value], np.float16))
        nodes = [
            helper.make_node("Constant", [], [f"{name}/c"], value=constant),
            helper.make_node("Cast", ["x"], [f"{name}/x"], to=half),
            helper.make_node("Add", [f"{name}/x", f"{name}/c"], [name]),
        ]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, half, [1])])

    node = helper.make_node(
        "If", ["yes"], ["y"], then_branch=branch("a", 1), else_branch=branch("b", 2)
    )
    inputs = [
        helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.INT64, [1]),
    ]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", half, [1])])
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    for yes, wanted in ((True, 4), (False, 5)):
        out = run(as_float32(model), {"yes": np.array(yes), "x": np.array([3])})
        assert out.dtype == np.float32
        assert out.tolist() == [wanted]


def by_hand(animator: moue.Animator, face: moue.animator.EncodedFace, photo, vectors) -> NDArray:
    """f(I, a) over the face square as the animator computes it, but not rounded to 8 bits."""
    outputs = animator._decode(face, vectors, threads=1)
    mouth = animator.bundle.mouth.for_side(SIZE)
    seen = np.stack([mouth_by_hand(mouth, place) for place in outputs["place"]])
    flow = outputs["flow"] - face.rest_flow
    flow -= flow.clip(-kernels.STILL, kernels.STILL)
    mask = (outputs["mask"] - face.rest_mask - kernels.FAINT).clip(0, 1)
    paint = outputs["light"] * (1 + (mask / kernels.THIN - 1).clip(0, 1) * (seen - 1))
    grey = np.tensordot((0.299, 0.587, 0.114), paint, (0, 1))[:, None]
    paint = grey + colour_of(photo) * (paint - grey)
    left, top, right, bottom = (round(side * SIZE) for side in mouth.window)
    inside = mask[..., top:bottom, left:right]
    edge = (kernels.EDGE * (inside - 0.5) + 0.5).clip(0, 1)
    inside[...] = np.maximum(np.minimum(inside, kernels.THIN), edge)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    frames = []
    for dx, dy in flow * SIZE:
        x, y = (columns + dx).clip(0, SIZE - 1), (rows + dy).clip(0, SIZE - 1)
        x0, y0 = x.astype(int), y.astype(int)
        x1, y1 = np.minimum(x0 + 1, SIZE - 1), np.minimum(y0 + 1, SIZE - 1)
        fx, fy = x - x0, y - y0
        upper = photo[:, y0, x0] * (1 - fx) + photo[:, y0, x1] * fx
        lower = photo[:, y1, x0] * (1 - fx) + photo[:, y1, x1] * fx
        frames.append(upper * (1 - fy) + lower * fy)
    return (1 - mask) * np.stack(frames) + mask * paint.clip(0, 1)


def mouth_by_hand(mouth: Mouth, place: NDArray) -> NDArray:
    """The mouth's picture in its window, looked up pixel by pixel: [3, S, S], 1 around it."""
    left, top, right, bottom = (round(side * SIZE) for side in mouth.window)
    seen = np.ones((3, SIZE, SIZE))
    height, width = mouth.picture.shape[:2]
    for row in range(top, bottom):
        for column in range(left, right):
            node = (row - top + 0.5) / PLACE_STEP - 0.5, (column - left + 0.5) / PLACE_STEP - 0.5
            u, v = lerp(place.transpose(1, 2, 0), *node)
            at = (v + 0.5) * height - 0.5, (u + 0.5) * width - 0.5
            seen[:, row, column] = lerp(mouth.picture, *at) / 255
    return seen


def lerp(table: NDArray, row: float, column: float) -> NDArray:
    """Between the four entries around a place in [rows, columns, n], edges repeated."""
    row, column = np.clip((row, column), 0, np.array(table.shape[:2]) - 1)
    above, before = int(row), int(column)
    below, after = np.minimum((above + 1, before + 1), np.array(table.shape[:2]) - 1)
    down, across = row - above, column - before
    upper = table[above, before] * (1 - across) + table[above, after] * across
    lower = table[below, before] * (1 - across) + table[below, after] * across
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize(("opset", "vivid"), [(18, 1.0), (20, 0.0), (20, 0.17), (20, 1.0)])
def test_one_graph_is_the_animator(
    opset: int, vivid: float, tmp_path: Path, portrait_photo: NDArray[np.uint8]
) -> None:
    folder = write_tiny_bundle(tmp_path / "b", opset=opset)
    grey = portrait_photo.mean(2, keepdims=True)
    photo = np.rint(grey + vivid * (portrait_photo - grey)).astype(np.uint8)
    with moue.Animator(folder, threads=1) as animator:
        portrait = animator.prepare(photo)
        face = portrait.faces[0]
        square = kernels.preprocess(photo, face.square.to_photo(), SIZE)
        assert (0.0 < colour_of(square) < 1) == (0 < vivid < 1)
        happy = moue.expression("happy")
        vectors = np.stack([action_vector(happy.at(d), animator.actions) for d in (0, 0.5, 1)])
        wanted = by_hand(animator, face, square, vectors)

        single = one_graph(animator.bundle, fp32=True)
        frames = run(single, {"photo": square[None], "actions": vectors})
        assert frames.shape == (3, 3, SIZE, SIZE)
        assert np.abs(frames[0] - square).max() < 1e-5
        assert np.abs(frames - wanted).max() * 255 < 0.5  # the animator holds residuals in FP16
        assert np.abs(frames[2] - frames[0]).max() * 255 > 20
        place = animator._decode(face, vectors, threads=1)["place"][2]
        seen = mouth_by_hand(animator.bundle.mouth.for_side(SIZE), place)
        assert np.ptp(seen[:, SIZE // 2 :]) > 0.5  # there is something to look up
        alone = run(single, {"photo": square[None], "actions": vectors[2:]})
        assert np.abs(alone - frames[2:]).max() * 255 < 0.1

        half = one_graph(animator.bundle)
        inputs = {"photo": square[None].astype(np.float16), "actions": vectors.astype(np.float16)}
        rough = run(half, inputs)
        assert rough.dtype == np.float16
        assert np.abs(rough - frames).max() * 255 < 2
        assert np.abs(rough[0] - square).max() * 255 < 0.2


def test_one_graph_holds_the_weights_once_in_half(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    size = len(one_graph(bundle).SerializeToString())
    listed = sum(graph.bytes for graph in bundle.manifest.graphs.values())
    picture = 4 * bundle.mouth.for_side(SIZE).picture.size
    assert size < listed + 8 * SIZE * SIZE + picture + 20_000


def test_one_graph_wants_one_opset(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "b", opset=18)
    (write_tiny_bundle(tmp_path / "c", opset=20) / "decoder.onnx").replace(folder / "decoder.onnx")
    write_manifest(folder)
    with pytest.raises(BundleError, match="but they are at 18 and 20"):
        one_graph(load_bundle(folder))


def shuffle(mode: str, sides: tuple[int, int], known: bool) -> onnx.ModelProto:
    height, width = sides
    weight = np.random.default_rng(0).normal(size=(24, 3, 1, 1)).astype(np.float16)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["wide"]),
        helper.make_node("DepthToSpace", ["wide"], ["fine"], blocksize=2, mode=mode),
        helper.make_node("Neg", ["fine"], ["y"]),
    ]
    half = TensorProto.FLOAT16
    shape = ["frames", 6, 2 * height, 2 * width]
    graph = helper.make_graph(
        nodes,
        "shuffle",
        [helper.make_tensor_value_info("x", half, ["frames", 3, height, width])],
        [helper.make_tensor_value_info("y", half, shape)],
        [numpy_helper.from_array(weight, "w")],
        value_info=[helper.make_tensor_value_info("fine", half, shape)] if known else [],
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize(
    ("mode", "sides", "known", "left"),
    [
        ("CRD", (8, 8), True, 0),
        ("CRD", (16, 9), True, 0),
        ("CRD", (4, 4), True, 1),
        ("CRD", (8, 8), False, 1),
        ("DCR", (8, 8), True, 1),
    ],
)
@pytest.mark.parametrize("frames", [1, 3])
def test_for_cpu_gives_the_same_numbers(
    mode: str, sides: tuple[int, int], known: bool, left: int, frames: int
) -> None:
    single = as_float32(shuffle(mode, sides, known))
    fast = for_cpu(shuffle(mode, sides, known))
    onnx.checker.check_model(fast, full_check=True)
    assert sum(node.op_type == "DepthToSpace" for node in fast.graph.node) == left
    assert {t.data_type for t in fast.graph.initializer if "shape" not in t.name} == {
        TensorProto.FLOAT16
    }
    x = np.random.default_rng(1).normal(size=(frames, 3, *sides)).astype(np.float32)
    assert np.array_equal(run(fast, {"x": x}), run(single, {"x": x}))


@pytest.mark.parametrize(
    ("behind", "at_once"), [("Conv", 12), ("Neg", 1), ("Conv of a shared weight", 1)]
)
def test_for_cpu_transposes_columns_of_all_channels_at_once(behind: str, at_once: int) -> None:
    model = shuffle("CRD", (8, 8), known=True)
    convolution, *others = model.graph.node
    bias = np.random.default_rng(2).normal(size=24).astype(np.float16)
    model.graph.initializer.append(numpy_helper.from_array(bias, "b"))
    convolution.input.append("b")
    if behind == "Neg":
        convolution.output[0] = "wider"
        others = [helper.make_node("Neg", ["wider"], ["wide"]), *others]
    elif behind == "Conv of a shared weight":
        others = [helper.make_node("Conv", ["x", "w"], ["unused"]), *others]
    del model.graph.node[:]
    model.graph.node.extend([convolution, *others])
    single, fast = as_float32(model), for_cpu(model)
    constants = {t.name: numpy_helper.to_array(t) for t in fast.graph.initializer}
    assert constants["fine/columns/shape"].tolist() == [-1, 2, at_once * 64]
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    assert np.array_equal(run(fast, {"x": x}), run(single, {"x": x}))


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_for_cpu_of_a_bundle(tiny_bundle: Path, graph: str) -> None:
    bundle = load_bundle(tiny_bundle)
    single, fast = as_float32(bundle.graph(graph)), for_cpu(bundle.graph(graph))
    rng = np.random.default_rng(0)
    inputs = {
        value.name: rng.random(
            [axis.dim_value or 2 for axis in value.type.tensor_type.shape.dim], np.float32
        )
        for value in single.graph.input
    }
    assert np.array_equal(run(fast, inputs), run(single, inputs))


def test_for_cpu_rounds_the_outputs_it_is_told_to(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    photo = np.random.default_rng(0).random((1, 3, SIZE, SIZE), np.float32)
    named = {}
    for halves in ([], ["residual_4"]):
        session = onnxruntime.InferenceSession(
            for_cpu(bundle.graph("encoder"), halves).SerializeToString(),
            providers=["CPUExecutionProvider"],
        )
        names = [output.name for output in session.get_outputs()]
        named[len(halves)] = dict(zip(names, session.run(None, {"photo": photo}), strict=True))
    single, rounded = named[0], named[1]
    assert {n for n, a in rounded.items() if a.dtype == np.float16} == {"residual_4"}
    assert np.array_equal(rounded["residual_4"], single["residual_4"].astype(np.float16))
    assert np.array_equal(rounded["residual_8"], single["residual_8"])
